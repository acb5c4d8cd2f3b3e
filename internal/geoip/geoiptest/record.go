package geoiptest

// Place is a City record; zero fields are left out of it.
type Place struct {
	Continent, Country string
	Subdivisions       []string // ISO codes without the country, the largest first
	City               string
	Lat, Lon           float64 // both 0: no coordinates
	Radius             uint16
}

// Record returns the record as a City database has it.
func (p Place) Record() map[string]any {
	r := map[string]any{}
	if p.Continent != "" {
		r["continent"] = map[string]any{"code": p.Continent}
	}
	if p.Country != "" {
		r["country"] = map[string]any{"iso_code": p.Country, "geoname_id": uint32(1)}
	}
	if len(p.Subdivisions) > 0 {
		list := make([]any, 0, len(p.Subdivisions))
		for _, s := range p.Subdivisions {
			list = append(list, map[string]any{"iso_code": s})
		}
		r["subdivisions"] = list
	}
	if p.City != "" {
		r["city"] = map[string]any{"geoname_id": uint32(2), "names": map[string]any{"en": p.City}}
	}
	if p.Lat != 0 || p.Lon != 0 {
		r["location"] = map[string]any{"latitude": p.Lat, "longitude": p.Lon, "accuracy_radius": p.Radius, "time_zone": "UTC"}
	}
	return r
}

// ASN returns the record of an ASN database.
func ASN(n uint32) map[string]any {
	return map[string]any{"autonomous_system_number": n, "autonomous_system_organization": "Example"}
}
