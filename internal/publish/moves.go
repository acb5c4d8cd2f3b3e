package publish

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/popdns/popdns/internal/steer"
)

// A Move is a share of the address space that goes from one PoP to another.
type Move struct {
	Plane  string  `json:"plane"`
	Family string  `json:"family"` // IPv4, IPv6
	From   string  `json:"from"`
	To     string  `json:"to"`
	Share  float64 `json:"share"` // of all IPv4 addresses, or of global unicast IPv6 (2000::/3): 0 to 1
}

// Moved is what moves in all of one plane and family.
type Moved struct {
	Plane      string  `json:"plane"`
	Family     string  `json:"family"`
	Share      float64 `json:"share"`       // of the address space, as in a Move
	Prefixes   int     `json:"prefixes"`    // of those that have a row in either map, how many go elsewhere, wholly or in part
	PrefixesOf int     `json:"prefixes_of"` // how many there are
}

// A Mover is one run of addresses that goes elsewhere.
type Mover struct {
	Plane string  `json:"plane"`
	Block string  `json:"block"` // a prefix, or "first-last"
	From  string  `json:"from"`
	To    string  `json:"to"`
	Share float64 `json:"share"` // of the address space, as in a Move
}

// Who decides where a plane has no list of its own, in the place of a PoP.
const (
	byResolver = "(resolver)" // a hole of the ecs plane: the resolver's address does
	byIPv4     = "(as IPv4)"  // the IPv4 address that an IPv6 one carries
	byNobody   = "(none)"     // all PoPs of the list are away: each name's own policy
)

// maxMovers is how many of the greatest movers are named.
const maxMovers = 10

// moves is what a change of a map moves, with the states as they are and every PoP having a variant.
type moves struct {
	flows  []Move  // greatest first
	moved  []Moved // resolver plane, ecs plane; IPv4, IPv6
	movers []Mover // greatest first
}

// movesOf compares two maps on each plane that either has.
func movesOf(cur, next *steer.Map, pops *steer.PoPs) moves {
	out := moves{flows: []Move{}, moved: []Moved{}, movers: []Mover{}}
	for _, plane := range []steer.Plane{steer.Resolver, steer.ECS} {
		if plane == steer.ECS && !cur.HasPlane(plane) && !next.HasPlane(plane) {
			continue
		}
		c := comparison{cur: cur, next: next, pops: pops, known: map[[2]steer.ListID][]steer.Flow{}}
		out.plane(plane, &c)
	}
	slices.SortStableFunc(out.flows, func(a, b Move) int {
		return cmp.Or(cmp.Compare(b.Share, a.Share), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	slices.SortStableFunc(out.movers, func(a, b Mover) int { return cmp.Compare(b.Share, a.Share) })
	out.movers = out.movers[:min(len(out.movers), maxMovers)]
	return out
}

func (m *moves) plane(plane steer.Plane, c *comparison) {
	type route struct{ family, from, to string }
	flows := map[route]float64{}
	moved := map[string]*Moved{}
	for _, family := range families {
		moved[family] = &Moved{Plane: plane.String(), Family: family}
	}
	best := moverList{plane: plane.String()}
	for s := range steer.Stretches(c.cur, c.next, plane) {
		family := familyOf(s.First)
		share := s.Share()
		of := c.flows(s.Was, s.Is)
		for _, f := range of {
			flows[route{family, f.From, f.To}] += share * f.Share
			moved[family].Share += share * f.Share
		}
		best.add(s, of, share)
	}
	best.end()
	m.movers = append(m.movers, best.top...)
	for prefix, s := range steer.Prefixes(c.cur, c.next, plane) {
		of := moved[familyOf(prefix.Addr())]
		of.PrefixesOf++
		if len(c.flows(s.Was, s.Is)) > 0 {
			of.Prefixes++
		}
	}
	for r, share := range flows {
		m.flows = append(m.flows, Move{Plane: plane.String(), Family: r.family, From: r.from, To: r.to, Share: share})
	}
	for _, family := range families {
		m.moved = append(m.moved, *moved[family])
	}
}

var families = []string{"IPv4", "IPv6"}

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return families[0]
	}
	return families[1]
}

// comparison works out once for each pair of lists what moves between them.
type comparison struct {
	cur, next *steer.Map
	pops      *steer.PoPs
	known     map[[2]steer.ListID][]steer.Flow
}

func (c *comparison) flows(was, is steer.ListID) []steer.Flow {
	pair := [2]steer.ListID{was, is}
	flows, ok := c.known[pair]
	if !ok {
		flows = steer.Flows(partsOf(c.cur, was, c.pops), partsOf(c.next, is, c.pops))
		for i := range flows {
			flows[i].From, flows[i].To = cmp.Or(flows[i].From, byNobody), cmp.Or(flows[i].To, byNobody)
		}
		c.known[pair] = flows
	}
	return flows
}

func partsOf(m *steer.Map, list steer.ListID, pops *steer.PoPs) []steer.Part {
	switch list {
	case steer.Fallback:
		return []steer.Part{{PoP: byResolver, Share: 1}}
	case steer.AsIPv4:
		return []steer.Part{{PoP: byIPv4, Share: 1}}
	}
	return pops.Parts(m.PoPs(list))
}

// moverList joins stretches that lie side by side and move alike, and keeps the greatest.
type moverList struct {
	plane       string
	top         []Mover // at most twice maxMovers
	first, last netip.Addr
	flow        steer.Flow // the greatest of the stretch at hand; Share is 0 for none
	share       float64
}

// add goes on to the next stretch, of which the flows are so many shares of share.
func (l *moverList) add(s steer.Stretch, flows []steer.Flow, share float64) {
	var main steer.Flow
	moving := 0.0
	for _, f := range flows {
		moving += f.Share
		if f.Share > main.Share {
			main = f
		}
	}
	if main.Share > 0 && l.flow.Share > 0 && main.From == l.flow.From && main.To == l.flow.To && l.last.Next() == s.First {
		l.last, l.share = s.Last, l.share+share*moving
		return
	}
	l.end()
	l.first, l.last, l.flow, l.share = s.First, s.Last, main, share*moving
}

// end books the stretch at hand.
func (l *moverList) end() {
	if l.share > 0 {
		first, last := l.first, l.last
		if first.Is6() { // shares are taken of that space
			first, last = later(first, firstGlobal), earlier(last, lastGlobal)
		}
		l.top = append(l.top, Mover{Plane: l.plane, Block: blockText(first, last), From: l.flow.From, To: l.flow.To, Share: l.share})
	}
	l.share, l.flow = 0, steer.Flow{}
	if len(l.top) == 2*maxMovers {
		slices.SortStableFunc(l.top, func(a, b Mover) int { return cmp.Compare(b.Share, a.Share) })
		l.top = l.top[:maxMovers]
	}
}

// Global unicast IPv6, 2000::/3.
var firstGlobal, lastGlobal = netip.MustParseAddr("2000::"), netip.MustParseAddr("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")

func later(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return b
	}
	return a
}

func earlier(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return a
	}
	return b
}

// blockText writes a run of addresses as a prefix if it is one.
func blockText(first, last netip.Addr) string {
	a, b := first.As16(), last.As16()
	hi := binary.BigEndian.Uint64(a[:8]) ^ binary.BigEndian.Uint64(b[:8])
	lo := binary.BigEndian.Uint64(a[8:]) ^ binary.BigEndian.Uint64(b[8:])
	n := bits.LeadingZeros64(hi)
	if hi == 0 {
		n = 64 + bits.LeadingZeros64(lo)
	}
	n -= 128 - first.BitLen()
	if p, err := first.Prefix(n); err == nil && p.Addr() == first && isLast(p, last) {
		return p.String()
	}
	return fmt.Sprintf("%s-%s", first, last)
}

// isLast tells whether a is the highest address of p: all bits behind the prefix are set.
func isLast(p netip.Prefix, a netip.Addr) bool {
	b := a.AsSlice()
	for i := p.Bits(); i < a.BitLen(); i++ {
		if b[i/8]&(0x80>>(i%8)) == 0 {
			return false
		}
	}
	return true
}
