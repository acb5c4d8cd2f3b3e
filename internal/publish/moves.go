package publish

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/popdns/popdns/internal/steer"
)

// A Move is a share of the IPv4 address space whose first choice changes from one PoP to another.
type Move struct {
	Plane string  `json:"plane"`
	From  string  `json:"from"`
	To    string  `json:"to"`
	Share float64 `json:"share"` // of all 2³² addresses, 0 to 1
}

// movesOf compares the first choices of two maps for every IPv4 address on each plane that either has, greatest share first. In a hole of the ecs plane
// the resolver's address decides, which is written as "(resolver)".
func movesOf(cur, next *steer.Map) []Move {
	out := []Move{}
	for _, plane := range []steer.Plane{steer.Resolver, steer.ECS} {
		if plane == steer.ECS && !cur.HasPlane(plane) && !next.HasPlane(plane) {
			continue
		}
		out = append(out, planeMoves(plane, cur, next)...)
	}
	slices.SortStableFunc(out, func(a, b Move) int { return cmp.Compare(b.Share, a.Share) })
	return out
}

func planeMoves(plane steer.Plane, cur, next *steer.Map) []Move {
	edges := v4Edges(plane, cur, next)
	moved := map[[2]string]uint64{}
	for i, from := range edges {
		end := uint64(1) << 32
		if i+1 < len(edges) {
			end = edges[i+1]
		}
		a := v4Addr(from)
		if was, is := firstChoice(cur, plane, a), firstChoice(next, plane, a); was != is {
			moved[[2]string{was, is}] += end - from
		}
	}
	out := make([]Move, 0, len(moved))
	for pair, n := range moved {
		out = append(out, Move{Plane: plane.String(), From: pair[0], To: pair[1], Share: float64(n) / (1 << 32)})
	}
	slices.SortFunc(out, func(a, b Move) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return out
}

// v4Edges returns, sorted, the addresses at which a row of either map begins or the first one behind it: between two of them nothing changes.
func v4Edges(plane steer.Plane, maps ...*steer.Map) []uint64 {
	edges := []uint64{0}
	for _, m := range maps {
		for r := range m.Rows() {
			if r.Plane != plane || !r.Prefix.Addr().Is4() {
				continue
			}
			b := r.Prefix.Addr().As4()
			begin := uint64(binary.BigEndian.Uint32(b[:]))
			edges = append(edges, begin)
			if end := begin + 1<<(32-r.Prefix.Bits()); end < 1<<32 {
				edges = append(edges, end)
			}
		}
	}
	slices.Sort(edges)
	return slices.Compact(edges)
}

func v4Addr(n uint64) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(n)) //nolint:gosec // v4Edges stays below 2³²
	return netip.AddrFrom4(b)
}

func firstChoice(m *steer.Map, plane steer.Plane, a netip.Addr) string {
	leaf := m.Lookup(plane, a)
	if leaf.List == steer.Fallback {
		if plane == steer.ECS {
			return "(resolver)"
		}
		return m.Default()[0]
	}
	return m.PoPs(leaf.List)[0]
}
