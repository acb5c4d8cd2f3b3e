package edge_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/edge/edgetest"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

// listener records what FollowCatalog tells.
type listener struct {
	mu    sync.Mutex
	zones []zone.Name
	told  int
}

func (l *listener) changed(zones []zone.Name) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.zones, l.told = slices.Clone(zones), l.told+1
}

func (l *listener) has(names ...string) func() bool {
	want := make([]zone.Name, 0, len(names))
	for _, n := range names {
		want = append(want, zone.MustParseName(n))
	}
	slices.Sort(want)
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return slices.Equal(l.zones, want)
	}
}

func smallZone(origin string) string {
	return fmt.Sprintf("$ORIGIN %s\n@ 60 IN SOA ns h 1 2 3 4 5\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53\n", origin)
}

func TestCatalogIsToldToAllWhoAskAndOutlivesTheStore(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "a.example.", smallZone("a.example."))
	cache := t.TempDir()
	src, _ := open(t, edge.Config{URL: st.URL(), CacheDir: cache})
	var first, second, third listener
	c := src.FollowCatalog(first.changed)
	if err := c.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	src.FollowCatalog(second.changed)
	if !first.has("a.example.")() || !second.has("a.example.")() {
		t.Error("not all were told of what is known")
	}
	c.Close()
	c.Close()
	st.Zone(t, "b.example.", smallZone("b.example."))
	until(t, "the second is told of the new zone", second.has("a.example.", "b.example."))
	if first.told != 1 {
		t.Error("who has closed was told")
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}

	src, _ = open(t, edge.Config{URL: "zk://store.invalid:2181/popdns", CacheDir: cache})
	src.FollowCatalog(third.changed)
	if !third.has("a.example.", "b.example.")() {
		t.Error("what the disk cache knows is not told at once")
	}
}

// TestZoneIsFollowedAsLongAsSomebodyWantsIt: two claims and a name.
func TestZoneIsFollowedAsLongAsSomebodyWantsIt(t *testing.T) {
	st := edgetest.New(t)
	for _, o := range []string{"a.example.", "b.example."} {
		st.Zone(t, o, smallZone(o))
	}
	cache := t.TempDir()
	src, obs := open(t, edge.Config{URL: st.URL(), CacheDir: cache})
	a, b := zone.MustParseName("a.example."), zone.MustParseName("b.example.")
	both := []zone.Name{a, b}
	claimed := src.Claim(both)
	again := src.Claim(both)
	if claimed[0] != again[0] || claimed[1] != again[1] || src.Zone(b) != claimed[1] {
		t.Error("one zone is followed twice")
	}
	for _, d := range claimed {
		if err := d.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "both are on the disk", func() bool { return onDisk(cache, "a.example") && onDisk(cache, "b.example") })
	src.Release(both)
	st.Zone(t, "a.example.", smallZone("a.example.")+"x 60 IN A 192.0.2.1\n")
	until(t, "the second claim goes on", func() bool { return claimed[0].Current().Value.Len() == 4 })
	src.Release(both)
	if !slices.Contains(obs.Lines(), "left zones/a.example") || slices.Contains(obs.Lines(), "left zones/b.example") {
		t.Errorf("want a.example left alone, b.example was named: %q", obs.Lines())
	}
	if claimed[0].Current() == nil {
		t.Error("what was held is gone before its users are")
	}
	if !onDisk(cache, "a.example") {
		t.Error("what was not removed is off the disk")
	}
	src.Release(both) // more than was claimed
}

func onDisk(cache, key string) bool {
	_, err := os.Stat(filepath.Join(cache, "zones", key, "head"))
	return err == nil
}

func TestRemovedZoneIsTakenOffTheDisk(t *testing.T) {
	st := edgetest.New(t)
	origin := zone.MustParseName("a.example.")
	st.Zone(t, "a.example.", smallZone("a.example."))
	cache := t.TempDir()
	src, obs := open(t, edge.Config{URL: st.URL(), CacheDir: cache})
	var l listener
	src.FollowCatalog(l.changed)
	if err := src.Claim([]zone.Name{origin})[0].Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "it is on the disk", func() bool { return onDisk(cache, "a.example") })
	if _, err := st.RemoveZone(t.Context(), origin, true); err != nil {
		t.Fatal(err)
	}
	until(t, "its tombstone is seen", l.has())
	src.Release([]zone.Name{origin})
	if onDisk(cache, "a.example") {
		t.Error("it is still on the disk")
	}
	for _, line := range obs.Lines() {
		if line == "refused zones/a.example (head)" {
			t.Error("its missing head was called a fault")
		}
	}
	// A catalog that is worth nothing.
	if err := st.Commit(t.Context(), store.Set(dataset.CatalogPath, []byte("junk"), store.AnyVersion)); err != nil {
		t.Fatal(err)
	}
	until(t, "it is refused", func() bool { return slices.Contains(obs.Lines(), "refused catalog (head)") })
}

func TestCatalogThatIsNotSignedBringsNoZoneWhereSignaturesAreWanted(t *testing.T) {
	_, public, err := dataset.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := dataset.ParsePublicKeys(public)
	if err != nil {
		t.Fatal(err)
	}
	st := edgetest.New(t)
	st.Zone(t, "a.example.", smallZone("a.example."))
	src, obs := open(t, edge.Config{URL: st.URL(), Verify: keys})
	var l listener
	src.FollowCatalog(l.changed)
	until(t, "it is refused", func() bool { return slices.Contains(obs.Lines(), "refused catalog (signature)") })
	if l.told > 0 {
		t.Error("its zones were told")
	}
}

// TestZoneAtRestCostsOneGoroutine.
func TestZoneAtRestCostsOneGoroutine(t *testing.T) {
	const zones = 200
	st := edgetest.New(t)
	origins := make([]zone.Name, 0, zones)
	for i := range zones {
		o := fmt.Sprintf("z%d.example.", i)
		if i < 3 {
			st.Zone(t, o, smallZone(o))
		}
		origins = append(origins, zone.MustParseName(o))
	}
	src, _ := open(t, edge.Config{URL: st.URL(), CacheDir: t.TempDir()})
	if err := src.PoPs().Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine() + 5 // the store's own may still be starting
	for i, d := range src.Claim(origins) {
		if err := d.Settle(t.Context()); err != nil {
			t.Fatalf("zone %d: %v", i, err)
		}
	}
	until(t, "one goroutine a zone is left", func() bool { return runtime.NumGoroutine() <= before+zones })
	src.Release(origins)
	until(t, "and none after the release", func() bool { return runtime.NumGoroutine() <= before })
}
