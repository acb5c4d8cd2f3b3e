package dataset

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store"
)

func zoneRef(name string, k Keys) Ref[*pairs] {
	return Ref[*pairs]{Path: ZonePath(name), Codec: pairsCodec{}, Keys: k}
}

// publishZone makes a version that differs from all before.
func publishZone(t *testing.T, s store.Store, ref Ref[*pairs], c Commit) *Receipt {
	t.Helper()
	r, err := NewWriter(s, ref).Commit(t.Context(), c, to(of("id", newUUID())))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func removeZone(t *testing.T, s store.Store, ref Ref[*pairs]) Tombstone {
	t.Helper()
	stone, err := NewWriter(s, ref).Remove(t.Context(), Commit{By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return stone
}

func catalogOf(t *testing.T, s store.Store) Catalog {
	t.Helper()
	c, err := ReadCatalog(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRemovedDatasetComesBackWithSerialsThatGoOn(t *testing.T) {
	eachStore(t, func(t *testing.T, open func() store.Store) {
		t.Helper()
		s := open()
		initialise(t, s)
		ref := zoneRef("example.org", Keys{})
		if _, err := NewWriter(s, ref).Remove(t.Context(), Commit{}); !errors.Is(err, ErrNoDataset) {
			t.Errorf("removing what never was: %v", err)
		}
		if _, err := s.Get(t.Context(), ref.Path); !errors.Is(err, store.ErrNoNode) {
			t.Errorf("removing what never was left nodes: %v", err)
		}
		publishZone(t, s, ref, Commit{MinSerial: 41})
		last := publishZone(t, s, ref, Commit{})
		before := mustLoadRef(t, s, ref)

		stone := removeZone(t, s, ref)
		if stone.Serial != last.New || stone.By != "test" {
			t.Errorf("tombstone %+v, want serial %d by test", stone, last.New)
		}
		if c := catalogOf(t, s); len(c.Zones) != 0 || len(c.Removed) != 1 || c.Removed[0].Path != ref.Path || c.Removed[0].Serial != last.New {
			t.Errorf("catalog after the removal: %+v", c)
		}
		if _, err := Load(t.Context(), s, ref); !errors.Is(err, ErrNoDataset) {
			t.Errorf("load after the removal: %v", err)
		}
		kept, err := LoadRemoved(t.Context(), s, ref)
		if err != nil || !maps.Equal(kept.Value.items, before.Value.items) {
			t.Errorf("what was removed: %v, %v; want %v", kept, err, before.Value)
		}
		if _, err := NewWriter(s, ref).Remove(t.Context(), Commit{}); !errors.Is(err, ErrNoDataset) {
			t.Errorf("removing twice: %v", err)
		}

		again := publishZone(t, s, ref, Commit{MinSerial: 7})
		if again.New != last.New+1 || again.Old != 0 {
			t.Errorf("published again with serial %d → %d, want a first version above %d", again.Old, again.New, last.New)
		}
		if !again.Head.ForcedSince(last.New) {
			t.Error("an edge that missed the removal would measure the new content by the old")
		}
		if c := catalogOf(t, s); len(c.Removed) != 0 || !slices.Equal(c.Zones, []string{"example.org"}) {
			t.Errorf("catalog after it was published again: %+v", c)
		}
		if _, err := LoadRemoved(t.Context(), s, ref); !errors.Is(err, ErrNoDataset) {
			t.Errorf("what was removed is still there: %v", err)
		}
		mustLoadRef(t, s, ref)
	})
}

func mustLoadRef(t *testing.T, s store.Store, ref Ref[*pairs]) *Version[*pairs] {
	t.Helper()
	v, err := Load(t.Context(), s, ref)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestRemoverKilledAtEachStepLeavesAllOrNothing, and a lost reply is made good.
func TestRemoverKilledAtEachStepLeavesAllOrNothing(t *testing.T) {
	ref := zoneRef("example.org", Keys{})
	for _, what := range []fault{refused, lostReply, lostQuery} {
		for n := 1; ; n++ {
			s := newStore(t)
			publishZone(t, s, ref, Commit{})
			dying := &faulty{Store: s, onWrite: func(i int, _ []store.Op) fault {
				if i == n || what == refused && i > n {
					return what
				}
				return fine
			}}
			_, err := NewWriter[*pairs](dying, ref).Remove(t.Context(), Commit{By: "dying"})
			c := catalogOf(t, s)
			_, lerr := Load(t.Context(), s, ref)
			stone, dead := c.Tombstone(ref.Path)
			if gone := errors.Is(lerr, ErrNoDataset); gone != dead || dead == c.Lists(ref.Path) || err == nil && !dead {
				t.Fatalf("fault %d at write %d: head gone %t, tombstone %+v, listed %t, error %v", what, n, gone, stone, c.Lists(ref.Path), err)
			}
			if err != nil && what != refused {
				t.Fatalf("fault %d at write %d: %v", what, n, err)
			}
			if dying.commits < n {
				break
			}
		}
	}
}

func TestTombstonesMakeRoomOnlyWhenTheyStoodLongEnough(t *testing.T) {
	start := time.Now()
	c := Catalog{Cluster: "c"}
	for i := range maxTombstones {
		if _, err := c.bury(Tombstone{Path: ZonePath(fmt.Sprintf("z%04d", i)), At: start.Add(time.Duration(i) * time.Second)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.bury(Tombstone{Path: "zones/new", At: start.Add(keepTombstones - time.Second)}); err == nil {
		t.Error("a tombstone that edges may not have seen made room")
	}
	dropped, err := c.bury(Tombstone{Path: "zones/new", At: start.Add(keepTombstones)})
	if err != nil || !slices.Equal(dropped, []string{"zones/z0000"}) {
		t.Errorf("dropped %q, %v; want the oldest", dropped, err)
	}
	if err := c.check(); err != nil {
		t.Error(err)
	}
	b, err := c.marshal(newKeys(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d tombstones are %d bytes", maxTombstones, len(b))
}

func TestPurgeLeavesNothingButDirectories(t *testing.T) {
	s := newStore(t)
	ref := zoneRef("example.org", Keys{})
	for range 3 {
		publishZone(t, s, ref, Commit{})
	}
	if err := purge(t.Context(), s, ref.Path); err != nil {
		t.Fatal(err)
	}
	mustLoadRef(t, s, ref) // it lives
	removeZone(t, s, ref)
	if err := purge(t.Context(), s, ref.Path); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{logDir(ref.Path), baseDir(ref.Path), historyDir(ref.Path)} {
		if left := children(t, s, dir); len(left) > 0 {
			t.Errorf("%s has %q", dir, left)
		}
	}
	if got := publishZone(t, s, ref, Commit{}); got.New != 4 {
		t.Errorf("serial %d after the purge, want 4, by the tombstone", got.New)
	}
}

// TestPublishingAgainListsWhatADeadPublisherDidNot.
func TestPublishingAgainListsWhatADeadPublisherDidNot(t *testing.T) {
	s := newStore(t)
	ref := zoneRef("example.org", Keys{})
	v := of("a", "1")
	for _, unlisted := range []bool{true, false} {
		if _, err := NewWriter(s, ref).Commit(t.Context(), Commit{Unlisted: unlisted}, to(v)); err != nil {
			t.Fatal(err)
		}
		if c := catalogOf(t, s); c.Lists(ref.Path) == unlisted {
			t.Errorf("unlisted %t: listed %t", unlisted, !unlisted)
		}
	}
}

func TestManyAreListedByOneUpdate(t *testing.T) {
	s := newStore(t)
	paths := make([]string, 0, 500)
	for i := range 500 {
		paths = append(paths, ZonePath(fmt.Sprintf("z%d.example", i)))
	}
	if err := Prepare(t.Context(), s, paths); err != nil {
		t.Fatal(err)
	}
	before := catalogOf(t, s)
	for range 2 {
		if err := ListAll(t.Context(), s, Keys{}, paths, false); err != nil {
			t.Fatal(err)
		}
		if c := catalogOf(t, s); c.Rev != before.Rev+1 || len(c.Zones) != len(paths) {
			t.Errorf("revision %d with %d zones", c.Rev, len(c.Zones))
		}
	}
	publishZone(t, s, zoneRef("z7.example", Keys{}), Commit{})
	mustLoadRef(t, s, zoneRef("z7.example", Keys{}))
}

// TestNewDatasetsOfManyPublishersAreAllListed: they all change the one catalog.
func TestNewDatasetsOfManyPublishersAreAllListed(t *testing.T) {
	s := newStore(t)
	const publishers = 12
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() {
			r, err := NewWriter(s, zoneRef(fmt.Sprintf("z%d.example", i), Keys{})).Commit(t.Context(), Commit{}, to(of("a", "1")))
			if err != nil || r.Cleanup != nil {
				t.Errorf("publisher %d: %v, %v", i, err, r)
			}
		})
	}
	wg.Wait()
	if c := catalogOf(t, s); len(c.Zones) != publishers {
		t.Errorf("%d of %d are listed: %q", len(c.Zones), publishers, c.Zones)
	}
}

// TestWhoeverHasNoKeyNeitherAddsNorRemoves: a catalog of another's making changes nothing that a reader with keys knows, and no writer with a key
// signs it unasked.
func TestWhoeverHasNoKeyNeitherAddsNorRemoves(t *testing.T) {
	s := newStore(t)
	keys, mallory := newKeys(t), newKeys(t)
	publishZone(t, s, zoneRef("example.org", keys), Commit{})
	good := read(t, s, catalogPath)
	f := &followed{t: t, f: NewCatalogFollower(s, Keys{Verify: keys.Verify}, CatalogOptions{})}
	f.read(good)
	f.want("", "example.org")

	c := catalogOf(t, s)
	c.Rev += 5
	c.Zones = nil
	c.Removed = []Tombstone{{Path: "zones/example.org", Serial: 1, At: time.Now()}}
	unsigned, err := c.marshal(Keys{})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := c.marshal(mallory)
	if err != nil {
		t.Fatal(err)
	}
	swapped := append(slices.Clone(good[:signatureBytes]), body(unsigned)...)
	headPurposed := Keys{Sign: keys.Sign}.seal(headPurpose, body(unsigned))
	for name, forged := range map[string][]byte{"unsigned": unsigned, "other key": signed, "other signature": swapped, "head's signature": headPurposed} {
		f.read(forged)
		f.want(ReasonSigned, "example.org")
		overwrite(t, s, catalogPath, forged)
		ref := zoneRef("new.example", keys)
		_, err := NewWriter(s, ref).Commit(t.Context(), Commit{}, to(of("a", "1")))
		if r, refused := asRefusal(err, 0); !refused || r.Reason != ReasonSigned {
			t.Errorf("%s: a new zone was signed into it: %v", name, err)
		}
		if _, err := NewWriter(s, zoneRef("example.org", keys)).Remove(t.Context(), Commit{}); err == nil {
			t.Errorf("%s: a removal was signed into it", name)
		}
		// Versions of what is listed go on.
		publishZone(t, s, zoneRef("example.org", keys), Commit{})
	}
	publishZone(t, s, zoneRef("new.example", keys), Commit{Force: true})
	f.read(read(t, s, catalogPath))
	f.want("", "new.example") // the forger's tombstone, which the operator has signed
}

// followed drives a CatalogFollower by hand.
type followed struct {
	t *testing.T
	f *CatalogFollower
	// reason of the last refusal, "" if there was none
	reason string
}

func (f *followed) read(node []byte) {
	f.t.Helper()
	f.reason = ""
	next, err := f.f.take(f.t.Context(), node)
	if err != nil {
		r, ok := asRefusal(err, 0)
		if !ok {
			f.t.Fatalf("%v is no refusal", err)
		}
		f.reason = r.Reason
	}
	if next != nil {
		f.f.cur.Store(next)
	}
}

func (f *followed) want(reason string, zones ...string) {
	f.t.Helper()
	if got := f.f.Current(); f.reason != reason || got == nil || !slices.Equal(got.Zones, zones) {
		f.t.Errorf("known %+v, refused for %q; want zones %q and %q", got, f.reason, zones, reason)
	}
}

// TestCatalogHistoriesAgreeWithTheModel: whatever happens to the catalog, and however much of it a reader misses, the reader serves the zones
// that it ever saw listed and that no tombstone has ended since; and once it has read the honest catalog, exactly the published ones if it missed
// no dropped tombstone. A reader that starts anew from its disk cache serves the same.
func TestCatalogHistoriesAgreeWithTheModel(t *testing.T) {
	for range 40 {
		catalogHistory(t, seeded(t))
	}
}

func catalogHistory(t *testing.T, r *rand.Rand) {
	t.Helper()
	s, cache := newStore(t), openDir(t, memoryDir(t))
	names := []string{"a.example", "b.example", "c.example", "d.example", "example"}
	live := map[string]bool{} // by the writers
	serials := map[string]uint32{}
	seen := map[string]bool{} // by the reader's rule, of honest catalogs
	var old [][]byte          // honest catalogs of the past
	f := &followed{t: t, f: NewCatalogFollower(s, Keys{}, CatalogOptions{Cache: cache})}
	for step := range 60 {
		name := names[r.IntN(len(names))]
		ref := zoneRef(name, Keys{})
		honest := read(t, s, catalogPath)
		old = append(old, honest)
		lie := []byte(nil)
		switch n := r.IntN(10); {
		case n < 3:
			got := publishZone(t, s, ref, Commit{MinSerial: r.Uint32N(3)})
			if err := ListAll(t.Context(), s, Keys{}, []string{ref.Path}, false); err != nil { // undoes n == 9
				t.Fatal(err)
			}
			if serials[name] != 0 && !newer(got.New, serials[name]) {
				t.Fatalf("step %d: %s went from serial %d to %d", step, name, serials[name], got.New)
			}
			live[name], serials[name] = true, got.New
		case n < 5 && live[name]:
			removeZone(t, s, ref)
			delete(live, name)
		case n == 5: // garbage
			lie = bytes.Repeat([]byte{byte(r.IntN(256))}, r.IntN(50))
		case n == 6: // truncated, or a byte changed
			lie = slices.Clone(honest)
			if lie = lie[:r.IntN(len(lie))]; len(lie) > 0 {
				lie[r.IntN(len(lie))] ^= 1
			}
		case n == 7: // an older one
			lie = old[r.IntN(len(old))]
			if f.f.Current() == nil || catalogRev(t, lie) >= f.f.Current().Rev {
				lie = nil
			}
		case n == 8: // another store's: empty, and far ahead
			lie, _ = json.Marshal(Catalog{Cluster: "other", Epoch: 1, Rev: 1 << 40, Zones: []string{}, Maps: []string{}})
		case n == 9: // somebody edited the list by hand
			c := catalogOf(t, s)
			if i := slices.Index(c.Zones, name); i >= 0 {
				c.Zones = slices.Delete(c.Zones, i, i+1)
				c.Rev++
				b, err := c.marshal(Keys{})
				if err != nil {
					t.Fatal(err)
				}
				overwrite(t, s, catalogPath, b)
				delete(live, name) // for whoever starts anew
			}
		}
		if lie != nil && f.f.Current() != nil {
			before := f.f.Current()
			f.read(lie)
			if f.f.Current() != before && !bytes.Equal(lie, honest) {
				t.Fatalf("step %d: %.60q changed what is served from %v to %v", step, lie, before.Zones, f.f.Current().Zones)
			}
		}
		if r.IntN(3) == 0 {
			continue // the reader misses this one
		}
		f.read(read(t, s, catalogPath))
		c := catalogOf(t, s)
		for _, z := range c.Zones {
			seen[z] = true
		}
		for _, stone := range c.Removed {
			delete(seen, strings.TrimPrefix(stone.Path, "zones/"))
		}
		want := slices.Sorted(maps.Keys(seen))
		if want == nil {
			want = []string{}
		}
		f.want("", want...)
		for z := range live {
			if !seen[z] {
				t.Fatalf("step %d: %s is published and not served", step, z)
			}
		}
		if err := f.f.save(t.Context(), f.f.Current()); err != nil {
			t.Fatal(err)
		}
		if r.IntN(5) == 0 {
			anew := NewCatalogFollower(s, Keys{}, CatalogOptions{Cache: cache})
			if err := anew.LoadCache(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.f = anew
			f.want("", want...)
			f.read(read(t, s, catalogPath)) // as it was: no news, and no refusal
			f.want("", want...)
		}
	}
}

func catalogRev(t *testing.T, node []byte) int64 {
	t.Helper()
	c, err := ParseCatalog(node)
	if err != nil {
		t.Fatal(err)
	}
	return c.Rev
}

func TestCatalogFollowerSurvivesWhatHappensToTheNode(t *testing.T) {
	s := newStore(t)
	publishZone(t, s, zoneRef("example.org", Keys{}), Commit{})
	changes, refusals := make(chan Catalog, 100), make(chan Refusal, 100)
	f := NewCatalogFollower(s, Keys{}, CatalogOptions{OnChange: func(c Catalog) { changes <- c }, OnRefused: func(r Refusal) { refusals <- r }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	if c := <-changes; !c.Lists("zones/example.org") {
		t.Errorf("first %+v", c)
	}
	node := read(t, s, catalogPath)
	if err := s.Commit(t.Context(), store.Delete(catalogPath, store.AnyVersion)); err != nil {
		t.Fatal(err)
	}
	if r := <-refusals; r.Reason != ReasonHead {
		t.Errorf("a missing node: %+v", r)
	}
	if err := s.Commit(t.Context(), store.Create(catalogPath, []byte("{"))); err != nil {
		t.Fatal(err)
	}
	if r := <-refusals; r.Reason != ReasonHead {
		t.Errorf("garbage: %+v", r)
	}
	overwrite(t, s, catalogPath, node)
	publishZone(t, s, zoneRef("example.net", Keys{}), Commit{})
	for c := range changes {
		if c.Lists("zones/example.net") && c.Lists("zones/example.org") {
			break
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestCatalogOfAnotherStoreCountsOnceItAdopts: until then it changes nothing, and the adoption alone brings it, without a change of the catalog. What
// the store before it listed stays until a tombstone ends it.
func TestCatalogOfAnotherStoreCountsOnceItAdopts(t *testing.T) {
	s := newStore(t)
	publishZone(t, s, zoneRef("example.org", Keys{}), Commit{})
	old := clusterOf(t, s).ID
	changes, refusals := make(chan Catalog, 100), make(chan Refusal, 100)
	f := NewCatalogFollower(s, Keys{}, CatalogOptions{
		Identity: identityOf(t, s, Keys{}),
		OnChange: func(c Catalog) { changes <- c }, OnRefused: func(r Refusal) { refusals <- r },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	<-changes

	id := another(t, s)
	c := Catalog{Cluster: id, Epoch: 1, Rev: 1, Zones: []string{"example.net"}, Maps: []string{}}
	node, err := c.marshal(Keys{})
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, s, catalogPath, node)
	if r := <-refusals; r.Reason != ReasonCluster {
		t.Errorf("before the adoption: %+v", r)
	}
	adopt(t, s, Keys{}, old)
	if c := <-changes; c.Cluster != id || !c.Lists("zones/example.net") || !c.Lists("zones/example.org") {
		t.Errorf("after the adoption: %+v", c)
	}
	c.Rev, c.Removed = 2, []Tombstone{{Path: "zones/example.org", Serial: 1, At: now()}}
	if node, err = c.marshal(Keys{}); err != nil {
		t.Fatal(err)
	}
	overwrite(t, s, catalogPath, node)
	if c := <-changes; !c.Lists("zones/example.net") || c.Lists("zones/example.org") {
		t.Errorf("after the tombstone: %+v", c)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func FuzzParseCatalog(f *testing.F) {
	c := Catalog{Cluster: "c", Epoch: 1, Rev: 2, Zones: []string{"@", "a%20b.example", "example.org"}, Maps: []string{"edge"},
		Removed: []Tombstone{{Path: "maps/old", Serial: 3, At: time.Unix(1, 0).UTC(), By: "x"}, {Path: "zones/gone.example", At: time.Unix(2, 0).UTC()}}}
	good, err := json.Marshal(c)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"cluster":"c","zones":["b","a"]}`))
	f.Add([]byte(`{"zones":["A"],"removed":[{"path":"zones/../x"}]}`))
	f.Add(append([]byte(signaturePrefix+strings.Repeat("A", signatureBytes-len(signaturePrefix)-1)+"\n"), good...))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCatalog(b)
		if err != nil {
			if r, ok := asRefusal(err, 0); !ok || r.Reason != ReasonHead && r.Reason != ReasonSize {
				t.Fatalf("%v is no refusal", err)
			}
			return
		}
		out, err := c.marshal(Keys{})
		if err != nil {
			return // larger than it came, by escapes
		}
		again, err := ParseCatalog(out)
		if err != nil {
			t.Fatalf("%q was taken and %q is not: %v", b, out, err)
		}
		if next, err := (*Catalog)(nil).step(c, false); err == nil {
			for _, zone := range next.Zones {
				if !again.Lists(ZonePath(ZoneName(zone))) {
					t.Fatalf("%q is listed and not found", zone)
				}
			}
		}
	})
}
