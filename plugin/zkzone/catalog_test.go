package zkzone

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/edge/edgetest"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/test"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/miekg/dns"
)

// newCatalogued serves what the store lists at or below the names.
func newCatalogued(t *testing.T, cfg edge.Config, set func(*ZkZone), below ...string) *ZkZone {
	t.Helper()
	z := &ZkZone{cfg: cfg, catalogued: true, origins: below, startupTimeout: 10 * time.Second}
	z.hold = &hold{owner: z}
	if set != nil {
		set(z)
	}
	if err := z.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := z.hold.release(); err != nil {
			t.Error(err)
		}
	})
	return z
}

func small(origin string) string {
	return fmt.Sprintf("$ORIGIN %s\n@ 60 IN SOA ns h 1 2 3 4 60\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53\n", origin)
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// origins are the zones that the block serves, "!" before those without data.
func (z *ZkZone) servedNow() []string {
	var out []string
	for _, here := range z.table.Load().sorted() {
		if here.data.Current() == nil {
			out = append(out, "!"+here.origin)
		} else {
			out = append(out, here.origin)
		}
	}
	return out
}

func remove(t *testing.T, st *edgetest.Store, origin string) {
	t.Helper()
	if _, err := st.RemoveZone(t.Context(), zone.MustParseName(origin), true); err != nil {
		t.Fatal(err)
	}
}

func TestCatalogZonesAreThoseBelowTheBlocksNames(t *testing.T) {
	st := edgetest.New(t)
	for _, origin := range []string{"example.org.", "sub.example.org.", "example.net.", "notexample.org."} {
		st.Zone(t, origin, small(origin))
	}
	z := newCatalogued(t, edge.Config{URL: st.URL()}, nil, "example.org.")
	if got, want := z.servedNow(), []string{"example.org.", "sub.example.org."}; !slices.Equal(got, want) {
		t.Errorf("serves %q, want %q", got, want)
	}
	if !z.Ready() {
		t.Error("not ready with all zones")
	}
	if _, rcode := serve(t.Context(), t, z, (test.Case{Qname: "example.net.", Qtype: dns.TypeSOA}).Msg()); rcode != dns.RcodeRefused {
		t.Errorf("a zone outside: %s, want REFUSED where there is no next plugin", dns.RcodeToString[rcode])
	}
	passed := false
	z.Next = plugin.HandlerFunc(func(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
		passed = true
		return dns.RcodeSuccess, nil
	})
	if serve(t.Context(), t, z, (test.Case{Qname: "example.net.", Qtype: dns.TypeSOA}).Msg()); !passed {
		t.Error("a zone outside is not passed to the next plugin")
	}
	origin, data := z.Match(zone.MustParseName("ns.sub.example.org."))
	if origin != zone.MustParseName("sub.example.org.") || data.Current() == nil {
		t.Errorf("Match: %s", origin)
	}
}

func TestReadyWithTheCatalogIsEveryListedZone(t *testing.T) {
	st := edgetest.New(t)
	z := newCatalogued(t, edge.Config{URL: st.URL()}, nil, ".")
	if !z.Ready() {
		t.Error("not ready with an empty catalog")
	}
	st.Zone(t, "example.org.", small("example.org."))
	if err := dataset.ListAll(t.Context(), st, dataset.Keys{}, []string{"zones/ghost.example"}, false); err != nil {
		t.Fatal(err)
	}
	until(t, "both zones are listed", func() bool { return slices.Equal(z.servedNow(), []string{"example.org.", "!ghost.example."}) })
	if z.Ready() {
		t.Error("ready without the data of a listed zone")
	}
	if _, rcode := serve(t.Context(), t, z, (test.Case{Qname: "ghost.example.", Qtype: dns.TypeSOA}).Msg()); rcode != dns.RcodeServerFailure {
		t.Errorf("a listed zone without data: %s, want SERVFAIL", dns.RcodeToString[rcode])
	}
	st.Zone(t, "ghost.example.", small("ghost.example."))
	until(t, "it has data", z.Ready)

	lost := &ZkZone{cfg: edge.Config{URL: "dir://" + t.TempDir()}, catalogued: true, origins: []string{"."}, startupTimeout: time.Millisecond}
	lost.hold = &hold{owner: lost}
	if err := lost.start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lost.hold.release() }()
	if lost.Ready() {
		t.Error("ready without a catalog")
	}
}

// TestRemovedZoneLeavesNothingBehind: its feed, its series, its follower.
func TestRemovedZoneLeavesNothingBehind(t *testing.T) {
	st := edgetest.New(t)
	origins := []string{"gone.example.", "stays.example."}
	for _, origin := range origins {
		st.Zone(t, origin, small(origin))
	}
	stock := &fakeNamer{zones: map[string]bool{}}
	var told sync.Map
	z := newCatalogued(t, edge.Config{URL: st.URL(), CacheDir: t.TempDir()}, func(z *ZkZone) { z.zoneMetrics, z.stock = true, stock }, ".")
	z.startTransfers(func(zone string) error { told.Store(zone, true); return nil })
	for _, origin := range origins {
		serve(t.Context(), t, z, (test.Case{Qname: origin, Qtype: dns.TypeSOA}).Msg())
		if n := countSeries(t, origin); n != 8 {
			t.Errorf("%s has %d series, want state, serial, items, records, published, source time, switches and answers", origin, n)
		}
	}
	if !stock.has(origins...) {
		t.Errorf("the prometheus plugin knows %v", stock.zones)
	}
	remove(t, st, "gone.example.")
	until(t, "it is gone", func() bool { return slices.Equal(z.servedNow(), origins[1:]) })
	until(t, "its series are gone", func() bool { return countSeries(t, "gone.example.") == 0 })
	if countSeries(t, "stays.example.") != 8 || stock.has("gone.example.") || !stock.has("stays.example.") {
		t.Error("the other zone lost something, or the stock plugin keeps it")
	}
	if _, err := z.Transfer("gone.example.", 0); err == nil {
		t.Error("it is transferred")
	}
	// It may come back.
	st.Zone(t, "gone.example.", small("gone.example."))
	until(t, "it is back", func() bool { return slices.Equal(z.servedNow(), origins) })
	ch, err := z.Transfer("gone.example.", 0)
	if err != nil {
		t.Fatal(err)
	}
	for range ch {
	}
	until(t, "secondaries are told of it", func() bool { _, ok := told.Load("gone.example."); return ok })
}

func TestCatalogZonesShareSeriesUnlessTheyAreNamedToo(t *testing.T) {
	st := edgetest.New(t)
	for _, origin := range []string{"pooled.example.", "named.example."} {
		st.Zone(t, origin, small(origin))
	}
	z := newCatalogued(t, edge.Config{URL: st.URL()}, nil, ".")
	named := newZkZone(t, st.URL(), "named.example.")
	if named.source != z.source {
		t.Fatal("two sources")
	}
	st.Zone(t, "named.example.", small("named.example.")+"more 60 IN A 192.0.2.1\n")
	until(t, "the named zone has its series", func() bool { return countSeries(t, "named.example.") >= 4 })
	serve(t.Context(), t, z, (test.Case{Qname: "pooled.example.", Qtype: dns.TypeSOA}).Msg())
	if n := countSeries(t, "pooled.example."); n != 0 {
		t.Errorf("%d series of a zone of the catalog", n)
	}
	if countSeries(t, "catalog") == 0 {
		t.Error("nothing is counted for the catalog's zones together")
	}
	if n := scraped(t)[fmt.Sprintf("catalog_zones{store=%s}", st.URL())]; n != 2 {
		t.Errorf("catalog_zones is %v, want 2", n)
	}
	// One that is named outlives its removal.
	remove(t, st, "named.example.")
	until(t, "the catalog's block has left it", func() bool { return slices.Equal(z.servedNow(), []string{"pooled.example."}) })
	if m, _ := serve(t.Context(), t, named, (test.Case{Qname: "ns.named.example.", Qtype: dns.TypeA}).Msg()); len(m.Answer) != 1 {
		t.Error("the block that names it does not serve it any more")
	}
}

// TestReloadKeepsWhatTheCatalogLists: the new block claims before the old one
// releases, so nothing is loaded again.
func TestReloadKeepsWhatTheCatalogLists(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "example.org.", small("example.org."))
	before := newCatalogued(t, edge.Config{URL: st.URL()}, nil, ".")
	after := newCatalogued(t, edge.Config{URL: st.URL()}, nil, ".")
	name := zone.MustParseName("example.org.")
	if before.table.Load().zones[name].data != after.table.Load().zones[name].data {
		t.Error("the zone was read twice")
	}
	if err := before.hold.release(); err != nil {
		t.Fatal(err)
	}
	set, err := publish.ParseRRset(publish.RecordText{Name: "new", TTL: "60", Type: "A", Rdata: []string{"192.0.2.9"}}, name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.SetRecord(t.Context(), name, set); err != nil {
		t.Fatal(err)
	}
	until(t, "the new block follows", func() bool {
		m, _ := serve(t.Context(), t, after, (test.Case{Qname: "new.example.org.", Qtype: dns.TypeA}).Msg())
		return len(m.Answer) == 1
	})
	st.Zone(t, "example.net.", small("example.net."))
	until(t, "and takes new zones", func() bool { return len(after.servedNow()) == 2 })
	if got := before.servedNow(); len(got) != 1 {
		t.Errorf("the old block serves %q after its release", got)
	}
}

type fakeNamer struct {
	mu    sync.Mutex
	zones map[string]bool
}

func (f *fakeNamer) AddZone(zone string)    { f.set(zone, true) }
func (f *fakeNamer) RemoveZone(zone string) { f.set(zone, false) }

func (f *fakeNamer) set(zone string, to bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.zones[zone] = to
}

func (f *fakeNamer) has(zones ...string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !slices.ContainsFunc(zones, func(z string) bool { return !f.zones[z] })
}

// countSeries counts the series whose zone or dataset label is the zone's.
func countSeries(t *testing.T, origin string) int {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if v := label.GetValue(); v == origin || v == dataset.ZonePath(origin) {
					n++
				}
			}
		}
	}
	return n
}
