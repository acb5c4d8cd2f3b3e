package publish

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"
)

func TestUnknownPoPsAreRefusedOnlyWhenThereIsATable(t *testing.T) {
	s := newStore(t)
	z := zoneOfText(t, 1, "www A 192.0.2.1", "www A 192.0.2.2 ;@ pop=ams1", "www A 192.0.2.3 ;@ pop=asm1")
	m := mapOfText(t, "edge", "default: [ams1, asm1]")
	for _, table := range []bool{false, true} {
		if table {
			mustApply(t, s, "ams1", "iad2")
		}
		zp, err := New(s, Options{}).PlanZone(t.Context(), z)
		if err != nil || (zp.Guard() != nil) != table {
			t.Errorf("table %v: zone plan refused: %v, %v", table, zp.Guard(), err)
		}
		mp, err := New(s, Options{}).PlanMap(t.Context(), m)
		if err != nil || (mp.Guard() != nil) != table {
			t.Errorf("table %v: map plan refused: %v, %v", table, mp.Guard(), err)
		}
	}
	_, err := New(s, Options{}).PublishZone(t.Context(), z)
	if want := "has variants for PoPs that the PoP table does not have: asm1"; !refused(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("zone: %v", err)
	}
	_, err = New(s, Options{}).PublishMap(t.Context(), m)
	if want := "names PoPs that the PoP table does not have: asm1"; !refused(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("map: %v", err)
	}
	if _, err := New(s, Options{Force: true}).PublishZone(t.Context(), z); err != nil {
		t.Errorf("forced zone: %v", err)
	}
	if _, err := New(s, Options{Force: true}).PublishMap(t.Context(), m); err != nil {
		t.Errorf("forced map: %v", err)
	}
}

func TestGuardsNameMapsThatDontExistAndPoPsOfUnevenTypes(t *testing.T) {
	s := newStore(t)
	z := zoneOfText(t, 1,
		"even A 192.0.2.1 ;@ pop=ams1 map=nomap", "even A 192.0.2.2 ;@ pop=iad2",
		"uneven A 192.0.2.1 ;@ pop=ams1", "uneven AAAA 2001:db8::1 ;@ pop=ams1", "uneven A 192.0.2.2 ;@ pop=iad2", "uneven A 192.0.2.3")
	plan, err := New(s, Options{}).PlanZone(t.Context(), z)
	warned := []string{"map nomap does not exist: names that use it get their default variant"}
	refusals := []string{"uneven.example.org.: PoP ams1 has A, AAAA, PoP iad2 has A: clients of one get other PoPs' addresses for the rest"}
	if err != nil || !slices.Equal(plan.Warnings, warned) || !slices.Equal(plan.Refused, refusals) {
		t.Errorf("got  %q and %q, %v\nwant %q and %q", plan.Warnings, plan.Refused, err, warned, refusals)
	}
	if _, err := New(s, Options{}).PublishZone(t.Context(), z); !refused(err) {
		t.Errorf("publish: %v", err)
	}
	if _, err := New(s, Options{Force: true}).PublishZone(t.Context(), z); err != nil {
		t.Errorf("forced: %v", err)
	}
}

func TestUnevenPoPsOfAFileAreRefusedWithTheirLines(t *testing.T) {
	pops, err := steer.NewPoPs(1, []steer.PoP{{Name: "ams1"}, {Name: "iad2"}})
	if err != nil {
		t.Fatal(err)
	}
	src := textSource("@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.53\n" +
		"www 60 A 192.0.2.1 ;@ pop=ams1\nwww 60 A 192.0.2.2 ;@ pop=iad2\nwww 60 AAAA ::1 ;@ pop=iad2\nwww 60 AAAA ::2\n")
	_, err = ReadZone(src, RFC1035, zone.MustParseName("example.org"), pops, nil)
	guard, ok := errors.AsType[*GuardError](err)
	want := src.Name + ":6: www.example.org. has AAAA at one PoP and not at ams1: its clients would get another PoP's (add it for ams1, or remove it)"
	if !ok || guard.Lines != want {
		t.Errorf("got %v, lines %q\nwant %q", err, guard.Lines, want)
	}
	if _, err = ReadZone(src, RFC1035, zone.MustParseName("example.org"), nil, nil); err != nil {
		t.Errorf("nothing asked of steering: %v", err)
	}
}

func TestNamesWithoutADefaultVariantThatAListLeavesOutAreRefused(t *testing.T) {
	s := newStore(t)
	mustApply(t, s, "ams1", "iad2", "sin1")
	m, err := ReadMap(textSource("default: [iad2, ams1]\nnets:\n  192.0.2.0/24: [sin1]\n  198.51.100.0/24: [sin1*3, ams1*1]\n"), "edge", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(s, Options{}).PublishMap(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	variants := func(name, marks string) []string {
		return []string{name + " A 192.0.2.1 ;@ pop=ams1" + marks, name + " A 192.0.2.2 ;@ pop=iad2", name + " A 192.0.2.3 ;@ pop=sin1"}
	}
	for _, tc := range []struct {
		what    string
		records []string
		want    string // "" for nothing refused
	}{
		{"a variant for each list", variants("www", " map=edge"), ""},
		{"a default variant", []string{"www A 192.0.2.1 ;@ pop=ams1 map=edge", "www A 192.0.2.2"}, ""},
		{"another map", variants("www", " map=other")[:2], ""},
		{"the server's map", variants("www", "")[:2], ""},
		{"a list without any PoP", variants("www", " map=edge")[:2],
			"www.example.org.: A has no default variant, and map edge has the list [sin1] without any of its PoPs: add a default variant"},
		{"a PoP that may not answer", variants("www", " map=edge pops=ams1,iad2"),
			"www.example.org.: A has no default variant, and map edge has the list [sin1] without any of its PoPs: add a default variant"},
		{"the apex's map", append([]string{"@ TXT x ;@ map=edge"}, variants("www", "")[:2]...),
			"www.example.org.: A has no default variant, and map edge has the list [sin1] without any of its PoPs: add a default variant"},
	} {
		plan, err := New(s, Options{}).PlanZone(t.Context(), zoneOfText(t, 1, tc.records...))
		if err != nil || strings.Join(plan.Refused, "\n") != tc.want {
			t.Errorf("%s: got %q, %v, want %q", tc.what, plan.Refused, err, tc.want)
		}
	}
}

func TestUnevenTypesAreWarnedOfTenTimesAtMost(t *testing.T) {
	records := make([]string, 0, 30)
	for i := range 15 {
		records = append(records, fmt.Sprintf("n%d A 192.0.2.1 ;@ pop=ams1", i), fmt.Sprintf("n%d AAAA 2001:db8::1 ;@ pop=iad2", i))
	}
	got := unevenVariants(zoneOfText(t, 1, records...))
	if len(got) != maxNamed+1 || got[maxNamed] != "… and 5 more names whose PoPs have different types" {
		t.Errorf("got %d warnings, the last %q", len(got), got[len(got)-1])
	}
}

func TestDrainAndStateAreIndependent(t *testing.T) {
	s := newStore(t)
	mustApply(t, s, "ams1", "iad2")
	p := New(s, Options{})
	for _, step := range []struct {
		do    func() (*PoPsReceipt, error)
		line  string
		state steer.State
		drain int
	}{
		{func() (*PoPsReceipt, error) { return p.DrainPoP(t.Context(), "ams1", 30) }, "ams1 drain 0%→30%", steer.Up, 30},
		{func() (*PoPsReceipt, error) { return p.SetPoPState(t.Context(), "ams1", steer.Down) }, "ams1 up→down", steer.Down, 30},
		{func() (*PoPsReceipt, error) { return p.DrainPoP(t.Context(), "ams1", 100) }, "ams1 drain 30%→100%", steer.Down, 100},
		{func() (*PoPsReceipt, error) { return p.SetPoPState(t.Context(), "ams1", steer.Up) }, "ams1 down→up", steer.Up, 100},
		{func() (*PoPsReceipt, error) { return p.DrainPoP(t.Context(), "ams1", 0) }, "ams1 drain 100%→0%", steer.Up, 0},
		{func() (*PoPsReceipt, error) { return p.DrainPoP(t.Context(), "ams1", 0) }, "", steer.Up, 0},
	} {
		r, err := step.do()
		if err != nil || strings.Join(r.Lines(), ";") != step.line || r.Changed != (step.line != "") {
			t.Fatalf("want %q, got %+v, %v", step.line, r, err)
		}
		table, err := LoadPoPs(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := table.Get("ams1"); got.State != step.state || got.Drain != step.drain {
			t.Fatalf("after %q: %+v", step.line, got)
		}
	}
}

func TestTheLastPoPIsNotTakenAwayUnlessForced(t *testing.T) {
	s := newStore(t)
	mustApply(t, s, "ams1", "iad2")
	p := New(s, Options{})
	if _, err := p.SetPoPState(t.Context(), "ams1", steer.Down); err != nil {
		t.Fatal(err)
	}
	if _, err := p.DrainPoP(t.Context(), "iad2", 99); err != nil {
		t.Fatal(err)
	}
	_, err := p.DrainPoP(t.Context(), "iad2", 100)
	if want := "the PoP table: refused, because it leaves no PoP that is up and not fully drained; use --force if this is meant"; !refused(err) || err.Error() != want {
		t.Errorf("drain: %v", err)
	}
	if _, err := p.SetPoPState(t.Context(), "iad2", steer.Down); !refused(err) {
		t.Errorf("down: %v", err)
	}
	if _, err := New(s, Options{Force: true}).SetPoPState(t.Context(), "iad2", steer.Down); err != nil {
		t.Errorf("forced: %v", err)
	}
}

func TestEditOfAPoPNamesWhatIsWrong(t *testing.T) {
	s := newStore(t)
	p := New(s, Options{})
	_, err := p.DrainPoP(t.Context(), "ams1", 10)
	if err == nil || !strings.Contains(err.Error(), "popctl pop apply FILE") {
		t.Errorf("no table: %v", err)
	}
	mustApply(t, s, "ams1", "iad2")
	for _, tt := range []struct {
		name    string
		percent int
		want    string
	}{
		{"asm1", 10, `the PoP table: PoP "asm1" is not in it; there is: ams1, iad2`},
		{"ams1", 101, "the PoP table: pop ams1: drain 101 is outside 0..100 percent"},
		{"ams1", -1, "the PoP table: pop ams1: drain -1 is outside 0..100 percent"},
	} {
		if _, err := p.DrainPoP(t.Context(), tt.name, tt.percent); err == nil || err.Error() != tt.want {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}

func TestApplyRefusesToDropPoPsThatMapsName(t *testing.T) {
	s := newStore(t)
	mustApply(t, s, "ams1", "iad2", "sin1")
	if _, err := New(s, Options{}).PublishMap(t.Context(), mapOfText(t, "edge", "default: [ams1]\nresolver: {192.0.2.0/24: [sin1, ams1]}")); err != nil {
		t.Fatal(err)
	}
	next, err := steer.NewPoPs(0, []steer.PoP{{Name: "ams1"}, {Name: "nrt1"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = New(s, Options{}).ApplyPoPs(t.Context(), next)
	if want := "lacks PoPs that map edge names: sin1"; !refused(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	r, err := New(s, Options{Force: true}).ApplyPoPs(t.Context(), next)
	if err != nil || strings.Join(r.Lines(), ",") != "+nrt1,-iad2,-sin1" {
		t.Errorf("forced: %+v, %v", r, err)
	}
}

func TestMapPlanListsRowsAndSecondPublishChangesNothing(t *testing.T) {
	s := newStore(t)
	p := New(s, Options{})
	old := mapOfText(t, "edge", "default: [ams1, iad2]\nnets: {192.0.2.0/24: [iad2], 198.51.100.0/24: [ams1]}\nresolver: {203.0.113.0/24: [ams1]}")
	if r, err := p.PublishMap(t.Context(), old); err != nil || r.New != 1 || r.Plan.Counts() != "+5 -0 ~0 rows" {
		t.Fatalf("first: %+v, %v", r, err)
	}
	next := mapOfText(t, "edge", "default: [iad2, ams1]\nnets: {192.0.2.0/24: [iad2, ams1]}\nresolver: {198.51.100.0/24: [ams1], 128.0.0.0/1: [sin1]}")
	plan, err := p.PlanMap(t.Context(), next)
	want := []string{
		"~ default ams1,iad2 → iad2,ams1",
		"+ resolver 128.0.0.0/1 sin1",
		"~ resolver 192.0.2.0/24 iad2 → iad2,ams1",
		"~ ecs 192.0.2.0/24 iad2 → iad2,ams1",
		"- resolver 203.0.113.0/24 ams1",
		"- ecs 198.51.100.0/24 ams1",
		"99.99 % of IPv6 (resolver plane): ams1 → iad2", // all but 6to4 and Teredo, which IPv4 decides
		"50 % of IPv4 (resolver plane): ams1 → iad2",
		"50 % of IPv4 (resolver plane): ams1 → sin1",
		"5.96e-06 % of IPv4 (ecs plane): ams1 → (resolver)",
		"2 of 4 IPv4 prefixes (resolver plane) move",
		"1 of 2 IPv4 prefixes (ecs plane) move",
		"mover resolver 2003::-3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff: ams1 → iad2, 99.96 % of IPv6",
		"mover resolver 0.0.0.0/1: ams1 → iad2, 50 % of IPv4",
		"mover resolver 128.0.0.0-192.0.1.255: ams1 → sin1, 25 % of IPv4",
		"mover resolver 198.51.101.0-255.255.255.255: ams1 → sin1, 22.58 % of IPv4",
		"mover resolver 192.0.3.0-198.51.99.255: ams1 → sin1, 2.422 % of IPv4",
		"mover resolver 2000::/16: ams1 → iad2, 0.01221 % of IPv6",
		"mover resolver 2001:1::-2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff: ams1 → iad2, 0.01221 % of IPv6",
		"mover ecs 198.51.100.0/24: ams1 → (resolver), 5.96e-06 % of IPv4",
	}
	if err != nil || !slices.Equal(plan.Lines(), want) {
		t.Fatalf("%v, got\n%s\nwant\n%s", err, strings.Join(plan.Lines(), "\n"), strings.Join(want, "\n"))
	}
	if plan.Summary() != "map edge: +1 -2 ~2 rows, serial 1 → 2" {
		t.Errorf("summary %q", plan.Summary())
	}
	if r, err := p.PublishMap(t.Context(), next); err != nil || r.New != 2 {
		t.Fatalf("second: %+v, %v", r, err)
	}
	if r, err := p.PublishMap(t.Context(), next); err != nil || r.Changed || r.New != 2 {
		t.Errorf("again: %+v, %v", r, err)
	}
}

func TestMapOfManyRowsIsGuardedAgainstShrinking(t *testing.T) {
	s := newStore(t)
	text := "default: [ams1]\nresolver:\n"
	for i := range 20 {
		text += fmt.Sprintf("  10.%d.0.0/16: [iad2]\n", i)
	}
	p := New(s, Options{})
	if _, err := p.PublishMap(t.Context(), mapOfText(t, "edge", text)); err != nil {
		t.Fatal(err)
	}
	_, err := p.PublishMap(t.Context(), mapOfText(t, "edge", "default: [ams1]"))
	if want := "map edge: refused, because it deletes 20 of 20 rows (more than half); use --force if this is meant"; !refused(err) || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
