package tinydns

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
)

// set is the records of one name and type, for all clients and for single locations, in the order of the file.
type set struct {
	owner zone.Name
	typ   uint16
	all   []*record
	byPoP map[string][]*record
}

// assemble makes the zone of the records.
func (p *parser) assemble() (*Conversion, error) {
	c := &Conversion{Locations: p.locations, PoPs: map[string]string{}}
	kept := p.ownZone()
	c.Skipped = p.skipped
	p.namePoPs(kept, c.PoPs)

	b := zone.NewBuilder(p.origin)
	for _, s := range p.sets(kept, c) {
		if err := s.addTo(b, c); err != nil {
			p.errs.Add(s.first().line, "%w", err)
		}
	}
	if err := p.errs.Err(); err != nil {
		return nil, err
	}
	snapshot, err := b.Build()
	if err != nil {
		p.errs.Add(lineOf(kept, err), "%w", err)
		return nil, p.errs.Err()
	}
	c.Snapshot = snapshot
	return c, nil
}

// ownZone leaves out what belongs to zones below the origin.
func (p *parser) ownZone() []*record {
	cuts := map[zone.Name]bool{}
	for i := range p.records {
		if r := &p.records[i]; r.typ == dns.TypeSOA && r.owner != p.origin {
			cuts[r.owner] = true
		}
	}
	glue := map[zone.Name]bool{}
	for i := range p.records {
		if r := &p.records[i]; r.typ == dns.TypeNS && cuts[r.owner] && p.cutAbove(r.owner, cuts) == r.owner {
			glue[zone.Name(r.rdata)] = true
		}
	}
	kept := make([]*record, 0, len(p.records))
	for i := range p.records {
		r := &p.records[i]
		cut := p.cutAbove(r.owner, cuts)
		switch {
		case cut == "",
			r.owner == cut && (r.typ == dns.TypeNS || r.typ == dns.TypeDS),
			(r.typ == dns.TypeA || r.typ == dns.TypeAAAA) && glue[r.owner]:
			kept = append(kept, r)
		default:
			p.skipped++
		}
	}
	return kept
}

// cutAbove is the highest zone below the origin that holds the name, "" if it is the origin's own.
func (p *parser) cutAbove(name zone.Name, cuts map[zone.Name]bool) zone.Name {
	if len(cuts) == 0 {
		return ""
	}
	highest := zone.Name("")
	for ; name != p.origin; name = name.Parent() {
		if cuts[name] {
			highest = name
		}
	}
	return highest
}

// namePoPs finds the PoP of every location that occurs.
func (p *parser) namePoPs(kept []*record, pops map[string]string) {
	codeOf := map[string]string{}
	for _, r := range kept {
		if r.loc == "" {
			continue
		}
		if _, done := pops[r.loc]; done {
			continue
		}
		name, ok := p.popOf[r.loc]
		switch {
		case p.popOf == nil:
			name = strings.ToLower(r.loc)
			if other, taken := codeOf[name]; taken {
				p.errs.Add(r.line, "locations %q and %q would both be the PoP %q (give each location its PoP)", other, r.loc, name)
			}
			codeOf[name] = r.loc
		case !ok || name == "":
			p.errs.Add(r.line, "location %q has no PoP (add it to the mapping of locations)", r.loc)
		}
		pops[r.loc] = name
	}
}

// sets groups the records, in the order in which names and types first appear.
func (p *parser) sets(kept []*record, c *Conversion) []*set {
	type key struct {
		owner zone.Name
		typ   uint16
	}
	byKey := make(map[key]*set, len(kept))
	order := make([]*set, 0, len(kept))
	for _, r := range kept {
		k := key{r.owner, r.typ}
		s := byKey[k]
		if s == nil {
			s = &set{owner: r.owner, typ: r.typ}
			byKey[k] = s
			order = append(order, s)
		} else if r.typ == dns.TypeSOA {
			c.SOAs++
			continue
		}
		if r.loc == "" {
			s.all = append(s.all, r)
			continue
		}
		if s.byPoP == nil {
			s.byPoP = map[string][]*record{}
		}
		pop := c.PoPs[r.loc]
		s.byPoP[pop] = append(s.byPoP[pop], r)
	}
	return order
}

// first is the record that the file has first.
func (s *set) first() *record {
	var first *record
	if len(s.all) > 0 {
		first = s.all[0]
	}
	for _, rs := range s.byPoP {
		if first == nil || rs[0].line < first.line {
			first = rs[0]
		}
	}
	return first
}

// addTo adds the default variant and one variant for each location: the union that a client there would see.
func (s *set) addTo(b *zone.Builder, c *Conversion) error {
	if len(s.all) > 0 {
		if err := addVariant(b, "", s.all, c); err != nil {
			return err
		}
	}
	for _, pop := range slices.Sorted(maps.Keys(s.byPoP)) {
		if err := addVariant(b, pop, slices.Concat(s.byPoP[pop], s.all), c); err != nil {
			return fmt.Errorf("for PoP %s, with the records of all locations: %w", pop, err)
		}
	}
	return nil
}

func addVariant(b *zone.Builder, pop string, records []*record, c *Conversion) error {
	ttl, lowered := records[0].ttl, false
	data := make([]zone.Rdata, len(records))
	for i, r := range records {
		lowered = lowered || r.ttl != ttl
		ttl = min(ttl, r.ttl)
		data[i] = zone.Rdata{Wire: r.rdata}
	}
	if lowered {
		c.Lowered++
	}
	s, err := zone.NewRRset(records[0].owner, records[0].typ, ttl, pop, data...)
	if err != nil {
		return err
	}
	return b.Add(s)
}

// lineOf is the line of the first record that a fault of the whole zone may be meant for, 0 if there is none.
func lineOf(kept []*record, err error) int {
	var fault *zone.Error
	if !errors.As(err, &fault) {
		return 0
	}
	for _, r := range kept {
		if r.owner == fault.Owner && (r.typ == fault.Type || fault.Type == 0) {
			return r.line
		}
	}
	return 0
}
