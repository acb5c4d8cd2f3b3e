package steer

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"testing"
)

func decision(block string, list ...string) Decision {
	return Decision{Plane: ECS, Block: netip.MustParsePrefix(block), List: list, Scope: 24}
}

func hasOnly(names ...string) func(string) bool {
	return func(name string) bool { return slices.Contains(names, name) }
}

func TestChooseTakesTheFirstHealthyPoPThatHasAVariant(t *testing.T) {
	pops, err := NewPoPs(1, []PoP{{Name: "ams1"}, {Name: "down1", State: Down}, {Name: "drained1", Drain: 100}, {Name: "iad2"}})
	if err != nil {
		t.Fatal(err)
	}
	d := decision("203.0.113.0/24", "down1", "drained1", "nowhere", "ams1", "iad2")
	for _, c := range []struct {
		name   string
		pops   *PoPs
		has    []string
		chosen string
		passed []Passed
		last   string
	}{
		{
			"past the unhealthy", pops, []string{"down1", "drained1", "nowhere", "ams1", "iad2"}, "ams1",
			[]Passed{{"down1", "down"}, {"drained1", "drained by 100%, which includes 203.0.113.0/24"}, {"nowhere", "not in the pop table"}}, "down1",
		},
		{
			"past one without a variant", pops, []string{"iad2"}, "iad2",
			[]Passed{{"down1", "down"}, {"drained1", "drained by 100%, which includes 203.0.113.0/24"}, {"nowhere", "not in the pop table"}, {"ams1", "no variant"}}, "iad2",
		},
		{
			"nobody healthy", pops, []string{"drained1"}, "",
			[]Passed{{"down1", "down"}, {"drained1", "drained by 100%, which includes 203.0.113.0/24"}, {"nowhere", "not in the pop table"}, {"ams1", "no variant"}, {"iad2", "no variant"}}, "drained1",
		},
		{"no table yet", nil, []string{"down1", "iad2"}, "down1", nil, "down1"},
		{
			"no variant of any", nil, []string{"elsewhere"}, "",
			[]Passed{{"down1", "no variant"}, {"drained1", "no variant"}, {"nowhere", "no variant"}, {"ams1", "no variant"}, {"iad2", "no variant"}}, "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			has := hasOnly(c.has...)
			if pop, ok := d.Choose(c.pops, has); pop != c.chosen || ok != (c.chosen != "") {
				t.Errorf("chose %q, %v, want %q", pop, ok, c.chosen)
			}
			chosen, passed := d.Explain(c.pops, has)
			if chosen != c.chosen || !slices.Equal(passed, c.passed) {
				t.Errorf("explained %q %v\nwant %q %v", chosen, passed, c.chosen, c.passed)
			}
			if pop, ok := d.LastResort(has); pop != c.last || ok != (c.last != "") {
				t.Errorf("last resort %q, %v, want %q", pop, ok, c.last)
			}
		})
	}
}

func TestPartialDrainMovesItsShareOfBlocksAndOnlyEverMore(t *testing.T) {
	const blocks = 50_000
	moved := [101]int{}
	for i := range blocks {
		block := netip.PrefixFrom(netip.AddrFrom4([4]byte{44, byte(i >> 8), byte(i), 0}), 24)
		if i%2 == 1 {
			block = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, byte(i >> 8), byte(i)}), 48)
		}
		was := false
		for percent := range 101 {
			is := drained(block, "ams1", percent)
			if was && !is {
				t.Fatalf("%s is drained by less than %d %% but not by that", block, percent)
			}
			if was = is; is {
				moved[percent]++
			}
		}
	}
	for percent, n := range moved {
		share := float64(n) / blocks
		// Five standard deviations of a fair draw.
		p := float64(percent) / 100
		if tolerance := 5 * math.Sqrt(p*(1-p)/blocks); math.Abs(share-p) > tolerance {
			t.Errorf("drain of %d %% moves %.2f %% of blocks", percent, share*100)
		}
	}
}

func TestTwoDrainedPoPsMoveDifferentBlocks(t *testing.T) {
	both, one := 0, 0
	for i := range 10_000 {
		block := netip.PrefixFrom(netip.AddrFrom4([4]byte{44, byte(i >> 8), byte(i), 0}), 24)
		if drained(block, "ams1", 50) {
			one++
			if drained(block, "ams2", 50) {
				both++
			}
		}
	}
	if share := float64(both) / float64(one); share < 0.46 || share > 0.54 {
		t.Errorf("of the blocks that ams1 moves, ams2 moves %.2f, want about half", share)
	}
}

// TestDrainHashIsFixedForEver would fail on an edge of another version that picks other blocks: clients would flap between them.
func TestDrainHashIsFixedForEver(t *testing.T) {
	var got []string
	for _, block := range []string{"198.51.100.0/24", "198.51.100.0/25", "203.0.113.0/24", "2001:db8::/48", "::/0", "0.0.0.0/0"} {
		for percent := range 101 {
			if drained(netip.MustParsePrefix(block), "ams1", percent) {
				got = append(got, block+" "+strconv.Itoa(percent))
				break
			}
		}
	}
	// Computed apart, by a Python program that knows FNV-1a and the finisher from their papers.
	want := []string{"198.51.100.0/24 100", "198.51.100.0/25 75", "203.0.113.0/24 26", "2001:db8::/48 58", "::/0 85", "0.0.0.0/0 88"}
	if !slices.Equal(got, want) {
		t.Errorf("first percentage that moves each block: %q, want %q", got, want)
	}
}

func TestDrainOfAResolverMovesItsSubnetAndOfAnECSClientItsScope(t *testing.T) {
	m := mapOf(t, "def", nil, map[string]string{"44.0.0.0/8": "cli", "2001:db8::/32": "cli"})
	pops, err := NewPoPs(1, []PoP{{Name: "def", Drain: 50}, {Name: "cli", Drain: 50}})
	if err != nil {
		t.Fatal(err)
	}
	has := hasOnly("def", "cli")
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 5))
	moved := 0
	for range 2000 {
		a := [4]byte{byte(1 + r.IntN(9)), byte(r.Uint32()), byte(r.Uint32()), 0}
		_, first := m.Decide(Client{Resolver: netip.AddrFrom4(a)}).Choose(pops, has)
		if !first {
			moved++
		}
		a[3] = byte(r.Uint32())
		if _, second := m.Decide(Client{Resolver: netip.AddrFrom4(a)}).Choose(pops, has); second != first {
			t.Fatalf("seed %d: resolvers of %v's /24 differ", seed, a)
		}
	}
	if moved < 850 || moved > 1150 {
		t.Errorf("seed %d: a drain of half moves %d of 2000 resolver subnets that share a leaf", seed, moved)
	}
	want, _ := m.Decide(Client{Resolver: netip.MustParseAddr("9.9.9.9"), ECS: netip.MustParsePrefix("44.1.2.0/24"), HasECS: true}).Choose(pops, has)
	for range 200 {
		c := Client{Resolver: netip.AddrFrom4([4]byte{9, byte(r.Uint32()), 1, 1}), HasECS: true}
		c.ECS = netip.PrefixFrom(netip.AddrFrom4([4]byte{44, byte(r.Uint32()), byte(r.Uint32()), 0}), 24)
		if got, _ := m.Decide(c).Choose(pops, has); got != want {
			t.Fatalf("seed %d: %s in scope 44.0.0.0/8 gets %q, another got %q", seed, c.ECS, got, want)
		}
	}
}

func TestScopeDoesNotDependOnPoPStates(t *testing.T) {
	m := mapOf(t, "a,b", nil, map[string]string{"44.0.0.0/8": "a,b", "44.1.0.0/16": "b,a"})
	d := m.Decide(Client{Resolver: netip.MustParseAddr("9.9.9.9"), ECS: netip.MustParsePrefix("44.1.2.0/24"), HasECS: true})
	pops, err := NewPoPs(1, []PoP{{Name: "a"}, {Name: "b", State: Down}})
	if err != nil {
		t.Fatal(err)
	}
	// With b down both lists lead to a, yet the answer stays apart from its neighbours': b comes back without a stale cache.
	if pop, _ := d.Choose(pops, hasOnly("a", "b")); pop != "a" || d.Scope != 16 {
		t.Errorf("chose %s with scope %d, want a and 16", pop, d.Scope)
	}
}

func TestNewPoPsRefusesWhatIsOutOfBounds(t *testing.T) {
	for name, pops := range map[string][]PoP{
		"upper case":   {{Name: "AMS1"}},
		"underscore":   {{Name: "ams_1"}},
		"empty name":   {{}},
		"long name":    {{Name: "a123456789012345678901234567890123456789012345678901234567890123"}},
		"latitude":     {{Name: "a", Lat: 90.5}},
		"NaN":          {{Name: "a", Lat: math.NaN()}},
		"longitude":    {{Name: "a", Lon: -181}},
		"infinite":     {{Name: "a", Lon: math.Inf(1)}},
		"drain":        {{Name: "a", Drain: 101}},
		"minus drain":  {{Name: "a", Drain: -1}},
		"capacity":     {{Name: "a", Capacity: -1}},
		"state":        {{Name: "a", State: 2}},
		"twice":        {{Name: "a"}, {Name: "a"}},
		"far too many": make([]PoP, MaxPoPs+1),
	} {
		if _, err := NewPoPs(1, pops); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestWithReplacesOrAddsAndLeavesTheOldTable(t *testing.T) {
	old, err := NewPoPs(3, []PoP{{Name: "b"}, {Name: "d"}})
	if err != nil {
		t.Fatal(err)
	}
	next := old.With(PoP{Name: "b", Drain: 30}).With(PoP{Name: "c"}).With(PoP{Name: "a"})
	var names []string
	for p := range next.All() {
		names = append(names, p.Name)
	}
	if p, ok := next.Get("b"); !slices.Equal(names, []string{"a", "b", "c", "d"}) || !ok || p.Drain != 30 || next.Serial() != 3 || next.Len() != 4 {
		t.Errorf("%v, b is %+v", names, p)
	}
	if p, _ := old.Get("b"); p.Drain != 0 || old.Len() != 2 {
		t.Errorf("the old table changed: %+v", p)
	}
	var none *PoPs
	if p, ok := none.With(PoP{Name: "a"}).Get("a"); !ok || p.Name != "a" {
		t.Error("no table with a PoP has none")
	}
}
