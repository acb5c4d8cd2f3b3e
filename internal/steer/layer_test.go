package steer

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// randomCover splits a family's space at random into disjoint prefixes, in order, of which some are left out.
func randomCover(r *rand.Rand, p netip.Prefix, out []netip.Prefix) []netip.Prefix {
	deep := p.Bits() < 8 && r.IntN(8) > 0 || p.Bits() >= 8 && p.Bits() < p.Addr().BitLen() && r.IntN(100) < 48
	if !deep || len(out) > 400 {
		if r.IntN(4) > 0 {
			out = append(out, p)
		}
		return out
	}
	b := p.Addr().As16()
	bit := p.Bits()
	if p.Addr().Is4() {
		bit += 96
	}
	b[bit/8] |= 0x80 >> (bit % 8)
	high := netip.AddrFrom16(b)
	if p.Addr().Is4() {
		high = high.Unmap()
	}
	out = randomCover(r, netip.PrefixFrom(p.Addr(), p.Bits()+1), out)
	return randomCover(r, netip.PrefixFrom(high, p.Bits()+1), out)
}

// layered is the slow, obvious twin: the longest match of the topmost layer that has one.
func layered(layers [][]Row, a netip.Addr) string {
	for _, rows := range layers {
		best, list := -1, ""
		for _, r := range rows {
			if r.Prefix.Bits() > best && r.Prefix.Contains(a) {
				best, list = r.Prefix.Bits(), listKey(r.PoPs)
			}
		}
		if best >= 0 {
			return list
		}
	}
	return ""
}

func TestLayersYieldToWhatLiesAbove(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 4))
		b := NewMapBuilder("layers")
		if err := b.Default([]string{"z"}); err != nil {
			t.Fatal(err)
		}
		layers := make([][]Row, 3)
		for range r.IntN(30) {
			p := randomPrefix(r)
			list := goldLists[r.IntN(len(goldLists))]
			if !b.Has(ECS, p) && p.Bits() > 0 {
				if err := b.Add(ECS, p, list); err != nil {
					t.Fatal(err)
				}
				layers[0] = append(layers[0], Row{ECS, p, list})
			}
		}
		for i := 1; i < len(layers); i++ {
			layer := b.Beneath(ECS)
			for _, space := range []string{"0.0.0.0/0", "2001:db0::/28"} {
				for _, p := range randomCover(r, netip.MustParsePrefix(space), nil) {
					list := goldLists[r.IntN(2)]
					id, err := b.List(list)
					if err != nil {
						t.Fatal(err)
					}
					if err := layer.Add(p, id); err != nil {
						t.Fatal(err)
					}
					if specialOf(p) < 0 {
						layers[i] = append(layers[i], Row{ECS, p, list})
					}
				}
			}
		}
		m, err := b.Build(1)
		if err != nil {
			t.Fatal(err)
		}
		if n := m.rows[Resolver].len(); n > 0 {
			t.Fatalf("seed %d: %d rows in the resolver plane, which no layer is of", seed, n)
		}
		check := func(a netip.Addr) {
			t.Helper()
			leaf := m.Lookup(ECS, a)
			if got, want := listKey(m.PoPs(leaf.List)), layered(layers, a); got != want {
				t.Fatalf("seed %d: %s has %q, want %q", seed, a, got, want)
			}
		}
		for _, rows := range layers {
			for _, row := range rows {
				if row.Prefix.Addr().Is6() && carriesIPv4(row.Prefix) {
					continue
				}
				check(row.Prefix.Addr())
				check(lastAddr(row.Prefix))
			}
		}
		for range 300 {
			check(netip.AddrFrom4([4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}))
		}
	}
}

func TestLayerJoinsSiblings(t *testing.T) {
	b := NewMapBuilder("")
	a, _ := b.List([]string{"a"})
	other, _ := b.List([]string{"b"})
	l := b.Beneath(ECS)
	add := func(list ListID, prefixes ...string) {
		t.Helper()
		for _, p := range prefixes {
			if err := l.Add(netip.MustParsePrefix(p), list); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(a, "44.0.0.0/10", "44.64.0.0/11", "44.96.0.0/11", "44.128.0.0/9") // a whole /8
	add(other, "45.0.0.0/8")
	add(a, "46.0.0.0/9")
	add(a, "10.0.0.0/8") // special: left out, whatever its place
	add(a, "2001:db8:0:1::/64", "2001:db8:0:2::/64", "2001:db8:0:3::/64", "2001:db8:1::/127", "2001:db8:1::2/127")
	add(a, "2002:2c00::/24") // carries IPv4: left out
	var got []string
	for f := range families {
		for _, r := range l.rows[f] {
			got = append(got, r.prefix(f).String())
		}
	}
	want := []string{"44.0.0.0/8", "45.0.0.0/8", "46.0.0.0/9", "2001:db8:0:1::/64", "2001:db8:0:2::/63", "2001:db8:1::/126"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, p := range []string{"46.0.0.0/16", "45.0.0.0/8", "2001:db8:1::/120", "47.0.0.1/8"} {
		if err := l.Add(netip.MustParsePrefix(p), a); err == nil {
			t.Errorf("%s, which overlaps or comes too late, was taken", p)
		}
	}
}
