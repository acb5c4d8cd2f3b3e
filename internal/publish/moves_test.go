package publish

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/steer"
)

var movePoPs = []string{"ams1", "iad2", "sin1", "down", "nrt1"}

// randomMoveMap has nested rows of at most 12 bits in IPv4, and of 15 bits in IPv6's 2000::/3.
func randomMoveMap(t *testing.T, r *rand.Rand) *steer.Map {
	t.Helper()
	list := func() (l []string) {
		for _, i := range r.Perm(len(movePoPs))[:1+r.IntN(3)] {
			l = append(l, movePoPs[i])
		}
		return l
	}
	b := steer.NewMapBuilder("edge")
	if err := b.Default(list()); err != nil {
		t.Fatal(err)
	}
	for range r.IntN(80) {
		var raw [16]byte
		binary.BigEndian.PutUint32(raw[:], r.Uint32()>>3|1<<29)
		p, _ := netip.AddrFrom16(raw).Prefix(3 + r.IntN(13))
		if r.IntN(2) == 0 {
			binary.BigEndian.PutUint32(raw[:], r.Uint32())
			p, _ = netip.AddrFrom4([4]byte(raw[:4])).Prefix(r.IntN(13))
		}
		if plane := steer.Plane(r.IntN(2)); !b.Has(plane, p) {
			if err := b.Add(plane, p, list()); err != nil {
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

// chosen is the slow twin: the first PoP that is not down, of the longest row that contains the address.
func chosen(m *steer.Map, plane steer.Plane, a netip.Addr) string {
	best, list := -1, m.Default()
	if plane == steer.ECS {
		list = []string{"(resolver)"}
	}
	for r := range m.Rows() {
		if r.Plane == plane && r.Prefix.Contains(a) && r.Prefix.Bits() > best {
			best, list = r.Prefix.Bits(), r.PoPs
		}
	}
	for _, pop := range list {
		if pop != "down" {
			return pop
		}
	}
	return "(none)"
}

// blocks calls yield with the first address of each /12 of IPv4 and each /15 of 2000::/3. 6to4 lies in one of the latter with other addresses, which is why it is left out.
func blocks(yield func(family string, a netip.Addr) bool) {
	for i := range uint32(1 << 12) {
		var raw [16]byte
		binary.BigEndian.PutUint32(raw[:], i<<20)
		if !yield("IPv4", netip.AddrFrom4([4]byte(raw[:4]))) {
			return
		}
		binary.BigEndian.PutUint32(raw[:], 1<<29|i<<17)
		if a := netip.AddrFrom16(raw); !yield("IPv6", a) {
			return
		}
	}
}

func TestMovesAgreeWithBruteForceOverEveryBlock(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	sites := make([]steer.PoP, 0, len(movePoPs))
	for _, name := range movePoPs {
		site := steer.PoP{Name: name}
		if name == "down" {
			site.State = steer.Down
		}
		sites = append(sites, site)
	}
	pops, err := steer.NewPoPs(1, sites)
	if err != nil {
		t.Fatal(err)
	}
	for range 12 {
		cur, next := randomMoveMap(t, r), randomMoveMap(t, r)
		want, total := map[string]float64{}, map[string]float64{}
		for family, a := range blocks {
			for _, plane := range []steer.Plane{steer.Resolver, steer.ECS} {
				if from, to := chosen(cur, plane, a), chosen(next, plane, a); from != to {
					want[fmt.Sprint(plane, family, from, to)] += 1.0 / (1 << 12)
					total[fmt.Sprint(plane, family)] += 1.0 / (1 << 12)
				}
			}
		}
		got := movesOf(cur, next, pops)
		// What carries IPv4 addresses in IPv6 is 1/8192 of 2000::/3 and a bit, and is told apart where an IPv6 row lies around it.
		const slack = 1.0/8192 + 1.0/(1<<29)
		near := func(family string, got, want float64) bool {
			if family == "IPv6" {
				return math.Abs(got-want) <= slack+1e-12
			}
			return math.Abs(got-want) <= 1e-12
		}
		for _, m := range got.flows {
			key := fmt.Sprint(m.Plane, m.Family, m.From, m.To)
			if w := want[key]; !near(m.Family, m.Share, w) {
				t.Errorf("seed %d: %+v, want a share of %v", seed, m, w)
			}
			delete(want, key)
		}
		for key, share := range want {
			if strings.Contains(key, "IPv4") || share > slack {
				t.Errorf("seed %d: %s with %v is missing", seed, key, share)
			}
		}
		for _, m := range got.moved {
			if !near(m.Family, m.Share, total[m.Plane+m.Family]) && !near(m.Family, m.Share, total[m.Plane+" "+m.Family]) {
				t.Errorf("seed %d: %+v, want a share of %v", seed, m, total[m.Plane+m.Family])
			}
		}
		checkMovers(t, r, cur, next, got.movers)
	}
}

// checkMovers asks the twin for addresses all over each mover.
func checkMovers(t *testing.T, r *rand.Rand, cur, next *steer.Map, movers []Mover) {
	t.Helper()
	for i, m := range movers {
		plane := steer.Resolver
		if m.Plane == "ecs" {
			plane = steer.ECS
		}
		first, last := ends(m.Block)
		for _, a := range []netip.Addr{first, last, between(r, first, last), between(r, first, last)} {
			if from, to := chosen(cur, plane, a), chosen(next, plane, a); (from != m.From || to != m.To) && !strings.Contains(m.From+m.To, "IPv4") {
				t.Errorf("%+v: %s goes from %s to %s", m, a, from, to)
			}
		}
		if i > 0 && movers[i-1].Share < m.Share {
			t.Errorf("%+v is smaller than %+v", movers[i-1], m)
		}
	}
}

// ends reads what blockText writes.
func ends(block string) (first, last netip.Addr) {
	if a, b, ok := strings.Cut(block, "-"); ok {
		return netip.MustParseAddr(a), netip.MustParseAddr(b)
	}
	p := netip.MustParsePrefix(block)
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < p.Addr().BitLen(); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ = netip.AddrFromSlice(b)
	return p.Addr(), last
}

func between(r *rand.Rand, first, last netip.Addr) netip.Addr {
	a, b := first.As16(), last.As16()
	at := 0
	if first.Is4() {
		at = 12
	}
	lo, hi := uint64(binary.BigEndian.Uint32(a[at:])), uint64(binary.BigEndian.Uint32(b[at:]))
	binary.BigEndian.PutUint32(a[at:], uint32(lo+r.Uint64N(hi-lo+1)))
	return netip.AddrFrom16(a).Unmap()
}

func TestBlockTextWritesPrefixesWhereItCan(t *testing.T) {
	for _, block := range []string{
		"0.0.0.0/0", "44.0.0.0/8", "192.0.2.1/32", "::/0", "2001:db8::/32", "2001:db8::1/128", "255.255.255.255/32",
		"44.0.0.0-44.0.2.255", "44.0.1.0-44.0.2.255", "0.0.0.0-255.255.255.254", "2001:db8::-2001:db9::",
	} {
		if got := blockText(ends(block)); got != block {
			t.Errorf("got %s, want %s", got, block)
		}
	}
}

func TestEmbeddedIPv4IsCountedOnce(t *testing.T) {
	cur := mapOfText(t, "edge", "default: [ams1]\necs: {44.0.0.0/8: [ams1], \"2000::/3\": [ams1]}")
	next := mapOfText(t, "edge", "default: [ams1]\necs: {44.0.0.0/8: [iad2], \"2000::/3\": [ams1]}")
	got := movesOf(cur, next, nil)
	if want := []Move{{"ecs", "IPv4", "ams1", "iad2", 1.0 / 256}}; !slices.Equal(got.flows, want) {
		t.Errorf("got %+v, want %+v", got.flows, want)
	}
	if got := movesOf(cur, cur, nil); len(got.flows)+len(got.movers) != 0 {
		t.Errorf("a map that stays the same moves %+v", got)
	}
}

func budgetOf(share float64, weights string) MoveBudget {
	b := MoveBudget{Max: &share}
	if weights != "" {
		src := textSource(weights)
		b.Weights = &src
	}
	return b
}

func TestMoveBudget(t *testing.T) {
	s := newStore(t)
	mustApply(t, s, "ams1", "iad2", "sin1")
	small := mapOfText(t, "edge", "default: [ams1]\nnets: {44.0.0.0/8: [iad2], 45.0.0.0/8: [sin1]}")
	moved := mapOfText(t, "edge", "default: [ams1]\nnets: {44.0.0.0/8: [ams1, iad2], 45.0.0.0/8: [sin1]}")
	all := mapOfText(t, "edge", "default: [iad2]\nnets: {44.0.0.0/8: [iad2], 45.0.0.0/8: [sin1]}")
	if _, err := New(s, Options{Moves: budgetOf(0, "")}).PublishMap(t.Context(), small); err != nil {
		t.Fatalf("a first version moves nothing: %v", err)
	}
	for _, tc := range []struct {
		what   string
		next   *steer.Map
		budget MoveBudget
		want   string // "" for nothing refused
	}{
		{"a small map without a budget", all, MoveBudget{}, ""},
		{"less than the budget", moved, budgetOf(0.01, ""), ""},
		{"as much as the budget", moved, budgetOf(1.0/256, ""), ""},
		{"more than the budget", moved, budgetOf(0.003, ""), "moves 0.3906 % of IPv4 (resolver plane), more than 0.3 % (--max-move); moves 0.3906 % of IPv4 (ecs plane), more than 0.3 % (--max-move)"},
		{"another order behind the first", mapOfText(t, "edge", "default: [ams1, sin1]\nnets: {44.0.0.0/8: [iad2, ams1], 45.0.0.0/8: [sin1]}"), budgetOf(0, ""), ""},
		{"weights that stay", moved, budgetOf(0.003, "192.0.2.1,45.0.0.0/24\n44.0.0.1,45.1.0.0/24,,0\n"), ""},
		{"weights that move", moved, budgetOf(0.25, "192.0.2.1,44.0.0.0/24,www.example.org,1\n44.0.0.1\n192.0.2.1,45.0.0.0/24,,2\n"), "moves 50 % of the weight, more than 25 % (--max-move)"},
		{"half of the weights, with bad lines", moved, budgetOf(0.5, "44.0.0.1\n45.0.0.1\nfoo\n"), ""},
	} {
		plan, err := New(s, Options{Moves: tc.budget}).PlanMap(t.Context(), tc.next)
		if err != nil || strings.Join(plan.Refused, "; ") != tc.want {
			t.Errorf("%s: got %q, %v, want %q", tc.what, plan.Refused, err, tc.want)
		}
	}
	if _, err := New(s, Options{Moves: budgetOf(0.1, "foo\n")}).PlanMap(t.Context(), moved); err == nil || !strings.Contains(err.Error(), "has no line that can be used") {
		t.Errorf("weights of bad lines only: %v", err)
	}
	if _, err := New(s, Options{Moves: budgetOf(0, "")}).PublishMap(t.Context(), moved); !refused(err) {
		t.Errorf("publish: %v", err)
	}
	if _, err := New(s, Options{Moves: budgetOf(0, ""), Force: true}).PublishMap(t.Context(), moved); err != nil {
		t.Errorf("forced: %v", err)
	}
}

func TestLargeMapsHaveABudgetOfTheirOwn(t *testing.T) {
	s := newStore(t)
	rows := ""
	for i := range minGuardedRows {
		rows += fmt.Sprintf("  10.%d.0.0/16: [sin1]\n", i)
	}
	if _, err := New(s, Options{}).PublishMap(t.Context(), mapOfText(t, "edge", "default: [ams1]\nresolver:\n"+rows)); err != nil {
		t.Fatal(err)
	}
	_, err := New(s, Options{}).PublishMap(t.Context(), mapOfText(t, "edge", "default: [iad2]\nresolver:\n"+rows))
	if !refused(err) || !strings.Contains(err.Error(), "of IPv4 (resolver plane), more than 50 % (--max-move)") {
		t.Errorf("got %v", err)
	}
	// While ams1 is down its clients are at iad2 already.
	table, err := steer.NewPoPs(0, []steer.PoP{{Name: "ams1", State: steer.Down}, {Name: "iad2"}, {Name: "sin1"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(s, Options{Force: true}).ApplyPoPs(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	if _, err := New(s, Options{Force: true}).PublishMap(t.Context(), mapOfText(t, "edge", "default: [ams1, iad2]\nresolver:\n"+rows)); err != nil {
		t.Fatal(err)
	}
	if _, err := New(s, Options{Moves: budgetOf(0, "")}).PublishMap(t.Context(), mapOfText(t, "edge", "default: [iad2, ams1]\nresolver:\n"+rows)); err != nil {
		t.Errorf("nobody moves: %v", err)
	}
}
