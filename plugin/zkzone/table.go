package zkzone

import (
	"cmp"
	"slices"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/zone"

	"github.com/miekg/dns"
)

// served is a zone that the block answers for.
type served struct {
	by     *ZkZone
	name   zone.Name
	origin string // name as people write it
	label  string // in metrics
	// counted are its answers, in metrics.
	counted *answerCounters
	data    *edge.Dataset[*zone.Snapshot]
	feed    *edge.Feed // nil without the transfer plugin
}

// A table finds the zone that a name lies in. It is immutable: a zone that comes or
// goes makes a new one.
//
// It costs one map lookup for each length that some origin has, however many
// there are: 0.3 µs for a random one of 10,000, where plugin.Zones.Matches, which
// looks at all, needs 6 ms (BenchmarkMatch, on two busy cores).
type table struct {
	zones map[zone.Name]*served
	// lengths has bit n set if some origin has n labels; a name has at most 127.
	lengths [2]uint64
}

func newTable(zones map[zone.Name]*served) *table {
	t := &table{zones: zones}
	for name := range zones {
		n := labels(name)
		t.lengths[n/64] |= 1 << (n % 64)
	}
	return t
}

// labels counts the labels of a name without its root.
func labels(name zone.Name) int {
	n := 0
	for i := 0; name[i] != 0; i += 1 + int(name[i]) {
		n++
	}
	return n
}

// match returns the zone with the longest origin that name lies at or below, nil if
// there is none.
func (t *table) match(name zone.Name) *served {
	n := labels(name)
	for i := 0; ; i += 1 + int(name[i]) {
		if t.lengths[n/64]&(1<<(n%64)) != 0 {
			if here := t.zones[name[i:]]; here != nil {
				return here
			}
		}
		if n == 0 {
			return nil
		}
		n--
	}
}

// answers is match for a question. What a DS says belongs to the zone above the
// cut, so where both are served the upper one answers (RFC 4035 3.1.4.1).
func (t *table) answers(name zone.Name, qtype uint16) *served {
	here := t.match(name)
	if qtype != dns.TypeDS || here == nil || here.name != name || name == zone.Root {
		return here
	}
	if above := t.match(name[1+int(name[0]):]); above != nil {
		return above
	}
	return here
}

// sorted are the zones by origin.
func (t *table) sorted() []*served {
	all := make([]*served, 0, len(t.zones))
	for _, here := range t.zones {
		all = append(all, here)
	}
	slices.SortFunc(all, func(a, b *served) int { return cmp.Compare(a.origin, b.origin) })
	return all
}
