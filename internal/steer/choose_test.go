package steer

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func decision(block string, list ...string) Decision {
	return Decision{Plane: ECS, Block: netip.MustParsePrefix(block), List: list, Scope: 24}
}

func hasOnly(names ...string) func(string) bool {
	return func(name string) bool { return slices.Contains(names, name) }
}

func choice(m *Map, c Client, pops *PoPs, has func(string) bool) string {
	d := m.Decide(c)
	return d.Choose(pops, "", has).PoP
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
		away   bool
	}{
		{
			"past the unhealthy", pops, []string{"down1", "drained1", "nowhere", "ams1", "iad2"}, "ams1",
			[]Passed{{"down1", "down"}, {"drained1", "drained by 100%, which includes 203.0.113.0/24"}, {"nowhere", "not in the pop table"}}, "down1", true,
		},
		{
			"past one without a variant", pops, []string{"iad2"}, "iad2",
			[]Passed{{"down1", "down"}, {"drained1", "drained by 100%, which includes 203.0.113.0/24"}, {"nowhere", "not in the pop table"}, {"ams1", "no variant"}}, "iad2", false,
		},
		{
			"nobody healthy", pops, []string{"drained1"}, "",
			[]Passed{{"down1", "down"}, {"drained1", "drained by 100%, which includes 203.0.113.0/24"}, {"nowhere", "not in the pop table"}, {"ams1", "no variant"}, {"iad2", "no variant"}}, "drained1", true,
		},
		{"no table yet", nil, []string{"down1", "iad2"}, "down1", nil, "down1", false},
		{
			"no variant of any", nil, []string{"elsewhere"}, "",
			[]Passed{{"down1", "no variant"}, {"drained1", "no variant"}, {"nowhere", "no variant"}, {"ams1", "no variant"}, {"iad2", "no variant"}}, "", false,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			has := hasOnly(c.has...)
			if got := d.Choose(c.pops, "", has); got.PoP != c.chosen || got.Away != c.away {
				t.Errorf("chose %+v, want %q, away %v", got, c.chosen, c.away)
			}
			chosen, passed := d.Explain(c.pops, "", has)
			if chosen != c.chosen || !slices.Equal(passed, c.passed) {
				t.Errorf("explained %q %v\nwant %q %v", chosen, passed, c.chosen, c.passed)
			}
			if got := d.Choose(nil, "", has); got.PoP != c.last || got.Away {
				t.Errorf("as if all were up: %+v, want %q", got, c.last)
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
		first := choice(m, Client{Resolver: netip.AddrFrom4(a)}, pops, has)
		if first == "" {
			moved++
		}
		a[3] = byte(r.Uint32())
		if second := choice(m, Client{Resolver: netip.AddrFrom4(a)}, pops, has); second != first {
			t.Fatalf("seed %d: resolvers of %v's /24 differ", seed, a)
		}
	}
	if moved < 850 || moved > 1150 {
		t.Errorf("seed %d: a drain of half moves %d of 2000 resolver subnets that share a leaf", seed, moved)
	}
	want := choice(m, Client{Resolver: netip.MustParseAddr("9.9.9.9"), ECS: netip.MustParsePrefix("44.1.2.0/24"), HasECS: true}, pops, has)
	for range 200 {
		c := Client{Resolver: netip.AddrFrom4([4]byte{9, byte(r.Uint32()), 1, 1}), HasECS: true}
		c.ECS = netip.PrefixFrom(netip.AddrFrom4([4]byte{44, byte(r.Uint32()), byte(r.Uint32()), 0}), 24)
		if got := choice(m, c, pops, has); got != want {
			t.Fatalf("seed %d: %s in scope 44.0.0.0/8 gets %q, another got %q", seed, c.ECS, got, want)
		}
	}
}

func TestStateOfAServiceConcernsItsNamesAlone(t *testing.T) {
	pops, err := NewPoPs(1, []PoP{
		{Name: "ams1", Services: []Service{{"mail", Up, 100}, {"web", Down, 0}}},
		{Name: "iad2", State: Down, Services: []Service{{"dns", Up, 10}}},
		{Name: "sin1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	d := decision("203.0.113.0/24", "ams1", "iad2", "sin1")
	for service, want := range map[string]Choice{
		"":     {"ams1", false},
		"ftp":  {"ams1", false},
		"web":  {"sin1", true},
		"mail": {"sin1", true},
		"dns":  {"ams1", false},
	} {
		if got := d.Choose(pops, service, func(string) bool { return true }); got != want {
			t.Errorf("service %q: %+v, want %+v", service, got, want)
		}
	}
	_, passed := d.Explain(pops, "web", func(string) bool { return true })
	if want := []Passed{{"ams1", "service web is down"}, {"iad2", "down"}}; !slices.Equal(passed, want) {
		t.Errorf("explained %v, want %v", passed, want)
	}
	// The worse of both drains counts, as one: a service's drain never adds to the PoP's.
	both, _ := NewPoPs(1, []PoP{{Name: "ams1", Drain: 40, Services: []Service{{"web", Up, 30}}}, {Name: "sin1"}})
	site, _ := NewPoPs(1, []PoP{{Name: "ams1", Drain: 40}, {Name: "sin1"}})
	for i := range 1000 {
		d := decision(netip.PrefixFrom(netip.AddrFrom4([4]byte{44, byte(i >> 8), byte(i), 0}), 24).String(), "ams1", "sin1")
		if a, b := d.Choose(both, "web", hasOnly("ams1", "sin1")), d.Choose(site, "web", hasOnly("ams1", "sin1")); a != b {
			t.Fatalf("%s: %+v with the service's drain, %+v without", d.Block, a, b)
		}
	}
}

// TestSharesFollowTheWeightsAndMoveNoMoreThanTheyMust walks a group through drains, outages and new weights.
func TestSharesFollowTheWeightsAndMoveNoMoreThanTheyMust(t *testing.T) {
	const blocks = 20_000
	all := hasOnly("ams1", "ams2", "ams3", "iad2")
	choose := func(i int, pops *PoPs, list ...string) Choice {
		d := decision(netip.PrefixFrom(netip.AddrFrom4([4]byte{44, byte(i >> 8), byte(i), 0}), 24).String(), list...)
		return d.Choose(pops, "", all)
	}
	table := func(pops ...PoP) *PoPs {
		p, err := NewPoPs(1, pops)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	up := table(PoP{Name: "ams1"}, PoP{Name: "ams2"}, PoP{Name: "ams3"}, PoP{Name: "iad2"})
	down := up.With(PoP{Name: "ams3", State: Down})
	half := up.With(PoP{Name: "ams3", Drain: 50})
	none := down.With(PoP{Name: "ams1", State: Down}).With(PoP{Name: "ams2", State: Down})
	list := []string{"ams1*1", "ams2*2", "ams3*5", "iad2"}
	count := map[string]int{}
	halved := 0
	for i := range blocks {
		was := choose(i, up, list...)
		count[was.PoP]++
		if was.Away {
			t.Fatal("all are up, and yet a PoP is away")
		}
		if is := choose(i, down, list...); (is.PoP != was.PoP) != (was.PoP == "ams3") || is.Away != (was.PoP == "ams3") || is.PoP == "iad2" {
			t.Fatalf("block %d: %+v, with ams3 down %+v", i, was, is)
		}
		switch is := choose(i, half, list...); {
		case was.PoP != "ams3" && is != was:
			t.Fatalf("block %d of %s moved to %s when ams3 was drained", i, was.PoP, is.PoP)
		case is.PoP == "ams3":
			halved++
		}
		if is := choose(i, none, list...); is.PoP != "iad2" || !is.Away {
			t.Fatalf("block %d: with the group down %+v, want iad2", i, is)
		}
		if is := choose(i, up, "ams1*1", "ams2*4", "ams3*5", "iad2"); is.PoP != was.PoP && is.PoP != "ams2" {
			t.Fatalf("block %d moved from %s to %s when ams2's weight grew", i, was.PoP, is.PoP)
		}
	}
	for name, p := range map[string]float64{"ams1": 1. / 8, "ams2": 2. / 8, "ams3": 5. / 8, "iad2": 0} {
		if share := float64(count[name]) / blocks; math.Abs(share-p) > 5*math.Sqrt(p*(1-p)/blocks) {
			t.Errorf("%s has %.4f of the blocks, want %.4f", name, share, p)
		}
	}
	// Drains pick their blocks independently of shares: half of ams3's move, not half of all.
	if share := float64(halved) / float64(count["ams3"]); share < 0.47 || share > 0.53 {
		t.Errorf("a drain of half leaves %.3f of ams3's share", share)
	}
}

func TestListEntriesWithFaultyWeightsAreRefused(t *testing.T) {
	for _, list := range []string{"a*", "a*0", "a*01", "a*+1", "a*-1", "a*65536", "a*1*2", "*3", "a*x", "a*3,a", "a*3,a*4"} {
		if err := CheckList(strings.Split(list, ",")); err == nil {
			t.Errorf("%s was accepted", list)
		}
	}
	if err := CheckList([]string{"a*1", "b*65535", "c"}); err != nil {
		t.Error(err)
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
	if pop := d.Choose(pops, "", hasOnly("a", "b")).PoP; pop != "a" || d.Scope != 16 {
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

		"service twice":         {{Name: "a", Services: []Service{{"web", Down, 0}, {"web", Up, 5}}}},
		"services out of order": {{Name: "a", Services: []Service{{"web", Down, 0}, {"mail", Down, 0}}}},
		"service in order":      {{Name: "a", Services: []Service{{"web", Up, 0}}}},
		"service name":          {{Name: "a", Services: []Service{{"Web", Down, 0}}}},
		"service drain":         {{Name: "a", Services: []Service{{"web", Up, 101}}}},
		"service state":         {{Name: "a", Services: []Service{{"web", 2, 0}}}},
		"too many services":     {{Name: "a", Services: make([]Service, MaxServices+1)}},
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
