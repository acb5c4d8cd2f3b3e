package geoip

import (
	"fmt"
	"slices"
)

// coarseRadius is the accuracy radius, in kilometres, from which a record's coordinates tell no more than the country. It is the largest that
// MaxMind states, and what it states for networks of which only a large country is known.
const coarseRadius = 1000

// place is what a City record says of its networks.
type place struct {
	continent, country string
	subdivisions       []string // as "US-CA", the smallest first
	at                 point
	located            bool // at and country are known
	coarse             bool // at stands for the country as a whole
	city, subdivided   bool // a city or a subdivision is known
}

// place reads a City record. A record without coordinates or country is nowhere; codes that are none match no rule.
func (r *record) place() (place, error) {
	p := place{
		continent: r.Continent.Code, country: r.Country.ISOCode,
		city: r.City.GeoNameID != 0 || r.City.Names.English != "", subdivided: len(r.Subdivisions) > 0,
	}
	for _, s := range slices.Backward(r.Subdivisions) {
		if s.ISOCode != "" && p.country != "" {
			p.subdivisions = append(p.subdivisions, p.country+"-"+s.ISOCode)
		}
	}
	l := r.Location
	if l.Latitude == nil || l.Longitude == nil || p.country == "" {
		return p, nil
	}
	var ok bool
	if p.at, ok = pointAt(*l.Latitude, *l.Longitude); !ok {
		return p, fmt.Errorf("latitude %v, longitude %v is no place", *l.Latitude, *l.Longitude)
	}
	p.located = true
	p.coarse = l.AccuracyRadius >= coarseRadius || p.countryOnly()
	return p, nil
}

// countryOnly tells whether nothing finer than the country is known: the coordinates are then the country's usual ones.
func (p *place) countryOnly() bool { return p.located && !p.city && !p.subdivided }

// markCentroids marks as coarse what has a subdivision but no city, and the usual coordinates of its country.
func markCentroids(places []place) {
	type centroid struct {
		country string
		at      point
	}
	usual := make(map[centroid]bool)
	for i := range places {
		if p := &places[i]; p.countryOnly() {
			usual[centroid{p.country, p.at}] = true
		}
	}
	for i := range places {
		if p := &places[i]; p.located && !p.city && usual[centroid{p.country, p.at}] {
			p.coarse = true
		}
	}
}
