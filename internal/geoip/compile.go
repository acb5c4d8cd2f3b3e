package geoip

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/steer"
)

// Compiled is what became of rules, for messages and for [Compiled.Rule]. It keeps the databases.
type Compiled struct {
	// Warnings are rules that no network fits, one line each.
	Warnings []string
	// Networks is how many the databases have, Rows how many rows they became.
	Networks, Rows int

	rules *Rules
	dbs   Databases
	city  *cityWalk // nil without rules by place
}

// Compile adds to the builder, beneath what it has, the rows that the rules make of the databases: a layer for the AS numbers and beneath it one for
// all the rest. It refuses rules that don't suit the databases or the PoP table, with a *finding.List; an error about a database names its
// file. The builder is of no use after an error.
func (r *Rules) Compile(b *steer.MapBuilder, dbs Databases, pops *steer.PoPs) (*Compiled, error) {
	if err := r.check(dbs, pops); err != nil {
		return nil, err
	}
	c := &Compiled{rules: r, dbs: dbs}
	if r.NeedsASN() {
		if err := c.compileASN(b, b.Beneath(r.planes()...)); err != nil {
			return nil, err
		}
	}
	if r.NeedsCity() {
		if err := c.compileCity(b, b.Beneath(r.planes()...), pops); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// planes are those that the rules apply to.
func (r *Rules) planes() []steer.Plane {
	if len(r.Planes) == 0 {
		return []steer.Plane{steer.Resolver, steer.ECS}
	}
	return r.Planes
}

// noList is the list of a record that no rule fits.
const noList = steer.Fallback

// compileASN walks the ASN database once.
func (c *Compiled) compileASN(b *steer.MapBuilder, layer *steer.Layer) error {
	lists := make(map[uintptr]steer.ListID) // by the record's offset
	fits := make(map[uint32]bool)
	any := false
	err := c.dbs.ASN.walk(func(n network) error {
		c.Networks++
		list, ok := lists[n.record.Offset()]
		if !ok {
			rec, err := c.dbs.ASN.decode(n)
			if err != nil {
				return err
			}
			list = noList
			any = any || rec.asn() != 0
			if rule, ok := c.rules.ASN[rec.asn()]; ok {
				fits[rec.asn()] = true
				if list, err = b.List(rule.List); err != nil {
					return err
				}
			}
			lists[n.record.Offset()] = list
		}
		if list == noList {
			return nil
		}
		return layer.Add(n.prefix, list)
	})
	if err != nil {
		return err
	}
	if !any {
		return fmt.Errorf("geoip database %s: has no AS numbers: name an ASN or ISP database for the rules by asn", c.dbs.ASN)
	}
	for asn, rule := range c.rules.ASN {
		if !fits[asn] {
			c.warn(rule.Line, "no network of %s is of AS%d", c.dbs.ASN, asn)
		}
	}
	slices.Sort(c.Warnings)
	c.Rows += layer.Len()
	return nil
}

func (c *Compiled) warn(line int, format string, args ...any) {
	at := finding.Position{File: c.rules.File, Line: line}
	c.Warnings = append(c.Warnings, at.String()+": "+fmt.Sprintf(format, args...))
}

// cityWalk is the records of a City database, each once, by the order in which they were met.
type cityWalk struct {
	db       *Database
	index    map[uintptr]int // the record's offset → position
	places   []place
	amounts  []amount // address space of the record's networks
	networks int
	near     *locator            // nil without
	spreads  map[string][]string // by country, of the places that are coarse
}

// compileCity walks the City database twice: the records first, since what a country's networks have in common must be known before any
// of them is placed, and then the networks. Keeping these between would take a hundred megabytes.
func (c *Compiled) compileCity(b *steer.MapBuilder, layer *steer.Layer, pops *steer.PoPs) error {
	w := &cityWalk{db: c.dbs.City, index: make(map[uintptr]int)}
	c.city = w
	if err := w.gather(); err != nil {
		return err
	}
	if err := c.checkPlaces(); err != nil {
		return err
	}
	if c.rules.Near != nil {
		w.near = newLocator(c.rules.Near, pops)
		w.spreads = spreads(w.places, w.amounts, w.near)
	}
	ids := make([]steer.ListID, len(w.places))
	for i := range w.places {
		ids[i] = noList
		if list, _ := c.listOf(&w.places[i]); list != nil {
			var err error
			if ids[i], err = b.List(list); err != nil {
				return err
			}
		}
	}
	err := w.db.walk(func(n network) error {
		if list := ids[w.index[n.record.Offset()]]; list != noList {
			return layer.Add(n.prefix, list)
		}
		return nil
	})
	c.Networks += w.networks
	c.Rows += layer.Len()
	return err
}

// gather reads each record once.
func (w *cityWalk) gather() error {
	err := w.db.walk(func(n network) error {
		w.networks++
		i, ok := w.index[n.record.Offset()]
		if !ok {
			rec, err := w.db.decode(n)
			if err != nil {
				return err
			}
			p, err := rec.place()
			if err != nil {
				return w.db.fault(n.prefix, err)
			}
			i = len(w.places)
			w.index[n.record.Offset()] = i
			w.places, w.amounts = append(w.places, p), append(w.amounts, amount{})
		}
		w.amounts[i].add(amountOf(n.prefix))
		return nil
	})
	markCentroids(w.places)
	return err
}

func amountOf(p netip.Prefix) amount {
	if p.Addr().Is4() {
		return amount{v4: 1 << (32 - p.Bits())}
	}
	return amount{v6: 1 << max(0, 48-p.Bits())}
}

// checkPlaces compares the rules with what the database has. A code that is in the database's terms unknown is an error where only the database can
// tell a typing error from a part of the world, and otherwise a warning: a country may well have no network.
func (c *Compiled) checkPlaces() error {
	located, placeNames := false, map[string]bool{}
	var subdivisions []string
	for i := range c.city.places {
		p := &c.city.places[i]
		located = located || p.located
		placeNames[p.country], placeNames["continent "+p.continent] = true, true
		for _, s := range p.subdivisions {
			if !placeNames[s] {
				placeNames[s] = true
				subdivisions = append(subdivisions, s)
			}
		}
	}
	errs := &finding.List{File: c.rules.File}
	if c.rules.Near != nil && !located {
		errs.Add(c.rules.Near.Line, "near: %s has no coordinates: name a City database", c.city.db)
	}
	slices.Sort(subdivisions)
	for code, rule := range c.rules.Subdivisions {
		switch {
		case len(subdivisions) == 0:
			errs.Add(rule.Line, "subdivision %s: %s has no subdivisions: name a City database", code, c.city.db)
		case !placeNames[code]:
			errs.Add(rule.Line, "subdivision %s: no network of %s lies there%s", code, c.city.db, didYouMean(code, subdivisions))
		}
	}
	for code, rule := range c.rules.Countries {
		if !placeNames[code] {
			c.warn(rule.Line, "no network of %s is of country %s", c.city.db, code)
		}
	}
	for code, rule := range c.rules.Continents {
		if !placeNames["continent "+code] {
			c.warn(rule.Line, "no network of %s is of continent %s", c.city.db, code)
		}
	}
	slices.Sort(c.Warnings)
	return errs.Err()
}

// listOf returns the list of a place and the rule that says so, nil if none fits.
func (c *Compiled) listOf(p *place) (list []string, rule string) {
	for _, s := range p.subdivisions {
		if r, ok := c.rules.Subdivisions[s]; ok {
			return r.List, "subdivision=" + s
		}
	}
	if r, ok := c.rules.Countries[p.country]; ok {
		return r.List, "country=" + p.country
	}
	if r, ok := c.rules.Continents[p.continent]; ok {
		return r.List, "continent=" + p.continent
	}
	near := c.city.near
	if near == nil || !p.located {
		return nil, ""
	}
	if list := c.city.spreads[p.country]; p.coarse && list != nil {
		return list, "near: only the country is known, spread as " + p.country + "'s networks are"
	}
	return near.nearest(p.at), fmt.Sprintf("near: %.4f,%.4f", float64(p.at.lat)/degree, float64(p.at.lon)/degree)
}

// Rule says which rule decides for an address in a plane, "asn=AS64500" or "country=NL", where no row lies above, and "" if none does.
func (c *Compiled) Rule(p steer.Plane, a netip.Addr) string {
	a = a.Unmap()
	if !slices.Contains(c.rules.planes(), p) || steer.IsSpecial(a) {
		return ""
	}
	if c.rules.NeedsASN() {
		if n, ok := c.dbs.ASN.lookup(a); ok {
			if rec, err := c.dbs.ASN.decode(n); err == nil {
				if _, ok := c.rules.ASN[rec.asn()]; ok {
					return fmt.Sprintf("asn=AS%d", rec.asn())
				}
			}
		}
	}
	if c.city == nil {
		return ""
	}
	n, ok := c.city.db.lookup(a)
	if !ok {
		return ""
	}
	i, ok := c.city.index[n.record.Offset()]
	if !ok {
		return ""
	}
	_, rule := c.listOf(&c.city.places[i])
	return rule
}
