package dataset

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store"
)

func TestCacheServesTheLastVersionAtTheNextStart(t *testing.T) {
	live, path := newStore(t), t.TempDir()
	w := NewWriter(live, testRef)
	put(t, w, of("a=0"))
	r := follow(t, live, FollowOptions[*pairs]{Cache: openDir(t, path)})
	r.await(t, 1)
	for i := range 10 {
		put(t, w, of(fmt.Sprint("a=", i+1)))
	}
	r.await(t, 11)
	_ = r.stop()

	// The next process: at first without the store.
	cache := openDir(t, path)
	next := prepare(t, live, FollowOptions[*pairs]{Cache: cache})
	if err := next.LoadCache(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := next.await(t, 11)
	wantItems(t, v, 11, of("a=10"))
	if v.Source != Disk || next.Current() != v {
		t.Fatalf("source %s, current %p, told %p", v.Source, next.Current(), v)
	}
	next.start(t)
	if v := next.await(t, 11); v.Source != Live {
		t.Fatalf("source %s after the store confirmed it", v.Source)
	}
	put(t, w, of("a=11"))
	wantItems(t, next.await(t, 12), 12, of("a=11"))
	_ = next.stop()
	wantItems(t, mustLoad(t, cache), 12, of("a=11"))
}

func TestCacheOfAnotherClusterFreezesTheFollower(t *testing.T) {
	path := t.TempDir()
	for i, live := range []store.Store{newStore(t), newStore(t)} {
		put(t, NewWriter(live, testRef), of(fmt.Sprint("cluster=", i)))
		r := prepare(t, live, FollowOptions[*pairs]{Cache: openDir(t, path)})
		if i == 0 {
			r.start(t)
			r.await(t, 1)
			_ = r.stop()
			continue
		}
		if err := r.LoadCache(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.await(t, 1)
		r.start(t)
		r.awaitRefusal(t, ReasonCluster)
		wantItems(t, r.Current(), 1, of("cluster=0"))
	}
}

func TestDamagedCacheIsRefusedReportedAndReplaced(t *testing.T) {
	for _, node := range []string{"head", "base/1/m", "base/1/0001"} {
		t.Run(strings.ReplaceAll(node, "/", "_"), func(t *testing.T) {
			live, cache := newStore(t), openDir(t, t.TempDir())
			put(t, NewWriter(live, testRef), of("a=1"))
			r := follow(t, live, FollowOptions[*pairs]{Cache: cache})
			r.await(t, 1)
			_ = r.stop()
			overwrite(t, cache, "zones/example.org/"+node, []byte("junk"))

			var told []error
			next := prepare(t, live, FollowOptions[*pairs]{Cache: cache, OnCacheError: func(err error) { told = append(told, err) }})
			if err := next.LoadCache(t.Context()); err == nil {
				t.Fatal("a damaged cache was loaded")
			}
			if len(told) != 1 || next.Current() != nil {
				t.Fatalf("told %v, current %v", told, next.Current())
			}
			next.start(t)
			next.await(t, 1)
			_ = next.stop()
			wantItems(t, mustLoad(t, cache), 1, of("a=1"))
		})
	}
}

func TestEmptyCacheIsNoError(t *testing.T) {
	r := prepare(t, newStore(t), FollowOptions[*pairs]{Cache: openDir(t, t.TempDir())})
	wantErr(t, r.LoadCache(t.Context()), ErrNoDataset)
	wantErr(t, prepare(t, newStore(t), FollowOptions[*pairs]{}).LoadCache(t.Context()), ErrNoDataset)
}

func TestFailingDiskIsToldAndNeverStopsTheFollower(t *testing.T) {
	live := newStore(t)
	disk := &faulty{Store: openDir(t, t.TempDir())}
	disk.onWrite = func(int, []store.Op) fault { return refused }
	told := make(chan error, 100)
	w := NewWriter(live, testRef)
	put(t, w, of("a=1"))
	r := follow(t, live, FollowOptions[*pairs]{Cache: disk, OnCacheError: func(err error) { told <- err }})
	r.await(t, 1)
	select {
	case err := <-told:
		wantErr(t, err, store.ErrUnavailable)
	case <-time.After(20 * time.Second):
		t.Fatal("the disk's failure was not told")
	}
	disk.set(func(f *faulty) { f.onWrite = nil })
	put(t, w, of("a=2"))
	r.await(t, 2)
	_ = r.stop()
	wantItems(t, mustLoad(t, disk), 2, of("a=2"))
}

func TestFullDiskIsUsedAgainWithoutANewVersion(t *testing.T) {
	live := newStore(t)
	disk := &faulty{Store: openDir(t, t.TempDir())}
	disk.onWrite = func(int, []store.Op) fault { return refused }
	var told atomic.Int32
	w := NewWriter(live, testRef)
	put(t, w, of("a=0"))
	r := follow(t, live, FollowOptions[*pairs]{Cache: disk, OnCacheError: func(error) { told.Add(1) }})
	const versions = 50
	for i := range versions {
		put(t, w, of(fmt.Sprint("a=", i+1)))
	}
	r.await(t, versions+1)
	if n := told.Load(); n > versions/2 {
		t.Errorf("told %d times of one full disk during %d versions", n, versions)
	}
	disk.set(func(f *faulty) { f.onWrite = nil })
	began := time.Now()
	for {
		v, err := Load(t.Context(), disk, testRef)
		if err == nil && v.Head.Serial == versions+1 {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("the version is not in the cache: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestTwoFollowersShareACacheDuringReload(t *testing.T) {
	live, path := newStore(t), t.TempDir()
	w := NewWriter(live, testRef)
	put(t, w, of("a=0"))
	old := follow(t, live, FollowOptions[*pairs]{Cache: openDir(t, path)})
	old.await(t, 1)
	young := prepare(t, live, FollowOptions[*pairs]{Cache: openDir(t, path)})
	if err := young.LoadCache(t.Context()); err == nil {
		young.await(t, 1)
	}
	young.start(t)
	for i := range 30 {
		put(t, w, of(fmt.Sprint("a=", i+1), "pad="+strings.Repeat("x", i*1000)))
	}
	old.await(t, 31)
	_ = old.stop()
	put(t, w, of("a=end"))
	young.await(t, 32)
	_ = young.stop()
	wantItems(t, mustLoad(t, openDir(t, path)), 32, of("a=end"))
}

func TestCacheStaysSmallUnderManyVersions(t *testing.T) {
	live, cache := newStore(t), openDir(t, t.TempDir())
	w := NewWriter(live, testRef)
	put(t, w, of("a=0"))
	r := follow(t, live, FollowOptions[*pairs]{Cache: cache})
	r.await(t, 1)
	for i := range 12 {
		put(t, w, of(fmt.Sprint("a=", i), "pad="+strings.Repeat(string(rune('a'+i)), 100_000)))
		r.await(t, uint32(i)+2)
	}
	_ = r.stop()
	wantItems(t, mustLoad(t, cache), 13, of("a=11", "pad="+strings.Repeat("l", 100_000)))
	if gens := children(t, cache, "zones/example.org/base"); len(gens) != 1 {
		t.Errorf("generations %v, want one", gens)
	}
	if log := children(t, cache, "zones/example.org/log"); len(log) > 3 {
		t.Errorf("log %v, want at most what 256 KiB hold", log)
	}
}
