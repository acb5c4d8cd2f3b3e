package zkzone

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/edge/edgetest"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/xfr"
	"github.com/popdns/popdns/internal/xfr/xfrtest"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/coredns/plugin/transfer"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// startTransferring serves the zones as a block with the transfer plugin does,
// whose NOTIFY goes nowhere.
func startTransferring(t *testing.T, cfg edge.Config, origins ...string) *ZkZone {
	t.Helper()
	z := &ZkZone{cfg: cfg, origins: origins, startupTimeout: 10 * time.Second}
	z.hold = &hold{owner: z}
	if err := z.start(); err != nil {
		t.Fatal(err)
	}
	z.startTransfers(func(string) error { return nil })
	t.Cleanup(func() {
		if err := z.hold.release(); err != nil {
			t.Error(err)
		}
	})
	return z
}

// transferred drains a transfer, as the transfer plugin does.
func transferred(t *testing.T, z *ZkZone, name string, serial uint32) []dns.RR {
	t.Helper()
	ch, err := z.Transfer(name, serial)
	if err != nil {
		t.Fatalf("transfer of %s from serial %d: %v", name, serial, err)
	}
	var out []dns.RR
	for batch := range ch {
		out = append(out, batch...)
	}
	return out
}

func serialOf(rrs []dns.RR) uint32 { return rrs[0].(*dns.SOA).Serial }

// publishNow commits the zone over all guards and returns its serial.
func publishNow(t *testing.T, st *edgetest.Store, s *zone.Snapshot) uint32 {
	t.Helper()
	r, err := publish.New(st.Store, publish.Options{By: "test", Force: true}).PublishZone(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r.New
}

// awaitTransfer waits until transfers are of the serial.
func awaitTransfer(t *testing.T, z *ZkZone, serial uint32) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		x, ok := z.table.Load().match(zone.MustParseName(xfrtest.Origin)).feed.Journal().Transfer(0)
		if ok && x.Serial() == serial {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("serial %d is not transferred within 10 s", serial)
		}
	}
}

// TestSecondariesHoldTheExportedViewOfRandomHistories publishes random versions
// of a steered zone. Secondaries that ask after each, or now and then, apply
// what they get record by record, and must hold what the plain form of the
// export says.
func TestSecondariesHoldTheExportedViewOfRandomHistories(t *testing.T) {
	st := edgetest.New(t)
	h := xfrtest.NewHistory(t)
	publishNow(t, st, h.Snapshot(t, 1))
	z := startTransferring(t, edge.Config{URL: st.URL()}, xfrtest.Origin)
	secondaries := make([]xfrtest.Secondary, 3)
	incremental := 0
	for range 60 {
		h.Step()
		serial := publishNow(t, st, h.Snapshot(t, 1))
		awaitTransfer(t, z, serial)
		want := h.Exported(t, serial)
		for i := range secondaries {
			if h.Rand().IntN(1+2*i) > 0 {
				continue
			}
			s := &secondaries[i]
			rrs := transferred(t, z, xfrtest.Origin, s.Serial)
			if rrs[1].Header().Rrtype == dns.TypeSOA {
				incremental++
			}
			if err := s.Apply(rrs); err != nil {
				t.Fatalf("serial %d: %v\n%v", serial, err, rrs)
			}
			if !maps.Equal(s.Records, want) {
				t.Fatalf("serial %d: got %v, want %v", serial, slices.Sorted(maps.Keys(s.Records)), slices.Sorted(maps.Keys(want)))
			}
			if again := transferred(t, z, xfrtest.Origin, serial); len(again) != 1 || s.Apply(again) != nil {
				t.Fatalf("a secondary with serial %d is sent %v", serial, again)
			}
		}
	}
	t.Logf("%d incremental transfers", incremental)
	if incremental < 40 {
		t.Error("hardly any transfer was incremental")
	}
}

func TestTransfersAreOfOurOwnZonesWithData(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "example.org.", testZone)
	z := &ZkZone{cfg: edge.Config{URL: st.URL()}, origins: []string{"example.net.", "example.org."}, startupTimeout: 200 * time.Millisecond}
	z.hold = &hold{owner: z}
	if err := z.start(); err != nil {
		t.Fatal(err)
	}
	z.startTransfers(func(string) error { return nil })
	defer func() { _ = z.hold.release() }()
	for _, name := range []string{"www.example.org.", "org.", "example.com.", "."} {
		if _, err := z.Transfer(name, 0); !errors.Is(err, transfer.ErrNotAuthoritative) { //nolint:errorlint // the plugin compares with ==
			t.Errorf("%s: got %v, want ErrNotAuthoritative, so that another plugin is asked", name, err)
		}
	}
	for _, serial := range []uint32{0, 1} {
		if _, err := z.Transfer("example.net.", serial); !errors.Is(err, errNoData) {
			t.Errorf("a zone without data: got %v, want the error that says so", err)
		}
	}
	if rrs := transferred(t, z, "example.org.", 0); len(rrs) != 13 {
		t.Errorf("got %d records of example.org., want its 12 and the SOA again: %v", len(rrs), rrs)
	}
}

func TestTransferWithoutTransferPluginIsWhole(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "example.org.", testZone)
	z := newZkZone(t, st.URL(), "example.org.")
	if rrs := transferred(t, z, "example.org.", 1); len(rrs) != 13 {
		t.Errorf("got %d records, want 13", len(rrs))
	}
}

// TestSerialOfTransfersNeverGoesBackOverRestarts restarts from the disk cache:
// without a store, with one restored to an older state, and with one that has
// gone on.
func TestSerialOfTransfersNeverGoesBackOverRestarts(t *testing.T) {
	st := edgetest.New(t)
	h := xfrtest.NewHistory(t)
	publishNow(t, st, h.Snapshot(t, 100))
	older := t.TempDir()
	if err := os.CopyFS(older, os.DirFS(st.Dir)); err != nil {
		t.Fatal(err)
	}
	h.Step()
	served := publishNow(t, st, h.Snapshot(t, 200))
	cache := t.TempDir()
	z := startTransferring(t, edge.Config{URL: st.URL(), CacheDir: cache}, xfrtest.Origin)
	awaitTransfer(t, z, served)
	var secondary xfrtest.Secondary
	if err := secondary.Apply(transferred(t, z, xfrtest.Origin, 0)); err != nil {
		t.Fatal(err)
	}
	if err := z.hold.release(); err != nil { // waits for the cache's writer
		t.Fatal(err)
	}

	for what, url := range map[string]string{"no store": "zk://store.invalid:2181/popdns", "an older store": "dir://" + older} {
		before := refusals(t)
		z := startTransferring(t, edge.Config{URL: url, CacheDir: cache}, xfrtest.Origin)
		for end := time.Now().Add(10 * time.Second); url == "dir://"+older; time.Sleep(time.Millisecond) {
			if refusals(t) > before {
				break // the older version was seen
			}
			if time.Now().After(end) {
				t.Fatal("the older version is not refused within 10 s")
			}
		}
		for _, serial := range []uint32{0, served} {
			if got := serialOf(transferred(t, z, xfrtest.Origin, serial)); got != served {
				t.Errorf("%s, transfer from %d: serial %d, want %d", what, serial, got, served)
			}
		}
		if err := z.hold.release(); err != nil {
			t.Fatal(err)
		}
	}

	h.Step()
	newest := publishNow(t, st, h.Snapshot(t, 300))
	z = startTransferring(t, edge.Config{URL: st.URL(), CacheDir: cache}, xfrtest.Origin)
	awaitTransfer(t, z, newest)
	if err := secondary.Apply(transferred(t, z, xfrtest.Origin, served)); err != nil || !maps.Equal(secondary.Records, h.Exported(t, newest)) {
		t.Errorf("%v; got %v", err, slices.Sorted(maps.Keys(secondary.Records)))
	}
}

// TestVersionsTakenInOneStepAreDifferencesOfTheirOwn has a server start from a
// disk cache that is four versions behind: it never serves the three between,
// but a secondary of another server may have one of them.
func TestVersionsTakenInOneStepAreDifferencesOfTheirOwn(t *testing.T) {
	st := edgetest.New(t)
	var text strings.Builder
	text.WriteString(testZone)
	for i := range 400 {
		fmt.Fprintf(&text, "h%d 60 IN A 192.0.2.1\n", i)
	}
	st.Zone(t, xfrtest.Origin, text.String())
	cfg := edge.Config{URL: st.URL(), CacheDir: t.TempDir()}
	z := startTransferring(t, cfg, xfrtest.Origin)
	first := serialOf(transferred(t, z, xfrtest.Origin, 0))
	if err := z.hold.release(); err != nil { // waits for the cache's writer
		t.Fatal(err)
	}
	origin := zone.MustParseName(xfrtest.Origin)
	for i := range 4 {
		set, err := publish.ParseRRset(publish.RecordText{Name: "h7", TTL: "60", Type: "A", Rdata: []string{fmt.Sprint("198.51.100.", i)}}, origin)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.SetRecord(t.Context(), origin, set); err != nil {
			t.Fatal(err)
		}
	}
	// The journal is claimed before the zone is followed, or it could begin with
	// the newest version.
	src, err := sources.acquire(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sources.release(cfg) }()
	defer src.Feed(origin, func() {}).Close()
	z = startTransferring(t, cfg, xfrtest.Origin)
	awaitTransfer(t, z, first+4)
	for back := range uint32(5) {
		rrs := transferred(t, z, xfrtest.Origin, first+4-back)
		want := 2 + 4*int(back)
		if back == 0 {
			want = 1
		}
		if len(rrs) != want {
			t.Errorf("%d versions back: %d records, want %d: SOA, old, SOA, new for each and a SOA around\n%v", back, len(rrs), want, rrs)
		}
	}
}

// refusals counts the versions that were refused so far, of all datasets.
func refusals(t *testing.T) (n float64) {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "coredns_zkzone_refused_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// TestDifferencesOutliveAReload has a second block claim what the first holds,
// as the new instance does in a reload before the old one lets go.
func TestDifferencesOutliveAReload(t *testing.T) {
	st := edgetest.New(t)
	h := xfrtest.NewHistory(t)
	first := publishNow(t, st, h.Snapshot(t, 1))
	before := startTransferring(t, edge.Config{URL: st.URL()}, xfrtest.Origin)
	awaitTransfer(t, before, first)
	h.Step()
	second := publishNow(t, st, h.Snapshot(t, 1))
	awaitTransfer(t, before, second)
	after := startTransferring(t, edge.Config{URL: st.URL()}, xfrtest.Origin)
	if err := before.hold.release(); err != nil {
		t.Fatal(err)
	}
	h.Step()
	third := publishNow(t, st, h.Snapshot(t, 1))
	awaitTransfer(t, after, third)
	if rrs := transferred(t, after, xfrtest.Origin, first); rrs[1].Header().Rrtype != dns.TypeSOA || serialOf(rrs) != third {
		t.Errorf("from before the reload: %v", rrs)
	}

	// Without the transfer plugin nobody keeps the journal.
	source, err := sources.acquire(after.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sources.release(after.cfg) }()
	if err := after.hold.release(); err != nil {
		t.Fatal(err)
	}
	f := source.Feed(zone.MustParseName(xfrtest.Origin), func() {})
	defer f.Close()
	if x, _ := f.Journal().Transfer(first); x.Kind != xfr.Fallback {
		t.Errorf("after the last block let go: %s, want fallback", x.Kind)
	}
}
