package publish

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

// surroundings are what a zone refers to.
type surroundings struct {
	pops *steer.PoPs // nil: no table, so any PoP may be named
	maps []string

	lists func(mapName string) [][]string // the distinct lists of a map, nil when it can't be read
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
	read := map[string][][]string{}
	lists := func(name string) [][]string {
		if _, ok := read[name]; !ok && slices.Contains(names, name) {
			read[name] = nil
			// A map that can't be read holds up nobody's zone: whoever publishes it next is told.
			if v, err := load(ctx, r, MapRef(name)); err == nil && v != nil {
				read[name] = slices.Collect(v.Value.Lists())
			}
		}
		return read[name]
	}
	return surroundings{pops: pops, maps: names, lists: lists}, nil
}

// What the guards say of PoPs that are not in the table.
const (
	unknownPoPsZone = "has variants for PoPs that the PoP table does not have"
	unevenZone      = "has names whose PoPs have different types"
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
	p.Refused = append(p.Refused, unevenVariants(next)...)
	p.Refused = append(p.Refused, endlessLists(next, around.lists)...)
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
			if u, ok := next.UnevenAt(key.Owner); ok { // on the way to even, perhaps
				p.Warnings = append(p.Warnings, uneven(u))
			}
		}
	}
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

// maxNamed bounds how many names one kind of finding lists.
const maxNamed = 10

// unevenVariants tells of owners whose PoPs have different types.
func unevenVariants(s *zone.Snapshot) []string {
	return firstNamed(func(yield func(string) bool) {
		for u := range s.Uneven() {
			if !yield(uneven(u)) {
				return
			}
		}
	}, "names whose PoPs have different types")
}

// uneven says what a client of one of the PoPs gets.
func uneven(u zone.Uneven) string {
	return fmt.Sprintf("%s: PoP %s has %s, PoP %s has %s: clients of one get other PoPs' addresses for the rest",
		u.Owner, u.PoPs[0], typeNames(u.Types[0]), u.PoPs[1], typeNames(u.Types[1]))
}

// endlessLists tells of names without a default variant whose map has a list that none of their PoPs is in: its clients would get any PoP's answer.
func endlessLists(s *zone.Snapshot, lists func(mapName string) [][]string) []string {
	seen := map[string]string{} // by map and PoPs: many names are alike
	return firstNamed(func(yield func(string) bool) {
		for b := range s.Bare() {
			key := b.Map + " " + strings.Join(b.PoPs, ",")
			uncovered, known := seen[key]
			if !known {
				uncovered = uncoveredList(lists(b.Map), b.PoPs)
				seen[key] = uncovered
			}
			if uncovered == "" {
				continue
			}
			if !yield(fmt.Sprintf("%s: %s has no default variant, and map %s has the list [%s] without any of its PoPs: add a default variant",
				b.Owner, TypeName(b.Type), b.Map, uncovered)) {
				return
			}
		}
	}, "names without a default variant that a list of their map leaves uncovered")
}

// uncoveredList is the first list without any of the PoPs, "" if there is none.
func uncoveredList(lists [][]string, pops []string) string {
	for _, list := range lists {
		if !slices.ContainsFunc(list, func(entry string) bool {
			name, _ := steer.SplitEntry(entry)
			return slices.Contains(pops, name)
		}) {
			return strings.Join(list, ", ")
		}
	}
	return ""
}

// firstNamed collects the first findings and counts the rest.
func firstNamed(findings iter.Seq[string], what string) []string {
	var out []string
	more := 0
	for f := range findings {
		if len(out) < maxNamed {
			out = append(out, f)
		} else {
			more++
		}
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("… and %d more %s", more, what))
	}
	return out
}

func typeNames(types []uint16) string {
	names := make([]string, len(types))
	for i, typ := range types {
		names[i] = TypeName(typ)
	}
	return listed(names)
}
