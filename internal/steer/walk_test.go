package steer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// goldText is what the twin says of an address, and "ipv4" for one that carries an IPv4 address which decides.
func goldText(g *gold, a netip.Addr) string {
	if slices.ContainsFunc(g.v4in, func(e goldEmbedding) bool { return e.contains(a) }) {
		return "ipv4"
	}
	return g.list(a)
}

func stretchText(m *Map, l ListID) string {
	switch l {
	case AsIPv4:
		return "ipv4"
	case Fallback:
		return "hole"
	}
	return listKey(m.PoPs(l))
}

// tiles checks that the stretches are all of both families, without gaps, and that each is as long as can be.
func tiles(stretches []Stretch) error {
	next := netip.IPv4Unspecified()
	for i, s := range stretches {
		if s.First != next || s.Last.Less(s.First) {
			return fmt.Errorf("stretch %d is %s to %s, want it to begin at %s", i, s.First, s.Last, next)
		}
		if before := i - 1; before >= 0 && s.First.Is4() == stretches[before].First.Is4() && s.Was == stretches[before].Was && s.Is == stretches[before].Is {
			return fmt.Errorf("nothing changes at %s", s.First)
		}
		if next = s.Last.Next(); !next.IsValid() && s.First.Is4() {
			next = netip.IPv6Unspecified()
		}
	}
	if next.IsValid() {
		return fmt.Errorf("the last stretch ends before %s", next)
	}
	return nil
}

func TestStretchesOfTwoMapsAreWhatBruteForceSays(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 11))
	cases := 0
	for range 300 {
		was, is := randomMap(t, r), randomMap(t, r)
		for p := range planes {
			old, now := goldOf(was, p), goldOf(is, p)
			stretches := slices.Collect(Stretches(was, is, p))
			if err := tiles(stretches); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for range 60 {
				a := randomAddr(r, slices.Concat(old.rows, now.rows))
				i := slices.IndexFunc(stretches, func(s Stretch) bool { return s.First.Is4() == a.Is4() && !a.Less(s.First) && !s.Last.Less(a) })
				got := stretchText(was, stretches[i].Was) + " → " + stretchText(is, stretches[i].Is)
				if want := goldText(old, a) + " → " + goldText(now, a); got != want {
					t.Fatalf("seed %d: %s of %s: %s, want %s\nold %v\nnew %v", seed, p, a, got, want, old.rows, now.rows)
				}
				cases++
			}
		}
	}
	t.Logf("%d addresses, seed %d", cases, seed)
}

// TestSharesOfStretchesCountEveryAddress adds up the stretches of maps that divide nothing but one /18, and counts that /18 address by address.
func TestSharesOfStretchesCountEveryAddress(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 12))
	small := func() *Map {
		b := NewMapBuilder("test")
		if err := b.Default(goldLists[0]); err != nil {
			t.Fatal(err)
		}
		for range r.IntN(40) {
			v := r.Uint32()
			p, _ := netip.AddrFrom4([4]byte{44, 1, byte(v>>8) & 0x3f, byte(v)}).Prefix(18 + r.IntN(15))
			if !b.Has(ECS, p) {
				if err := b.Add(ECS, p, goldLists[r.IntN(len(goldLists))]); err != nil {
					t.Fatal(err)
				}
			}
		}
		m, err := b.Build(1)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for range 10 {
		was, is := small(), small()
		old, now := goldOf(was, ECS), goldOf(is, ECS)
		want := map[string]float64{"hole → hole": 1 - 1.0/(1<<18)}
		for i := range 1 << 14 {
			a := netip.AddrFrom4([4]byte{44, 1, byte(i >> 8), byte(i)})
			want[old.list(a)+" → "+now.list(a)] += 1.0 / (1 << 32)
		}
		got := map[string]float64{}
		for s := range Stretches(was, is, ECS) {
			if s.First.Is4() {
				got[stretchText(was, s.Was)+" → "+stretchText(is, s.Is)] += s.Share()
			}
		}
		if len(got) != len(want) {
			t.Fatalf("seed %d: got %v, want %v", seed, got, want)
		}
		for pair, share := range want {
			if math.Abs(got[pair]-share) > 1e-15 {
				t.Errorf("seed %d: %s: %v, want %v", seed, pair, got[pair], share)
			}
		}
	}
}

func TestSharesOfIPv6AreOfTheGlobalUnicastSpace(t *testing.T) {
	for _, tc := range []struct {
		first, last string
		want        float64
	}{
		{"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1},
		{"2000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1},
		{"::", "2fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0.5},
		{"3000::", "ffff::", 0.5},
		{"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", math.Exp2(-29)},
		{"2001:db8::7", "2001:db8::7", math.Exp2(-125)},
		{"2001:db8:0:1:8000::", "2001:db8:0:2:7fff:ffff:ffff:ffff", math.Exp2(-61)},
		{"::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0},
		{"4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0},
	} {
		s := Stretch{First: netip.MustParseAddr(tc.first), Last: netip.MustParseAddr(tc.last)}
		if got := s.Share(); math.Abs(got-tc.want) > tc.want*1e-12 {
			t.Errorf("%s to %s: %v, want %v", tc.first, tc.last, got, tc.want)
		}
	}
}

func TestLeavesTileTheSpaceAndAreWhatLookupSays(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 13))
	for range 150 {
		m := randomMap(t, r)
		for p := range planes {
			g := goldOf(m, p)
			next := netip.IPv4Unspecified()
			for block, leaf := range m.Leaves(p) {
				for _, e := range g.v4in {
					if block.Addr().Is6() && next == e.block.Addr() {
						next = lastAddr6(e.block).Next()
					}
				}
				if block.Addr() != next || block != block.Masked() || int(leaf.Bits) != block.Bits() {
					t.Fatalf("seed %d: %s: leaf %s of %+v, want one at %s\nrows %v", seed, p, block, leaf, next, g.rows)
				}
				if next = lastOf(block).Next(); !next.IsValid() && block.Addr().Is4() {
					next = netip.IPv6Unspecified()
				}
				if err := checkLeaf(m, p, g, block.Addr()); err != nil {
					t.Fatalf("seed %d: %v\nrows %v", seed, err, g.rows)
				}
			}
			if next.IsValid() {
				t.Fatalf("seed %d: the leaves end before %s", seed, next)
			}
		}
	}
}

func TestMatchIsTheLongestRow(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 14))
	for range 150 {
		m := randomMap(t, r)
		for p := range planes {
			g := goldOf(m, p)
			for range 40 {
				a := randomAddr(r, g.rows)
				inner := a
				for _, e := range g.v4in {
					if e.contains(a) {
						inner = e.unwrap(a)
					}
				}
				var want netip.Prefix
				for _, row := range g.rows {
					if contains(row.Prefix, inner) && (!want.IsValid() || row.Prefix.Bits() > want.Bits()) {
						want = row.Prefix
					}
				}
				got, ok := m.Match(p, a)
				if ok != want.IsValid() || ok && got != want {
					t.Fatalf("seed %d: %s of %s: row %s, want %s of %v", seed, p, a, got, want, g.rows)
				}
			}
		}
	}
}

func TestPrefixesPairEachRowWithWhatTheOtherMapHasThere(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 15))
	// around is the list of the longest row that covers all of a prefix.
	around := func(g *gold, p netip.Prefix) string {
		best, list := -1, g.hole
		for _, row := range g.rows {
			if row.Prefix.Bits() <= p.Bits() && row.Prefix.Bits() > best && contains(row.Prefix, p.Addr()) {
				best, list = row.Prefix.Bits(), listKey(row.PoPs)
			}
		}
		return list
	}
	for range 200 {
		was, is := randomMap(t, r), randomMap(t, r)
		for p := range planes {
			old, now := goldOf(was, p), goldOf(is, p)
			want := map[netip.Prefix]string{}
			for _, row := range slices.Concat(old.rows, now.rows) {
				want[row.Prefix] = around(old, row.Prefix) + " → " + around(now, row.Prefix)
			}
			n := 0
			for prefix, s := range Prefixes(was, is, p) {
				n++
				if got := stretchText(was, s.Was) + " → " + stretchText(is, s.Is); got != want[prefix] || s.First != prefix.Addr() || s.Last != lastOf(prefix) {
					t.Fatalf("seed %d: %s of %s: %s (%s to %s), want %s", seed, p, prefix, got, s.First, s.Last, want[prefix])
				}
			}
			if n != len(want) {
				t.Fatalf("seed %d: %d prefixes, want %d", seed, n, len(want))
			}
		}
	}
}
