package publish

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/mapfile"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/dir"
	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"
)

const origin zone.Name = "\x07example\x03org\x00"

func newStore(t *testing.T) store.Store {
	t.Helper()
	s, err := dir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, _, err := dataset.Init(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// zoneOfText makes a zone of records behind an SOA with the serial and one NS.
func zoneOfText(t *testing.T, serial uint32, records ...string) *zone.Snapshot {
	t.Helper()
	text := fmt.Sprintf("$ORIGIN example.org.\n$TTL 60\n@ SOA ns hostmaster %d 3600 600 86400 60\n@ NS ns.example.net.\n%s\n", serial, strings.Join(records, "\n"))
	s, err := zonefile.Read(strings.NewReader(text), "test.zone", origin)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return s
}

// hosts returns n records of as many names.
func hosts(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("host%d A 192.0.2.%d", i, i%250)
	}
	return out
}

func mustPublish(t *testing.T, s store.Store, z *zone.Snapshot) *ZoneReceipt {
	t.Helper()
	r, err := New(s, Options{Force: true}).PublishZone(t.Context(), z)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustApply(t *testing.T, s store.Store, names ...string) {
	t.Helper()
	pops := make([]steer.PoP, len(names))
	for i, n := range names {
		pops[i].Name = n
	}
	table, err := steer.NewPoPs(0, pops)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(s, Options{Force: true}).ApplyPoPs(t.Context(), table); err != nil {
		t.Fatal(err)
	}
}

func mapOfText(t *testing.T, name, text string) *steer.Map {
	t.Helper()
	m, err := mapfile.ReadMap(strings.NewReader(text), "test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return m.WithName(name)
}

func mustLoad(t *testing.T, s store.Store) *zone.Snapshot {
	t.Helper()
	v, err := LoadZone(t.Context(), s, origin, 0)
	if err != nil {
		t.Fatal(err)
	}
	return v.Value
}

// sameContent tells whether two zones differ in nothing but the serial.
func sameContent(a, b *zone.Snapshot) bool { return zone.Diff(a, b.WithSerial(a.Serial())).Empty() }

func refused(err error) bool {
	var g *GuardError
	return errors.As(err, &g)
}

func TestShrinkGuardRefusesWhatAnEdgeWouldRefuse(t *testing.T) {
	for total := 1; total <= 400; total++ {
		for deleted := 0; deleted <= total; deleted++ {
			edge := 2*(total-deleted) < total // edge.acceptZone: less than half is left
			if finding := shrinkFinding(deleted, total, "RRsets"); edge && finding == "" {
				t.Fatalf("%d of %d passes here and is refused there", deleted, total)
			}
		}
	}
}

func TestShrinkGuardThresholds(t *testing.T) {
	for _, tt := range []struct {
		deleted, total int
		want           string
	}{
		{0, 0, ""}, {1, 3, ""}, {2, 4, ""}, {2, 3, "more than half"}, {9, 18, ""}, {9, 17, "more than half"},
		{10, 50, ""}, {10, 49, "more than 20 %"}, {100, 500, ""}, {100, 499, "more than 20 %"},
		{101, 10100, ""}, {101, 10099, "more than 100 and more than 1 %"}, {100, 1000, ""}, {9, 40, ""},
	} {
		got := shrinkFinding(tt.deleted, tt.total, "RRsets")
		want := tt.want
		if want != "" {
			want = fmt.Sprintf("deletes %d of %d RRsets (%s)", tt.deleted, tt.total, tt.want)
		}
		if got != want {
			t.Errorf("%d of %d: got %q, want %q", tt.deleted, tt.total, got, want)
		}
	}
}

func TestPublishRefusesToDeleteMostOfAZoneUnlessForced(t *testing.T) {
	s := newStore(t)
	mustPublish(t, s, zoneOfText(t, 1, hosts(50)...))
	small := zoneOfText(t, 2, hosts(3)...)
	_, err := New(s, Options{}).PublishZone(t.Context(), small)
	want := "zone example.org.: refused, because it deletes 47 of 52 RRsets (more than half); use --force if this is meant"
	if !refused(err) || err.Error() != want {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
	if z := mustLoad(t, s); z.Serial() != 1 || z.Len() != 52 {
		t.Fatalf("after the refusal the zone has serial %d and %d RRsets", z.Serial(), z.Len())
	}
	if _, err := New(s, Options{Force: true}).PublishZone(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	v, err := LoadZone(t.Context(), s, origin, 0)
	if err != nil || !v.Head.Forced || v.Value.Len() != 5 {
		t.Fatalf("forced: %v, head %+v", err, v.Head)
	}
}

func TestPublishAddsUpTheSerial(t *testing.T) {
	for _, tt := range []struct {
		what                  string
		published, file, want uint32
	}{
		{"newer", 5, 9, 9},
		{"the next one", 5, 6, 6},
		{"equal", 5, 5, 6},
		{"older", 5, 3, 6},
		{"newer across the wrap", 1<<32 - 5, 7, 7},
		{"equal at the wrap skips 0", 1<<32 - 1, 1<<32 - 1, 1},
		{"half the circle away is not newer", 5, 5 + 1<<31 + 2, 6},
	} {
		s := newStore(t)
		mustPublish(t, s, zoneOfText(t, tt.published, "a A 192.0.2.1"))
		next := zoneOfText(t, tt.file, "a A 192.0.2.2")
		plan, err := New(s, Options{}).PlanZone(t.Context(), next)
		if err != nil {
			t.Fatal(err)
		}
		r, err := New(s, Options{}).PublishZone(t.Context(), next)
		if err != nil {
			t.Fatal(err)
		}
		if got := mustLoad(t, s).Serial(); r.New != tt.want || plan.NewSerial != tt.want || got != tt.want || r.Old != tt.published {
			t.Errorf("%s: receipt %d → %d, plan %d, zone %d, want %d", tt.what, r.Old, r.New, plan.NewSerial, got, tt.want)
		}
	}
}

func TestPlanForetellsWhatPublishDoes(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	s := newStore(t)
	p := New(s, Options{Force: true})
	for i := range 40 {
		var records []string
		for h := range 6 {
			if rnd.IntN(2) == 0 {
				records = append(records, fmt.Sprintf("h%d %d A 192.0.2.%d ;@ pop=p%d", h, 60+rnd.IntN(2), rnd.IntN(3), rnd.IntN(2)))
			}
		}
		next := zoneOfText(t, rnd.Uint32(), records...)
		plan, err := p.PlanZone(t.Context(), next)
		if err != nil {
			t.Fatal(err)
		}
		r, err := p.PublishZone(t.Context(), next)
		if err != nil {
			t.Fatal(err)
		}
		if r.Changed == plan.Empty() || r.New != plan.NewSerial || r.Old != plan.OldSerial || r.Plan.Counts() != plan.Counts() {
			t.Fatalf("step %d: plan %d→%d %s, receipt %d→%d %s, changed %v", i, plan.OldSerial, plan.NewSerial, plan.Counts(), r.Old, r.New, r.Plan.Counts(), r.Changed)
		}
		if got := mustLoad(t, s); !sameContent(got, next) || got.Serial() != plan.NewSerial {
			t.Fatalf("step %d: the zone is not what was published", i)
		}
	}
}

func TestPublishUsesNoSerialWhenNothingChanges(t *testing.T) {
	s := newStore(t)
	mustPublish(t, s, zoneOfText(t, 5, "a A 192.0.2.1"))
	r, err := New(s, Options{}).PublishZone(t.Context(), zoneOfText(t, 9, "a A 192.0.2.1"))
	if err != nil || r.Changed || r.New != 5 || !r.Plan.Empty() {
		t.Fatalf("got %+v, %v", r, err)
	}
}

const signature = " 8 2 60 20300101000000 20260101000000 1 example.org. AAAA"

func TestSignedZoneMustBringANewerSerial(t *testing.T) {
	s := newStore(t)
	signed := func(serial uint32, extra ...string) *zone.Snapshot {
		return zoneOfText(t, serial, append(extra, "@ RRSIG SOA"+signature)...)
	}
	mustPublish(t, s, signed(5))
	next := signed(5, "a A 192.0.2.1")
	if _, err := New(s, Options{}).PublishZone(t.Context(), next); !errors.Is(err, dataset.ErrSerial) {
		t.Errorf("publish with the same serial: %v, want ErrSerial", err)
	}
	if plan, err := New(s, Options{}).PlanZone(t.Context(), next); !errors.Is(err, dataset.ErrSerial) || plan == nil || plan.Added != 1 {
		t.Errorf("plan with the same serial: %+v, %v, want ErrSerial beside the plan", plan, err)
	}
	set, err := ParseRRset(RecordText{Name: "b", TTL: "60", Type: "A", Rdata: []string{"192.0.2.1"}}, origin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(s, Options{Force: true}).SetRecord(t.Context(), origin, set); !errors.Is(err, dataset.ErrSerial) {
		t.Errorf("set: %v, want ErrSerial", err)
	}
	if r, err := New(s, Options{}).PublishZone(t.Context(), signed(6, "a A 192.0.2.1")); err != nil || r.New != 6 {
		t.Errorf("publish with a newer serial: %+v, %v", r, err)
	}
	if _, err := New(s, Options{Force: true}).RollbackZone(t.Context(), origin, 5); !errors.Is(err, dataset.ErrSerial) {
		t.Errorf("rollback: %v, want ErrSerial", err)
	}
}

func TestSetReplacesOnlyTheVariantNamed(t *testing.T) {
	s := newStore(t)
	mustPublish(t, s, zoneOfText(t, 1, "www A 192.0.2.1", "www A 192.0.2.2 ;@ pop=ams1", "www A 192.0.2.3 ;@ pop=iad2"))
	p := New(s, Options{})
	set, err := ParseRRset(RecordText{Name: "www", TTL: "5m", Type: "a", Rdata: []string{"192.0.2.9", "192.0.2.8"}, PoP: "ams1", Weights: []uint32{1, 2}}, origin)
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.SetRecord(t.Context(), origin, set)
	if err != nil || r.Old != 1 || r.New != 2 || r.Plan.Counts() != "+0 -0 ~1 RRsets" {
		t.Fatalf("got %+v, %v", r, err)
	}
	want := zoneOfText(t, 2, "www A 192.0.2.1", "www 300 A 192.0.2.8 ;@ pop=ams1 weight=2", "www 300 A 192.0.2.9 ;@ pop=ams1 weight=1", "www A 192.0.2.3 ;@ pop=iad2")
	if got := mustLoad(t, s); !zone.Diff(want, got).Empty() {
		t.Errorf("differs from what was wanted: %+v", zone.Diff(want, got))
	}
	if r, err := p.SetRecord(t.Context(), origin, set); err != nil || r.Changed {
		t.Errorf("setting it again: %+v, %v, want no change", r, err)
	}
	r, err = p.UnsetRecord(t.Context(), origin, zone.Key{Owner: set.Owner, Type: dns.TypeA, PoP: "iad2"})
	if err != nil || r.Plan.Deleted != 1 || r.New != 3 {
		t.Fatalf("unset: %+v, %v", r, err)
	}
}

func TestUnsetNamesTheVariantsThatThereAre(t *testing.T) {
	s := newStore(t)
	mustPublish(t, s, zoneOfText(t, 1, "www A 192.0.2.2 ;@ pop=ams1", "www A 192.0.2.3 ;@ pop=iad2"))
	www, err := ParseOwner("www", origin)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		key  zone.Key
		want string
	}{
		{zone.Key{Owner: www, Type: dns.TypeA}, "zone example.org.: www.example.org. A has no default variant; it has: --pop ams1, --pop iad2 (no such variant)"},
		{zone.Key{Owner: www, Type: dns.TypeAAAA, PoP: "ams1"}, "zone example.org.: www.example.org. AAAA has no variant for PoP ams1, nor any other (no such variant)"},
		{zone.Key{Owner: origin, Type: dns.TypeNS, PoP: "ams1"}, "zone example.org.: example.org. NS has no variant for PoP ams1; it has: the default variant (no such variant)"},
	} {
		_, err := New(s, Options{}).UnsetRecord(t.Context(), origin, tt.key)
		if !errors.Is(err, ErrNoVariant) || err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
}

func TestNotEvenForceTakesAwaySOAOrNS(t *testing.T) {
	s := newStore(t)
	mustPublish(t, s, zoneOfText(t, 1, hosts(20)...))
	for _, typ := range []uint16{dns.TypeSOA, dns.TypeNS} {
		_, err := New(s, Options{Force: true}).UnsetRecord(t.Context(), origin, zone.Key{Owner: origin, Type: typ})
		if err == nil || refused(err) || !strings.Contains(err.Error(), "no "+TypeName(typ)+" at its apex") {
			t.Errorf("unset %s: %v", TypeName(typ), err)
		}
	}
}

func TestRollbackBringsBackTheContentUnderANewSerial(t *testing.T) {
	s := newStore(t)
	first := zoneOfText(t, 1, hosts(40)...)
	mustPublish(t, s, first)
	mustPublish(t, s, zoneOfText(t, 2, append(hosts(40), "new A 192.0.2.1")...))
	r, err := New(s, Options{By: "me"}).RollbackZone(t.Context(), origin, 1)
	if err != nil || r.New != 3 || r.Plan.Deleted != 1 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if got := mustLoad(t, s); !sameContent(got, first) || got.Serial() != 3 {
		t.Errorf("serial %d, difference %+v", got.Serial(), zone.Diff(first, got))
	}
	h, err := ZoneHistory(t.Context(), s, origin)
	if err != nil || len(h) != 3 || h[0].RollbackOf != 1 || h[0].By != "me" {
		t.Errorf("history %+v, %v", h, err)
	}
	if _, err := New(s, Options{}).RollbackZone(t.Context(), origin, 77); !errors.Is(err, dataset.ErrNotInHistory) {
		t.Errorf("to a serial that never was: %v", err)
	}
}

func TestRollbackIsGuardedLikePublish(t *testing.T) {
	s := newStore(t)
	mustPublish(t, s, zoneOfText(t, 1, hosts(2)...))
	mustPublish(t, s, zoneOfText(t, 2, hosts(90)...))
	if _, err := New(s, Options{}).RollbackZone(t.Context(), origin, 1); !refused(err) {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestFrozenStoreRefusesPlanAndPublish(t *testing.T) {
	s := newStore(t)
	mustPublish(t, s, zoneOfText(t, 1))
	if err := s.Commit(t.Context(), store.Create("freeze", []byte(`{"by":"ops","why":"migration"}`))); err != nil {
		t.Fatal(err)
	}
	next := zoneOfText(t, 2, "a A 192.0.2.1")
	if plan, err := New(s, Options{}).PlanZone(t.Context(), next); !errors.Is(err, dataset.ErrFrozen) || plan.Added != 1 {
		t.Errorf("plan: %v, %v", plan, err)
	}
	if _, err := New(s, Options{Force: true}).PublishZone(t.Context(), next); !errors.Is(err, dataset.ErrFrozen) {
		t.Errorf("publish: %v", err)
	}
}

func TestPresentedZoneRefusesPlanAndPublish(t *testing.T) {
	s := newStore(t)
	mustPublish(t, s, zoneOfText(t, 1))
	if err := s.Commit(t.Context(), store.Create(dataset.ZonePath("example.org")+"/spec", []byte(`{"mode":"presented"}`))); err != nil {
		t.Fatal(err)
	}
	next := zoneOfText(t, 2, "a A 192.0.2.1")
	if _, err := New(s, Options{}).PlanZone(t.Context(), next); !errors.Is(err, dataset.ErrPresented) {
		t.Errorf("plan: %v", err)
	}
	if _, err := New(s, Options{Force: true}).PublishZone(t.Context(), next); !errors.Is(err, dataset.ErrPresented) {
		t.Errorf("publish: %v", err)
	}
}

func TestStoreWithoutInitIsRefusedEverywhere(t *testing.T) {
	s, err := dir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := New(s, Options{Force: true})
	z := zoneOfText(t, 1)
	m := mapOfText(t, "edge", "default: [ams1]")
	for what, do := range map[string]func() error{
		"publish": func() error { _, err := p.PublishZone(t.Context(), z); return err },
		"plan":    func() error { _, err := p.PlanZone(t.Context(), z); return err },
		"drain":   func() error { _, err := p.DrainPoP(t.Context(), "ams1", 1); return err },
		"map":     func() error { _, err := p.PublishMap(t.Context(), m); return err },
		"mapplan": func() error { _, err := p.PlanMap(t.Context(), m); return err },
		"zones":   func() error { _, err := ListZones(t.Context(), s); return err },
		"pops":    func() error { _, err := ListPoPs(t.Context(), s); return err },
		"pulse":   func() error { return (&Pulse{Store: s, Every: time.Hour}).Run(t.Context()) },
	} {
		if err := do(); !errors.Is(err, dataset.ErrNoStore) {
			t.Errorf("%s: %v, want ErrNoStore", what, err)
		}
	}
}
