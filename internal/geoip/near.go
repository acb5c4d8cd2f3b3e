package geoip

import (
	"cmp"
	"slices"
	"strings"

	"github.com/popdns/popdns/internal/steer"
)

// locator finds the PoPs nearest to a place.
type locator struct {
	count  int
	groups []group            // one for each bias
	known  map[point][]string // what was found already: a City database has far fewer places than networks
}

// group is the PoPs of one bias. Among them the chord orders as the biased distance does, so that only the best few need the arc.
type group struct {
	bias  int
	sites []site
}

type site struct {
	name string
	at   vector
}

// hasPlace tells whether p's coordinates are known: a PoP file may leave them out, and nobody has a PoP in the Gulf of Guinea.
func hasPlace(p steer.PoP) bool { return p.Lat != 0 || p.Lon != 0 }

func placed(pops *steer.PoPs) []steer.PoP {
	var out []steer.PoP
	for p := range pops.All() {
		if hasPlace(p) {
			out = append(out, p)
		}
	}
	return out
}

// newLocator prepares for PoPs that near.check has passed.
func newLocator(near *Near, pops *steer.PoPs) *locator {
	l := &locator{count: near.Count, known: make(map[point][]string)}
	byBias := make(map[int][]site)
	for _, p := range placed(pops) {
		at, _ := pointAt(p.Lat, p.Lon) // a table has places on the globe only
		b := near.Bias[p.Name].Percent
		byBias[b] = append(byBias[b], site{p.Name, at.vector()})
	}
	for b, sites := range byBias {
		l.groups = append(l.groups, group{b, sites})
	}
	slices.SortFunc(l.groups, func(a, b group) int { return cmp.Compare(a.bias, b.bias) })
	return l
}

// found is a PoP and its distance, as a chord or an arc.
type found struct {
	name     string
	distance uint64
}

func (f found) compare(o found) int {
	return cmp.Or(cmp.Compare(f.distance, o.distance), strings.Compare(f.name, o.name))
}

// nearest returns the list for a place, which must not be changed.
func (l *locator) nearest(p point) []string {
	if list, ok := l.known[p]; ok {
		return list
	}
	best := l.search(p)
	list := make([]string, len(best))
	for i, f := range best {
		list[i] = f.name
	}
	l.known[p] = list
	return list
}

func (l *locator) search(p point) []found {
	at := p.vector()
	if len(l.groups) == 1 {
		return l.groups[0].nearest(at, l.count)
	}
	var all []found
	for _, g := range l.groups {
		for _, f := range g.nearest(at, l.count) {
			all = append(all, found{f.name, biased(arc(f.distance), g.bias)})
		}
	}
	slices.SortFunc(all, found.compare)
	return all[:min(l.count, len(all))]
}

// nearest returns the count nearest PoPs of the group with their chords, in order; PoPs at one distance are in the order of their names.
func (g *group) nearest(at vector, count int) []found {
	best := make([]found, 0, count+1)
	for _, s := range g.sites {
		f := found{s.name, at.chord(s.at)}
		if len(best) == count && best[count-1].compare(f) <= 0 {
			continue
		}
		i, _ := slices.BinarySearchFunc(best, f, found.compare)
		best = slices.Insert(best, i, f)
		best = best[:min(count, len(best))]
	}
	return best
}

// biased is Route 53's formula, in whole numbers; the 100 in both branches keeps them comparable.
func biased(arc int64, percent int) uint64 {
	const precision = 100
	d := arc * precision
	if percent >= 0 {
		return uint64(d * int64(100-percent) / 100) //nolint:gosec // a bias is under 100
	}
	return uint64(d * 100 / int64(100+percent)) //nolint:gosec // a bias is above -100
}
