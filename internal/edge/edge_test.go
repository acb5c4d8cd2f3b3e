package edge_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/edge/edgetest"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"

	"go.uber.org/goleak"
)

const head = "$ORIGIN example.org.\n@ 60 IN SOA ns h 1 2 3 4 5\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53\n"

var origin = zone.MustParseName("example.org.")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, cfg edge.Config) (*edge.Source, *edgetest.Observer) {
	t.Helper()
	obs := &edgetest.Observer{}
	src, err := edge.Open(cfg, obs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = src.Close() })
	return src, obs
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func TestMapsThatAZoneNamesAreFollowed(t *testing.T) {
	st := edgetest.New(t)
	st.PoPs(t, "ams1: {lat: 52, lon: 4}\n")
	st.Map(t, "named", "default: [ams1]\n")
	st.Zone(t, "example.org.", head+"www 60 IN A 10.0.0.1 ;@ pop=ams1 map=named\n")
	src, _ := open(t, edge.Config{URL: st.URL()})
	if err := src.Zone(origin).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "the map has data", func() bool { v, _ := src.Map("named"); return v != nil })
}

func TestDiskCacheIsServedAtOnceAndConfirmedLater(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "example.org.", head)
	cache := t.TempDir()
	src, _ := open(t, edge.Config{URL: st.URL(), CacheDir: cache})
	if err := src.Zone(origin).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := src.Zone(origin).Current()
	if f := src.Freshness(src.Zone(origin), v, time.Now()); f.State != edge.StateLive {
		t.Errorf("state with the store in reach is %s, want live", f.State)
	}
	if err := dataset.Stamp(t.Context(), st, time.Now(), "test"); err != nil {
		t.Fatal(err)
	}
	until(t, "the pulse is seen", func() bool { return src.Heartbeat() != nil })
	// Close waits for the cache's writer.
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}

	// A store that does not resolve: only the cache can answer.
	src, _ = open(t, edge.Config{URL: "zk://store.invalid:2181/popdns", CacheDir: cache})
	v = src.Zone(origin).Current()
	if v == nil {
		t.Fatal("the disk cache is not served at once")
	}
	f := src.Freshness(src.Zone(origin), v, time.Now())
	if f.State != edge.StateDisk || !f.Pulse {
		t.Errorf("from the disk: state %s, pulse %t; want disk and the cached pulse", f.State, f.Pulse)
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}

	src, _ = open(t, edge.Config{URL: st.URL(), CacheDir: cache})
	until(t, "the store confirms what the cache had", func() bool {
		return src.Freshness(src.Zone(origin), src.Zone(origin).Current(), time.Now()).State == edge.StateLive
	})
}

// TestFrozenZoneSaysSoAndAges: a pulse that goes on proves nothing of data that
// what is published no longer reaches.
func TestFrozenZoneSaysSoAndAges(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "example.org.", head)
	src, obs := open(t, edge.Config{URL: st.URL()})
	data := src.Zone(origin)
	if err := data.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := dataset.Stamp(t.Context(), st, time.Now().Add(time.Hour), "test"); err != nil {
		t.Fatal(err)
	}
	until(t, "the pulse is seen", func() bool { return src.Heartbeat() != nil })
	good, err := st.Get(t.Context(), "zones/example.org/head")
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range []struct {
		refusal string
		op      store.Op
	}{
		{"refused zones/example.org (head)", store.Set("zones/example.org/head", []byte("junk"), store.AnyVersion)},
		{"refused zones/example.org (cluster)", store.Set("zones/example.org/head", foreign(t, good.Data), store.AnyVersion)},
	} {
		if err := st.Commit(t.Context(), fault.op); err != nil {
			t.Fatal(err)
		}
		until(t, fault.refusal, func() bool { return slices.Contains(obs.Lines(), fault.refusal) })
		v := data.Current()
		if f := src.Freshness(data, v, time.Now()); f.State != edge.StateFrozen || f.Pulse || !f.SourceTime.Equal(v.Head.SourceTime) {
			t.Errorf("after %s: %+v, want frozen since the served version's %v", fault.refusal, f, v.Head.SourceTime)
		}
	}
	if err := st.Commit(t.Context(), store.Set("zones/example.org/head", good.Data, store.AnyVersion)); err != nil {
		t.Fatal(err)
	}
	until(t, "the good head ends it", func() bool {
		f := src.Freshness(data, data.Current(), time.Now())
		return f.State == edge.StateLive && f.Pulse
	})
}

// foreign returns the head as a head of another store.
func foreign(t *testing.T, head []byte) []byte {
	t.Helper()
	h, err := dataset.ParseHead(head)
	if err != nil {
		t.Fatal(err)
	}
	h.Cluster = "00000000-0000-4000-8000-000000000000"
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestZoneThatShrinksByHalfIsRefusedUnlessForced(t *testing.T) {
	st := edgetest.New(t)
	var text strings.Builder
	text.WriteString(head)
	for name := range strings.FieldsSeq("a b c d e f g h i j k l m n o p") {
		text.WriteString(name + " 60 IN A 192.0.2.1\n")
	}
	st.Zone(t, "example.org.", text.String())
	src, obs := open(t, edge.Config{URL: st.URL()})
	if err := src.Zone(origin).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	full := src.Zone(origin).Current().Value.Len()

	// The writer's own guard is bypassed: the edge's must hold by itself.
	small := zoneOf(t, head)
	w := dataset.NewWriter(st.Store, publish.ZoneRef(origin))
	commit := func(force bool) {
		t.Helper()
		_, err := w.Commit(t.Context(), dataset.Commit{By: "test", Force: force, SourceTime: time.Now()},
			func(*dataset.Version[*zone.Snapshot]) (*zone.Snapshot, error) { return small, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	commit(false)
	until(t, "the shrunken version is refused", func() bool {
		return slices.Contains(obs.Lines(), "refused zones/example.org (guard)")
	})
	if got := src.Zone(origin).Current().Value.Len(); got != full {
		t.Errorf("%d RRsets are served after the refusal, want the last good %d", got, full)
	}
	small = zoneOf(t, head+"z 60 IN A 192.0.2.1\n")
	commit(true)
	until(t, "the forced version is served", func() bool { return src.Zone(origin).Current().Value.Len() == small.Len() })
}

func TestShrinkGuardIsTheShareThatMayGo(t *testing.T) {
	before := &dataset.Version[*zone.Snapshot]{Value: zoneOf(t, head+"a 60 IN A 192.0.2.1\nb 60 IN A 192.0.2.1\n"), Head: dataset.Head{Revision: dataset.Revision{Serial: 1}}}
	after := &dataset.Version[*zone.Snapshot]{Value: zoneOf(t, head+"a 60 IN A 192.0.2.1\n"), Head: dataset.Head{Revision: dataset.Revision{Serial: 2}}}
	share := 100 / before.Value.Len() // of one RRset, rounded down
	for percent, refused := range map[int]bool{1: true, share: 100%before.Value.Len() != 0, share + 1: false, 0: false, 100: false} {
		if err := edge.AcceptZone(edge.Config{ShrinkGuard: percent}, before, after); (err != nil) != refused {
			t.Errorf("guard of %d %%, one of %d RRsets goes: %v, want refused %v", percent, before.Value.Len(), err, refused)
		}
	}
}

// TestVerifyingSourceServesOnlyWhatIsSigned: zones, maps, PoPs and the pulse.
func TestVerifyingSourceServesOnlyWhatIsSigned(t *testing.T) {
	private, public, err := dataset.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	var keys dataset.Keys
	if keys.Sign, err = dataset.ParsePrivateKey(private); err != nil {
		t.Fatal(err)
	}
	if keys.Verify, err = dataset.ParsePublicKeys(public); err != nil {
		t.Fatal(err)
	}
	st := edgetest.New(t)
	st.Zone(t, "example.org.", head)
	if err := dataset.Stamp(t.Context(), st, time.Now(), "test"); err != nil {
		t.Fatal(err)
	}
	src, obs := open(t, edge.Config{URL: st.URL(), Verify: keys.Verify})
	src.Zone(origin)
	for _, refusal := range []string{"refused zones/example.org (signature)", "refused heartbeat (signature)"} {
		until(t, refusal, func() bool { return slices.Contains(obs.Lines(), refusal) })
	}
	if src.Zone(origin).Current() != nil || src.Heartbeat() != nil {
		t.Error("what is not signed is taken")
	}
	ref := publish.ZoneRef(origin)
	ref.Keys = keys
	_, err = dataset.NewWriter(st.Store, ref).Commit(t.Context(), dataset.Commit{Force: true},
		func(*dataset.Version[*zone.Snapshot]) (*zone.Snapshot, error) { return zoneOf(t, head), nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Stamp(t.Context(), st, time.Now(), "test"); err != nil {
		t.Fatal(err)
	}
	until(t, "the signed version and pulse are taken", func() bool { return src.Zone(origin).Current() != nil && src.Heartbeat() != nil })
}

func TestUnusableCacheIsReportedAndDoneWithout(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "example.org.", head)
	src, obs := open(t, edge.Config{URL: st.URL(), CacheDir: "/dev/null/cache"})
	if err := src.Zone(origin).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lines := obs.Lines(); !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, `cache of ""`) }) {
		t.Errorf("the unusable cache is not reported: %q", lines)
	}
}

func TestMalformedURLIsAnErrorAtOnce(t *testing.T) {
	if _, err := edge.Open(edge.Config{URL: "etcd://10.0.0.1"}, &edgetest.Observer{}); err == nil {
		t.Error("a URL of an unknown kind opens without error")
	}
}

func zoneOf(t *testing.T, text string) *zone.Snapshot {
	t.Helper()
	s, err := zonefile.Read(strings.NewReader(text), "test.zone", origin)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
