package simulate

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/querylog"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"
)

const zoneText = `$ORIGIN example.org.
@      60 SOA ns h 1 2 3 4 5
@      60 NS ns.example.net.
www    60 A 192.0.2.1 ;@ pop=ams1
www    60 A 192.0.2.2 ;@ pop=iad2
www    60 A 192.0.2.9
bare   60 A 192.0.2.1 ;@ pop=ams1 alldown=none
bare   60 A 192.0.2.2 ;@ pop=iad2
else   60 A 192.0.2.1 ;@ pop=ams1 map=other
*.wild 60 A 192.0.2.2 ;@ pop=iad2
plain  60 A 192.0.2.7
alias  60 CNAME www
`

func testZone(t *testing.T) *zone.Snapshot {
	t.Helper()
	z, err := zonefile.Read(strings.NewReader(zoneText), "z", zone.MustParseName("example.org"))
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func zones(z *zone.Snapshot) func(zone.Name) (*zone.Snapshot, error) {
	return func(name zone.Name) (*zone.Snapshot, error) {
		if name.IsSubdomainOf(z.Origin()) {
			return z, nil
		}
		return nil, nil
	}
}

// row is the row of a map, for the brute force below.
type row struct {
	plane  steer.Plane
	prefix netip.Prefix
	list   []string
}

func randomWorld(t *testing.T, r *rand.Rand) (*World, []row, []string) {
	t.Helper()
	names := []string{"ams1", "iad2", "sin1", "lhr3"}
	draw := func() (list []string) {
		for _, i := range r.Perm(len(names))[:1+r.IntN(len(names))] {
			list = append(list, names[i])
		}
		return list
	}
	b := steer.NewMapBuilder("edge")
	initial := draw()
	if err := b.Default(initial); err != nil {
		t.Fatal(err)
	}
	var rows []row
	for range r.IntN(30) {
		p, _ := netip.AddrFrom4([4]byte{44, byte(r.IntN(3)), byte(r.Uint32()), byte(r.Uint32())}).Prefix(1 + r.IntN(32))
		plane := steer.Plane(r.IntN(2))
		if b.Has(plane, p) {
			continue
		}
		rows = append(rows, row{plane, p, draw()})
		if err := b.Add(plane, p, rows[len(rows)-1].list); err != nil {
			t.Fatal(err)
		}
	}
	m, err := b.Build(1)
	if err != nil {
		t.Fatal(err)
	}
	pops := make([]steer.PoP, len(names))
	for i, name := range names {
		pops[i] = steer.PoP{Name: name, State: steer.State(r.IntN(2))} // whole states: a partial drain is a hash that needs no second opinion
	}
	table, err := steer.NewPoPs(1, pops)
	if err != nil {
		t.Fatal(err)
	}
	return &World{Map: m, PoPs: table}, rows, initial
}

// bruteForce says by trying all rows which PoP a query goes to, and by which rule.
func bruteForce(w *World, rows []row, initial []string, q *querylog.Query) (pop, reason string) {
	longest := func(plane steer.Plane, a netip.Addr) []string {
		best, list := -1, []string(nil)
		for _, r := range rows {
			if r.plane == plane && r.prefix.Contains(a) && r.prefix.Bits() > best {
				best, list = r.prefix.Bits(), r.list
			}
		}
		return list
	}
	hasECS := false
	for _, r := range rows {
		hasECS = hasECS || r.plane == steer.ECS
	}
	list := longest(steer.Resolver, q.Resolver)
	reason = "resolver"
	if list == nil || fmt.Sprint(list) == fmt.Sprint(initial) {
		list, reason = initial, "default"
	}
	if q.ECS.IsValid() && hasECS {
		reason = "hole"
		if l := longest(steer.ECS, q.ECS.Addr()); l != nil {
			list, reason = l, "ecs"
		}
	}
	for _, name := range list {
		if p, ok := w.PoPs.Get(name); ok && p.State == steer.Up {
			return name, reason
		}
	}
	return Nobody, reason
}

func TestSharesAreTheSumOfEachLineByBruteForce(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	queries := 0
	for range 100 {
		now, rows, initial := randomWorld(t, r)
		before, rowsBefore, initialBefore := randomWorld(t, r)
		var csv strings.Builder
		pops, earlier, reasons, moved := map[string]float64{}, map[string]float64{}, map[string]float64{}, 0.0
		total := 0.0
		for range 200 {
			q := querylog.Query{Resolver: netip.AddrFrom4([4]byte{44, byte(r.IntN(4)), byte(r.Uint32()), byte(r.Uint32())}), Weight: float64(r.IntN(10))}
			if r.IntN(2) == 0 {
				q.ECS, _ = netip.AddrFrom4([4]byte{44, byte(r.IntN(4)), byte(r.Uint32()), byte(r.Uint32())}).Prefix(1 + r.IntN(32))
				if !q.ECS.Addr().IsValid() || q.ECS.Addr().As4()[0] != 44 {
					q.ECS = netip.Prefix{} // too wide: in a special-purpose block
				}
			}
			ecs := ""
			if q.ECS.IsValid() {
				ecs = q.ECS.String()
			}
			fmt.Fprintf(&csv, "%s,%s,,%v\n", q.Resolver, ecs, q.Weight)
			pop, reason := bruteForce(now, rows, initial, &q)
			was, _ := bruteForce(before, rowsBefore, initialBefore, &q)
			pops[pop] += q.Weight
			earlier[was] += q.Weight
			reasons[reason] += q.Weight
			if total += q.Weight; was != pop {
				moved += q.Weight
			}
			queries++
		}
		got, err := Run(querylog.NewReader(strings.NewReader(csv.String()), "q", querylog.CSV), now, before, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		if got.Weight != total || got.Queries != 200 || math.Abs(got.Moved-moved/total) > 1e-9 {
			t.Fatalf("seed %d: %v of %d queries, moved %v; want %v of 200, moved %v", seed, got.Weight, got.Queries, got.Moved, total, moved/total)
		}
		for _, s := range got.PoPs {
			if math.Abs(s.Weight-pops[s.Name]) > 1e-9 || math.Abs(s.Before-earlier[s.Name]/total) > 1e-9 {
				t.Fatalf("seed %d: %+v, want %v, before %v", seed, s, pops[s.Name], earlier[s.Name]/total)
			}
			delete(pops, s.Name)
		}
		for _, s := range got.Reasons {
			if math.Abs(s.Weight-reasons[s.Name]) > 1e-9 {
				t.Fatalf("seed %d: reason %+v, want %v", seed, s, reasons[s.Name])
			}
		}
		for name, weight := range pops {
			if weight > 0 {
				t.Fatalf("seed %d: %s with %v is missing in %+v", seed, name, weight, got.PoPs)
			}
		}
	}
	t.Logf("%d queries, seed %d", queries, seed)
}

func TestNamesChooseAmongTheirOwnVariants(t *testing.T) {
	b := steer.NewMapBuilder("edge")
	for _, err := range []error{b.Default([]string{"sin1", "ams1", "iad2"}), b.Add(steer.ECS, netip.MustParsePrefix("44.0.0.0/8"), []string{"sin1"})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	m, err := b.Build(1)
	if err != nil {
		t.Fatal(err)
	}
	table, err := steer.NewPoPs(1, []steer.PoP{{Name: "ams1", State: steer.Down}, {Name: "iad2", State: steer.Down}, {Name: "sin1"}})
	if err != nil {
		t.Fatal(err)
	}
	up := &World{Map: m, Zone: zones(testZone(t))}
	down := &World{Map: m, PoPs: table, Zone: up.Zone}
	for _, tc := range []struct {
		w    *World
		line string
		want Outcome
	}{
		{up, "192.0.2.1,,www.example.org", Outcome{"ams1", "default", "healthy"}},
		{up, "192.0.2.1,44.0.0.0/24,WWW.example.org.", Outcome{Default, "ecs", "uncovered"}},
		{up, "192.0.2.1,,alias.example.org", Outcome{"ams1", "default", "healthy"}},
		{up, "192.0.2.1,,any.wild.example.org", Outcome{"iad2", "default", "healthy"}},
		{up, "192.0.2.1,,plain.example.org", Outcome{PoP: Unsteered}},
		{up, "192.0.2.1,,missing.example.org", Outcome{PoP: Unsteered}},
		{up, "192.0.2.1,,else.example.org", Outcome{PoP: OtherMap}},
		{up, "192.0.2.1,,www.example.net", Outcome{"sin1", "default", "healthy"}},
		{up, "192.0.2.1,44.0.0.0/24,", Outcome{"sin1", "ecs", "healthy"}},
		{down, "192.0.2.1,,www.example.org", Outcome{Default, "default", "last-resort"}},
		{down, "192.0.2.1,,bare.example.org", Outcome{Nobody, "default", "none"}},
		{down, "192.0.2.1,,", Outcome{"sin1", "default", "healthy"}},
	} {
		for q, err := range querylog.NewReader(strings.NewReader(tc.line), "q", querylog.CSV).Queries() {
			if err != nil {
				t.Fatal(err)
			}
			if got, err := tc.w.Ask(&q); err != nil || got != tc.want {
				t.Errorf("%s: %+v, %v, want %+v", tc.line, got, err, tc.want)
			}
		}
	}
}

func TestQueriesThatCannotBeAskedAreBadLines(t *testing.T) {
	b := steer.NewMapBuilder("edge")
	if err := b.Default([]string{"ams1"}); err != nil {
		t.Fatal(err)
	}
	m, err := b.Build(1)
	if err != nil {
		t.Fatal(err)
	}
	w := &World{Map: m, Zone: zones(testZone(t))}
	text := "address,qname,type,weight\n192.0.2.1,a..b,,\n192.0.2.1,www.example.org,AX,\n192.0.2.1,www.example.org,a,\n192.0.2.300,,,\n"
	var bad []string
	s, err := Run(querylog.NewReader(strings.NewReader(text), "q", querylog.Auto), w, nil, func(err error) { bad = append(bad, err.Error()) })
	if err != nil || s.Bad != 3 || s.Queries != 1 || len(s.Moves) != 0 || s.PoPs[0] != (Share{"ams1", 1, 1, 0}) {
		t.Errorf("%+v, %v", s, err)
	}
	want := []string{"q:2: name \"a..b\"", "q:3: unknown record type \"AX\"", "q:5: address \"192.0.2.300\""}
	for i, prefix := range want {
		if !strings.HasPrefix(bad[i], prefix) {
			t.Errorf("got %q, want %q", bad[i], prefix)
		}
	}
	if _, err = Run(querylog.NewReader(strings.NewReader("192.0.2.1,,,0\n"), "q", querylog.CSV), w, nil, nil); err == nil {
		t.Error("weights of 0 have shares")
	}
	broken := errors.New("disk on fire")
	w.Zone = func(zone.Name) (*zone.Snapshot, error) { return nil, broken }
	if _, err = Run(querylog.NewReader(strings.NewReader("192.0.2.1,,www,1\n"), "q", querylog.CSV), w, nil, nil); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}
