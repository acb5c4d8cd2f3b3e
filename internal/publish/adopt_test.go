package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/mapfile"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/dir"
	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"
)

// memoryStore is newStore in memory, where the system has that: some thousand commits wait for no disk there.
func memoryStore(t *testing.T) store.Store {
	t.Helper()
	path, err := os.MkdirTemp("/dev/shm", "popdns-test-*") //nolint:usetesting // t.TempDir is on a disk
	if err != nil {
		return newStore(t)
	}
	s, err := dir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = s.Close(), os.RemoveAll(path) })
	if _, _, err := dataset.Init(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// copyIdentity gives to the identity of from, in an epoch of its own.
func copyIdentity(t *testing.T, from, to store.Store, epoch int64) {
	t.Helper()
	c, err := dataset.ReadCluster(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	c.Epoch = epoch
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Commit(t.Context(), store.Set("cluster", b, store.AnyVersion)); err != nil {
		t.Fatal(err)
	}
}

// randomStore fills a store with some of a PoP table, a map, a signed and an unsigned zone.
func randomStore(t *testing.T, rnd *rand.Rand, s store.Store) {
	t.Helper()
	p := New(s, Options{Force: true})
	ok := func(err error) {
		t.Helper()
		if err != nil && !errors.Is(err, dataset.ErrSerial) {
			t.Fatal(err)
		}
	}
	for range rnd.IntN(8) {
		content := fmt.Sprintf("a A 192.0.2.%d", rnd.IntN(2))
		switch rnd.IntN(4) {
		case 0:
			pops, err := mapfile.ReadPoPs(strings.NewReader(fmt.Sprintf("ams1: {lat: %d, lon: 4}\n", rnd.IntN(2))), "pops")
			ok(err)
			_, err = p.ApplyPoPs(t.Context(), pops)
			ok(err)
		case 1:
			m, err := mapfile.ReadMap(strings.NewReader(fmt.Sprintf("default: [ams1]\nresolver: {192.0.2.%d/32: [ams1]}\n", rnd.IntN(2))), "map")
			ok(err)
			_, err = p.PublishMap(t.Context(), m.WithName("a map/1"))
			ok(err)
		case 2:
			_, err := p.PublishZone(t.Context(), zoneOfText(t, rnd.Uint32N(4), content))
			ok(err)
		case 3:
			_, err := p.PublishZone(t.Context(), zoneIn(t, "signed.test", 1+rnd.Uint32N(4), content, "@ RRSIG SOA 8 2 60 20300101000000 20260101000000 1 signed.test. AAAA"))
			ok(err)
		}
	}
}

func zoneIn(t *testing.T, origin string, serial uint32, records ...string) *zone.Snapshot {
	t.Helper()
	text := fmt.Sprintf("$ORIGIN %s.\n$TTL 60\n@ SOA ns hostmaster %d 3600 600 86400 60\n@ NS ns.example.net.\n%s\n", origin, serial, strings.Join(records, "\n"))
	s, err := zonefile.Read(strings.NewReader(text), "test.zone", zone.MustParseName(origin))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return s
}

// contents are what a store has, without the serials.
func contents(t *testing.T, s store.Store) map[string]string {
	t.Helper()
	paths, err := dataset.ListPaths(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, path := range paths {
		var b strings.Builder
		switch kind, key := dataset.SplitPath(path); kind {
		case "zones":
			origin := zone.MustParseName(dataset.ZoneName(key))
			v, err := load(t.Context(), s, ZoneRef(origin))
			if err != nil {
				t.Fatal(err)
			}
			if v == nil {
				continue
			}
			for set := range v.Value.WithSerial(1).RRsets() {
				fmt.Fprintln(&b, set)
			}
		case "maps":
			v, err := load(t.Context(), s, MapRef(dataset.MapName(key)))
			if err != nil {
				t.Fatal(err)
			}
			if err := WriteMap(&b, v.Value); err != nil {
				t.Fatal(err)
			}
		default:
			v, err := LoadPoPs(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			if v == nil {
				continue
			}
			for p := range v.All() {
				fmt.Fprintln(&b, p)
			}
		}
		out[path] = b.String()
	}
	return out
}

// TestAfterARestorationAnEdgeTakesAllOfItAndSeesNothingChange restores random caches into random stores: of another identity, or of the same in any epoch. An edge
// with the cache must take every dataset of it; what it refused before must have the cache's content, and what it would have taken the store's.
func TestAfterARestorationAnEdgeTakesAllOfItAndSeesNothingChange(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	restored, kept, stuck := 0, 0, 0
	for range 50 {
		cache, s := memoryStore(t), memoryStore(t)
		if rnd.IntN(2) == 0 {
			copyIdentity(t, cache, s, 1+rnd.Int64N(3))
			copyIdentity(t, cache, cache, 1+rnd.Int64N(3))
		}
		randomStore(t, rnd, cache)
		randomStore(t, rnd, s)
		p := New(s, Options{Force: true, By: "test"})
		before, err := p.CompareCache(t.Context(), cache)
		if errors.Is(err, dataset.ErrNoDataset) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		was, wanted := contents(t, s), contents(t, cache)
		if _, err = p.AdoptCache(t.Context(), cache, true); err != nil {
			t.Fatal(err)
		}
		own, err := p.Identity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		after, err := p.CompareCache(t.Context(), cache)
		if err != nil {
			t.Fatal(err)
		}
		have := contents(t, s)
		for i, d := range after {
			if d.Refused != "" && d.Path == "zones/signed.test" {
				stuck++ // another content, or an epoch that is over, is under this serial: it must be signed anew
				continue
			}
			if d.Refused != "" || d.head.Cluster != own.ID && !own.Succeeds(d.head.Cluster) {
				t.Fatalf("%s is refused after the restoration: %s", d.Path, d.Refused)
			}
			want := was[d.Path]
			if before[i].Refused != "" {
				want = wanted[d.Path]
				restored++
			} else {
				kept++
			}
			if have[d.Path] != want {
				t.Fatalf("%s (refused before: %q) has\n%s\nwant\n%s", d.Path, before[i].Refused, have[d.Path], want)
			}
		}
		again, err := p.AdoptCache(t.Context(), cache, true)
		if err != nil || again.Changed {
			t.Fatalf("a second time: %+v, %v", again.IdentityReceipt, err)
		}
		for _, d := range again.Datasets {
			if d.New != 0 {
				t.Fatalf("a second time %s is published again", d.Path)
			}
		}
		for _, d := range again.Datasets {
			if d.Refused != "" && d.Path != "zones/signed.test" {
				t.Fatalf("a second time %s is refused: %s", d.Path, d.Refused)
			}
		}
	}
	t.Logf("%d datasets restored, %d kept, %d zones that need their signer", restored, kept, stuck)
	if restored == 0 || kept == 0 {
		t.Error("the stores are not as random as they should be")
	}
}

// TestASignedZoneIsRestoredUnderItsOwnSerial: nobody but its signer can set another one.
func TestASignedZoneIsRestoredUnderItsOwnSerial(t *testing.T) {
	cache, s := newStore(t), newStore(t)
	z := zoneOfText(t, 5, "@ RRSIG SOA"+signature)
	mustPublish(t, cache, z)
	r, err := New(s, Options{}).AdoptCache(t.Context(), cache, true)
	if err != nil || len(r.Datasets) != 1 || r.Datasets[0].New != 5 || len(r.Added) != 1 {
		t.Fatalf("got %+v, %v", r, err)
	}
}

func TestAnIdentityIsNotChangedWhileTheStoreIsFrozen(t *testing.T) {
	s := newStore(t)
	if err := s.Commit(t.Context(), store.Create("freeze", nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := New(s, Options{}).RaiseEpoch(t.Context(), 2); !errors.Is(err, dataset.ErrFrozen) {
		t.Errorf("got %v", err)
	}
}
