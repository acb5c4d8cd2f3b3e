package publish

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

// surroundings are what a zone refers to.
type surroundings struct {
	pops *steer.PoPs // nil: no table, so any PoP may be named
	maps []string
}

func readSurroundings(ctx context.Context, r store.Reader) (surroundings, error) {
	pops, err := LoadPoPs(ctx, r)
	if err != nil {
		return surroundings{}, err
	}
	names, err := dataset.ListDatasets(ctx, r, "maps")
	if err != nil {
		return surroundings{}, err
	}
	return surroundings{pops: pops, maps: names}, nil
}

// What the guards say of PoPs that are not in the table.
const (
	unknownPoPsZone = "has variants for PoPs that the PoP table does not have"
	unknownPoPsMap  = "names PoPs that the PoP table does not have"
)

// A guard adds to the plan of the step from cur (nil: a new zone) to next what it refuses and what deserves a warning.
type guard func(p *Plan, cur, next *zone.Snapshot, around surroundings)

// guardZone looks at the whole of next.
func guardZone(p *Plan, cur, next *zone.Snapshot, around surroundings) {
	if cur != nil {
		if f := shrinkFinding(p.Deleted, cur.Len(), "RRsets"); f != "" {
			p.Refused = append(p.Refused, f)
		}
	}
	if unknown := unknownPoPs(around.pops, next.PoPs()); len(unknown) > 0 {
		p.Refused = append(p.Refused, unknownPoPsZone+": "+listed(unknown))
	}
	for _, name := range next.Maps() {
		if !slices.Contains(around.maps, name) {
			p.Warnings = append(p.Warnings, fmt.Sprintf("map %s does not exist: names that use it get their default variant", name))
		}
	}
	p.Warnings = append(p.Warnings, unevenVariants(next)...)
}

// guardRecord looks only at the variant of key: what was wrong with the rest of the zone before must not hold up an urgent change, nor a single change
// cost as much as the zone is large.
func guardRecord(key zone.Key) guard {
	return func(p *Plan, _, next *zone.Snapshot, around surroundings) {
		set, ok := next.Get(key)
		if !ok {
			return
		}
		if unknown := unknownPoPs(around.pops, []string{key.PoP}); key.PoP != "" && len(unknown) > 0 {
			p.Refused = append(p.Refused, unknownPoPsZone+": "+listed(unknown))
		}
		if set.PoP != "" {
			if w := unevenAddresses(next, key.Owner); w != "" {
				p.Warnings = append(p.Warnings, w)
			}
		}
	}
}

// unevenAddresses is unevenVariants for one owner and the types that clients ask for together.
func unevenAddresses(s *zone.Snapshot, owner zone.Name) string {
	o := ownerVariants{owner: owner}
	for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS} {
		for _, pop := range s.PoPs() {
			if set, ok := s.Get(zone.Key{Owner: owner, Type: typ, PoP: pop}); ok {
				o.add(set)
			}
		}
	}
	return o.uneven()
}

// unknownPoPs returns the names that the table does not have; without a table every name is known.
func unknownPoPs(pops *steer.PoPs, names []string) []string {
	if pops == nil {
		return nil
	}
	var unknown []string
	for _, name := range names {
		if _, ok := pops.Get(name); !ok {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// maxUneven bounds the warnings of unevenVariants.
const maxUneven = 10

// unevenVariants warns of owners whose PoPs have different types: a client of the PoP that lacks one is sent to different PoPs for, say, A and AAAA, and
// a cache may keep one PoP's "no such data" beside another PoP's address.
func unevenVariants(s *zone.Snapshot) []string {
	var out []string
	more := 0
	report := func(o ownerVariants) {
		w := o.uneven()
		switch {
		case w == "":
		case len(out) < maxUneven:
			out = append(out, w)
		default:
			more++
		}
	}
	var o ownerVariants
	for set := range s.RRsets() {
		if set.Owner != o.owner {
			report(o)
			o = ownerVariants{owner: set.Owner}
		}
		o.add(set)
	}
	report(o)
	if more > 0 {
		out = append(out, fmt.Sprintf("… and %d more names whose PoPs have different types", more))
	}
	return out
}

// ownerVariants gathers the types that each PoP has at one owner.
type ownerVariants struct {
	owner zone.Name
	types map[string][]uint16 // by PoP; nil for an owner that isn't steered
}

func (o *ownerVariants) add(set zone.RRset) {
	// Signatures come and go with what they cover.
	if set.PoP == "" || set.Type == dns.TypeRRSIG {
		return
	}
	if o.types == nil {
		o.types = map[string][]uint16{}
	}
	o.types[set.PoP] = append(o.types[set.PoP], set.Type)
}

// uneven names the first two PoPs with different types, or returns "".
func (o ownerVariants) uneven() string {
	pops := slices.Sorted(maps.Keys(o.types))
	for _, pop := range pops {
		first, this := o.types[pops[0]], o.types[pop]
		if slices.CompareFunc(first, this, cmp.Compare) != 0 {
			return fmt.Sprintf("%s: PoP %s has %s, PoP %s has %s: clients of one get other PoPs' addresses for the rest",
				o.owner, pops[0], typeNames(first), pop, typeNames(this))
		}
	}
	return ""
}

func typeNames(types []uint16) string {
	names := make([]string, len(types))
	for i, typ := range types {
		names[i] = TypeName(typ)
	}
	return listed(names)
}
