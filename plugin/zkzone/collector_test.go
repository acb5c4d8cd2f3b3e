package zkzone

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/edge/edgetest"
	"github.com/popdns/popdns/internal/store"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

// scraped is what Prometheus would get: by "name{label=value,…}".
func scraped(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		name, ours := strings.CutPrefix(f.GetName(), "coredns_zkzone_")
		if !ours {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := make([]string, 0, len(m.GetLabel()))
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			out[name+"{"+strings.Join(labels, ",")+"}"] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}

func zoneSeries(t *testing.T, name string) float64 {
	t.Helper()
	v, ok := scraped(t)[name+"{dataset=zones/example.org}"]
	if !ok {
		return math.NaN()
	}
	return v
}

// becomes waits until a scrape says so: nothing else is asked, as nothing else
// would be.
func becomes(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s; %v", what, scraped(t))
		}
	}
}

func TestMetricsTellHowThingsStandWhenTheyAreScraped(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "example.org.", testZone+"www 300 IN A 192.0.2.2\n")
	cache := t.TempDir()
	z := &ZkZone{cfg: edge.Config{URL: st.URL(), CacheDir: cache}, origins: []string{"example.org."}, startupTimeout: 10 * time.Second}
	z.hold = &hold{owner: z}
	if err := z.start(); err != nil {
		t.Fatal(err)
	}
	v := z.zones["example.org."].Current()
	stores := func(name string) float64 { return scraped(t)[fmt.Sprintf("%s{store=%s}", name, st.URL())] }
	for name, want := range map[string]float64{
		"state": 0, "serial": 7, "items": float64(v.Value.Items()), "records": float64(v.Value.Records()),
		"published_timestamp_seconds": unixSeconds(v.Head.Published), "source_timestamp_seconds": unixSeconds(v.Head.SourceTime),
	} {
		if got := zoneSeries(t, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if v.Value.Records() == v.Value.Items() {
		t.Fatal("the zone has no RRset of several records")
	}
	if _, ok := scraped(t)["state{dataset=pops}"]; ok {
		t.Error("a PoP table that nobody published has a state")
	}

	beat := time.Now().Add(time.Hour).Truncate(time.Second)
	if err := dataset.Stamp(t.Context(), st, beat, "test"); err != nil {
		t.Fatal(err)
	}
	becomes(t, "the heartbeat dates the zone", func() bool {
		return zoneSeries(t, "source_timestamp_seconds") == unixSeconds(beat) && stores("heartbeat_timestamp_seconds") == unixSeconds(beat)
	})
	becomes(t, "zone and heartbeat are in the cache", func() bool { return stores("cache_writes_total") == 2 })
	if at := stores("cache_write_timestamp_seconds"); math.Abs(at-unixSeconds(time.Now())) > 60 {
		t.Errorf("the cache was written at %v", at)
	}
	if stores("store_connected") != 1 || math.Abs(stores("store_contact_timestamp_seconds")-unixSeconds(time.Now())) > 60 {
		t.Errorf("the store is in reach, and the metrics say %v", scraped(t))
	}

	if err := st.Commit(t.Context(), store.Set("zones/example.org/head", []byte("junk"), store.AnyVersion)); err != nil {
		t.Fatal(err)
	}
	becomes(t, "frozen, and as old as the version that is served", func() bool {
		return zoneSeries(t, "state") == 3 && zoneSeries(t, "source_timestamp_seconds") == unixSeconds(v.Head.SourceTime)
	})
	if n := scraped(t)[fmt.Sprintf("datasets{kind=zone,state=frozen,store=%s}", st.URL())]; n != 1 {
		t.Errorf("%v datasets are frozen", n)
	}
	// A second block that follows the same zone from another store, where all is well: the worse one shows.
	other := edgetest.New(t)
	other.Zone(t, "example.org.", testZone)
	second := newZkZone(t, other.URL(), "example.org.")
	if got := zoneSeries(t, "state"); got != 3 {
		t.Errorf("with a sound zone beside, state is %v", got)
	}
	if err := z.hold.release(); err != nil {
		t.Fatal(err)
	}
	if got := zoneSeries(t, "state"); got != 0 {
		t.Errorf("after the frozen one is gone, state is %v", got)
	}
	if err := second.hold.release(); err != nil {
		t.Fatal(err)
	}
	for series := range scraped(t) {
		if strings.Contains(series, "dataset=") && !strings.HasPrefix(series, "switches_total") && !strings.HasPrefix(series, "refused_total") || strings.Contains(series, "store=") {
			t.Errorf("%s is left of what nobody follows", series)
		}
	}
}

func TestAServerThatStartsFromItsDiskOrWithNothingSaysSo(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "example.org.", testZone)
	cache := t.TempDir()
	first := &ZkZone{cfg: edge.Config{URL: st.URL(), CacheDir: cache}, origins: []string{"example.org."}, startupTimeout: 10 * time.Second}
	first.hold = &hold{owner: first}
	if err := first.start(); err != nil {
		t.Fatal(err)
	}
	if err := first.hold.release(); err != nil { // waits for the cache
		t.Fatal(err)
	}
	z := &ZkZone{cfg: edge.Config{URL: "zk://store.invalid:2181/popdns", CacheDir: cache}, origins: []string{"example.net.", "example.org."}}
	z.hold = &hold{owner: z}
	if err := z.start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.hold.release() }()
	got := scraped(t)
	if got["state{dataset=zones/example.org}"] != 2 || got["serial{dataset=zones/example.org}"] != 7 || got["state{dataset=zones/example.net}"] != 4 {
		t.Errorf("got %v", got)
	}
	if _, ok := got["serial{dataset=zones/example.net}"]; ok {
		t.Error("a zone without data has a serial")
	}
	if c, ok := got["store_connected{store=zk://store.invalid:2181/popdns}"]; !ok || c != 0 {
		t.Errorf("connected: %v, %v", c, ok)
	}
	if at, ok := got["store_contact_timestamp_seconds{store=zk://store.invalid:2181/popdns}"]; ok {
		t.Errorf("last contact at %v with a store that was never reached", at)
	}
}

func TestMetricsAreNamedAsPrometheusWants(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "example.org.", testZone)
	newZkZone(t, st.URL(), "example.org.")
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families = slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), "coredns_zkzone_") })
	if len(families) < 8 {
		t.Fatalf("only %d families", len(families))
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
