package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store"
)

// A running follower with what its hooks told.
type running struct {
	*Follower[*pairs]
	versions chan *Version[*pairs]
	refusals chan Refusal
	stop     func() error
}

// follow starts a Follower; it is stopped at the test's end.
func follow(t *testing.T, s store.Store, o FollowOptions[*pairs]) *running {
	t.Helper()
	r := prepare(t, s, o)
	r.start(t)
	return r
}

func prepare(t *testing.T, s store.Store, o FollowOptions[*pairs]) *running {
	t.Helper()
	r := &running{versions: make(chan *Version[*pairs], 10_000), refusals: make(chan Refusal, 10_000)}
	o.OnVersion = func(v *Version[*pairs]) { r.versions <- v }
	o.OnRefused = func(no Refusal) { r.refusals <- no }
	if o.OnCacheError == nil {
		o.OnCacheError = func(err error) { t.Errorf("cache: %v", err) }
	}
	r.Follower = NewFollower(s, testRef, o)
	return r
}

func (r *running) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	r.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() { _ = r.stop() })
}

// await returns the first version with the serial, and fails when the follower went back on the way.
func (r *running) await(t *testing.T, serial uint32) *Version[*pairs] {
	t.Helper()
	last := uint32(0)
	for {
		select {
		case v := <-r.versions:
			if v.Head.Serial < last {
				t.Fatalf("serial went back from %d to %d", last, v.Head.Serial)
			}
			if last = v.Head.Serial; last == serial {
				return v
			}
		case no := <-r.refusals:
			t.Fatalf("waiting for serial %d: refused for %q: %v", serial, no.Reason, no.Err)
		case <-time.After(20 * time.Second):
			t.Fatalf("serial %d did not come, last %d", serial, last)
		}
	}
}

func (r *running) awaitRefusal(t *testing.T, reason string) Refusal {
	t.Helper()
	select {
	case no := <-r.refusals:
		if no.Reason != reason {
			t.Fatalf("refused for %q (%v), want %q", no.Reason, no.Err, reason)
		}
		return no
	case <-time.After(20 * time.Second):
		t.Fatalf("nothing was refused, want %q", reason)
	}
	return Refusal{}
}

func TestFollowerSeesEveryCommittedStateInOrder(t *testing.T) {
	eachStore(t, func(t *testing.T, open func() store.Store) {
		t.Helper()
		r := follow(t, open(), FollowOptions[*pairs]{})
		if r.Current() != nil {
			t.Fatal("a version before the first commit")
		}
		w := NewWriter(open(), testRef)
		for i := range 20 {
			put(t, w, of(fmt.Sprint("a=", i), fmt.Sprint("b=", i)))
			v := r.await(t, uint32(i)+1)
			wantItems(t, v, uint32(i)+1, of(fmt.Sprint("a=", i), fmt.Sprint("b=", i)))
			if r.Current() != v || v.Source != Live {
				t.Fatalf("current %p, told %p, source %s", r.Current(), v, v.Source)
			}
		}
		if err := r.stop(); !errors.Is(err, context.Canceled) {
			t.Fatalf("Run ended with %v", err)
		}
	})
}

// TestFollowerTellsTheVersionsThatItPassed starts from a cache that is behind.
func TestFollowerTellsTheVersionsThatItPassed(t *testing.T) {
	s, cache := newStore(t), newStore(t)
	w := NewWriter[*pairs](s, testRef)
	put(t, w, of("a=0", "b=0"))
	before := follow(t, s, FollowOptions[*pairs]{Cache: cache})
	before.await(t, 1)
	if err := before.stop(); !errors.Is(err, context.Canceled) { // waits for the cache's writer
		t.Fatal(err)
	}
	for i := range 4 {
		put(t, w, of(fmt.Sprint("a=", i+1), "b=0"))
	}
	var passed []string
	r := prepare(t, s, FollowOptions[*pairs]{Cache: cache, OnPassed: func(between iter.Seq[*pairs]) {
		for p := range between {
			passed = append(passed, fmt.Sprint(p.serial, " ", p))
		}
	}})
	if err := r.LoadCache(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.start(t)
	r.await(t, 5)
	want := make([]string, 0, 3)
	for i := range 3 {
		p := of(fmt.Sprint("a=", i+1), "b=0")
		want = append(want, fmt.Sprint(i+2, " ", p))
	}
	if !slices.Equal(passed, want) {
		t.Errorf("passed %q, want %q", passed, want)
	}
}

func TestFollowerNearTheHeadReadsNothingButTheHead(t *testing.T) {
	f := &faulty{Store: newStore(t)}
	w := NewWriter[*pairs](f.Store, testRef)
	put(t, w, of("a=0"))
	r := follow(t, f, FollowOptions[*pairs]{})
	r.await(t, 1)
	var reads atomic.Int32
	f.set(func(f *faulty) {
		f.onRead = func(_ string, n store.Node, err error) (store.Node, error) {
			reads.Add(1)
			return n, err
		}
	})
	for i := range 5 {
		put(t, w, of(fmt.Sprint("a=", i+1)))
	}
	r.await(t, 6)
	if n := reads.Load(); n != 0 {
		t.Errorf("%d reads besides the watch", n)
	}
}

// rewriteHead changes the head in the store as a bad committer would.
func rewriteHead(t *testing.T, s store.Store, change func(*Head)) {
	t.Helper()
	var h Head
	if err := json.Unmarshal(read(t, s, "zones/example.org/head"), &h); err != nil {
		t.Fatal(err)
	}
	change(&h)
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, s, "zones/example.org/head", b)
}

func TestFollowerKeepsLastGoodVersionWhenTheHead(t *testing.T) {
	raw := func(data string) func(*testing.T, store.Store) {
		return func(t *testing.T, s store.Store) {
			t.Helper()
			overwrite(t, s, "zones/example.org/head", []byte(data))
		}
	}
	edit := func(change func(*Head)) func(*testing.T, store.Store) {
		return func(t *testing.T, s store.Store) {
			t.Helper()
			rewriteHead(t, s, change)
		}
	}
	to4 := func(h *Head) { h.Serial, h.Log = 4, []Run{{1, 2, 4}} }
	for name, c := range map[string]struct {
		reason string
		damage func(*testing.T, store.Store)
	}{
		"is junk":                   {ReasonHead, raw("\x00\xffjunk")},
		"is empty":                  {ReasonHead, raw("")},
		"is an array":               {ReasonHead, raw("[]")},
		"is nested deeply":          {ReasonHead, raw(strings.Repeat("[", 60_000))},
		"is too big":                {ReasonSize, raw(strings.Repeat(" ", MaxHeadBytes+1))},
		"is of a future format":     {ReasonHead, edit(func(h *Head) { h.V = 2; h.Serial = 9 })},
		"has no serial":             {ReasonHead, edit(func(h *Head) { h.Serial = 0 })},
		"does not lead to a serial": {ReasonHead, edit(func(h *Head) { h.Serial = 9 })},
		"is of another zone":        {ReasonName, edit(func(h *Head) { h.Name = "zones/example.com" })},
		"is of another kind":        {ReasonName, edit(func(h *Head) { h.Kind = "map" })},
		"is of another cluster":     {ReasonCluster, edit(func(h *Head) { h.Cluster = "other" })},
		"is of an earlier epoch":    {ReasonCluster, edit(func(h *Head) { h.Epoch = 0 })},
		"goes back":                 {ReasonSerial, edit(func(h *Head) { h.Serial, h.Log, h.Inline = 2, []Run{{1, 2, 2}}, nil })},
		"repeats the serial for other content": {ReasonSerial, edit(func(h *Head) {
			h.Commit = "x"
			h.Items++
		})},
		"states another sum": {ReasonSum, edit(func(h *Head) { to4(h); h.Inline = []Inline{{3, 4, []byte("+c=1 @4")}} })},
		"has a delta that can't be applied": {ReasonDelta, edit(func(h *Head) {
			to4(h)
			h.Inline = []Inline{{3, 4, []byte("?")}}
		})},
		"lists a log entry that is missing": {ReasonDelta, edit(func(h *Head) { to4(h); h.Inline = nil })},
		"names an image that is missing":    {ReasonBase, edit(func(h *Head) { h.Serial, h.Base.Serial, h.Log, h.Inline, h.Gen = 9, 9, nil, nil, 7 })},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			w := NewWriter(s, testRef)
			for i := range 3 {
				put(t, w, of(fmt.Sprint("a=", i)))
			}
			r := follow(t, s, FollowOptions[*pairs]{})
			good := r.await(t, 3)
			c.damage(t, s)
			no := r.awaitRefusal(t, c.reason)
			if !strings.Contains(no.Error(), "zones/example.org") {
				t.Errorf("error %q does not name the dataset", no)
			}
			if r.Current() != good {
				t.Fatalf("serving serial %d, want the last good version", r.Current().Head.Serial)
			}
			// Forced over the damage, the next version comes through.
			if _, err := NewWriter(s, testRef).Commit(t.Context(), Commit{Force: true, MinSerial: 20}, to(of("a=new"))); err != nil {
				t.Fatalf("a forced commit over the damage: %v", err)
			}
			if c.reason != ReasonCluster || name == "is of an earlier epoch" {
				wantItems(t, r.await(t, 20), 20, of("a=new"))
			}
		})
	}
}

func TestFollowerRefusesDamagedNodesAndReportsEachHeadOnce(t *testing.T) {
	for name, c := range map[string]struct {
		reason, path string
		data         func([]byte) []byte
	}{
		"flipped chunk":      {ReasonBase, "zones/example.org/base/1/0000", flip},
		"truncated chunk":    {ReasonBase, "zones/example.org/base/1/0001", half},
		"flipped manifest":   {ReasonBase, "zones/example.org/base/1/m", flip},
		"truncated manifest": {ReasonBase, "zones/example.org/base/1/m", half},
		"flipped log entry":  {ReasonDelta, "zones/example.org/log/0000000003", flip},
		"log entry without its end": {ReasonDelta, "zones/example.org/log/0000000003", func(b []byte) []byte {
			return b[:len(b)-1]
		}},
		"log entry too big": {ReasonSize, "zones/example.org/log/0000000003", func([]byte) []byte {
			return make([]byte, MaxDeltaBytes+maxEntryHeaderBytes+1)
		}},
		"log entry of another step": {ReasonDelta, "zones/example.org/log/0000000003", func(b []byte) []byte {
			return []byte(strings.Replace(string(b), `"from":2`, `"from":1`, 1))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			w := NewWriter(s, testRef)
			for i := range 3 {
				put(t, w, of(fmt.Sprint("a=", i)))
			}
			rewriteHead(t, s, func(h *Head) { h.Inline = nil })
			sound := read(t, s, c.path)
			overwrite(t, s, c.path, c.data(sound))
			r := follow(t, s, FollowOptions[*pairs]{})
			r.awaitRefusal(t, c.reason)
			if r.Current() != nil {
				t.Fatal("damaged data is served")
			}
			// Repaired in place: no watch fires, the follower's own retry finds it, and no second report came before.
			overwrite(t, s, c.path, sound)
			wantItems(t, r.await(t, 3), 3, of("a=2"))
		})
	}
}

func flip(b []byte) []byte {
	out := append([]byte(nil), b...)
	out[len(out)-1] ^= 1
	return out
}

func half(b []byte) []byte { return b[:len(b)/2] }

func TestFollowerFallsBackToTheImageWhenItsDeltasAreWrong(t *testing.T) {
	s := newStore(t)
	w := NewWriter(s, testRef)
	put(t, w, of("a=0"))
	r := follow(t, s, FollowOptions[*pairs]{})
	r.await(t, 1)
	// A new image, with an inline delta that leads elsewhere.
	big := of("a=0", "pad="+strings.Repeat("x", MaxDeltaBytes))
	f := &faulty{Store: s}
	f.onWrite = func(_ int, ops []store.Op) fault {
		for i, op := range ops {
			if op.Path == "zones/example.org/head" {
				h, err := ParseHead(op.Data)
				if err != nil {
					t.Error(err)
				}
				h.Log, h.Inline = []Run{{1, 2, 2}}, []Inline{{1, 2, []byte("+a=wrong @2")}}
				if ops[i].Data, err = h.marshal(Keys{}); err != nil {
					t.Error(err)
				}
			}
		}
		return fine
	}
	put(t, NewWriter[*pairs](f, testRef), big)
	wantItems(t, r.await(t, 2), 2, big)
}

func TestFollowerReportsAHeadThatDisappearsOnceAndGoesOnServing(t *testing.T) {
	s := newStore(t)
	put(t, NewWriter(s, testRef), of("a=1"))
	r := follow(t, s, FollowOptions[*pairs]{})
	good := r.await(t, 1)
	data := read(t, s, "zones/example.org/head")
	if err := s.Commit(t.Context(), store.Delete("zones/example.org/head", store.AnyVersion)); err != nil {
		t.Fatal(err)
	}
	no := r.awaitRefusal(t, ReasonHead)
	wantErr(t, no, store.ErrNoNode)
	if r.Current() != good {
		t.Fatal("the last good version is gone")
	}
	create(t, s, "zones/example.org/head", string(data))
	put(t, NewWriter(s, testRef), of("a=2"))
	r.await(t, 2)
}

func TestGuardRefusesAndForceLetsPassEvenWhenTheForcedVersionWasMissed(t *testing.T) {
	s := newStore(t)
	w := NewWriter(s, testRef)
	put(t, w, of("a=1", "b=1", "c=1", "d=1"))
	errPoison := errors.New("would delete most of it")
	r := follow(t, s, FollowOptions[*pairs]{Accept: func(old, v *Version[*pairs]) error {
		if old != nil && v.Head.Items < old.Head.Items/2+1 && !v.Head.ForcedSince(old.Head.Serial) {
			return errPoison
		}
		return nil
	}})
	good := r.await(t, 1)
	put(t, w, of("a=2"))
	no := r.awaitRefusal(t, ReasonGuard)
	wantErr(t, no.Err, errPoison)
	if no.Serial != 2 || r.Current() != good {
		t.Fatalf("refused serial %d, serving %d", no.Serial, r.Current().Head.Serial)
	}
	if err := r.stop(); err == nil {
		t.Fatal("Run ended without an error")
	}
	if _, err := w.Commit(t.Context(), Commit{Force: true}, to(of("a=3"))); err != nil {
		t.Fatal(err)
	}
	put(t, w, of("a=4"))
	r.start(t)
	wantItems(t, r.await(t, 4), 4, of("a=4"))
}

func TestFollowerRidesOutAStoreThatDoesNotAnswer(t *testing.T) {
	f := &faulty{Store: newStore(t)}
	put(t, NewWriter[*pairs](f.Store, testRef), of("a=1"))
	var failures atomic.Int32
	f.onRead = func(_ string, n store.Node, err error) (store.Node, error) {
		if failures.Add(1) <= 2 {
			return store.Node{}, store.ErrUnavailable
		}
		return n, err
	}
	r := follow(t, f, FollowOptions[*pairs]{})
	r.await(t, 1) // and fails if an outage is taken for a refusal
	if failures.Load() < 3 {
		t.Fatal("the store never failed")
	}
}

func TestRunEndsWhenTheStoreIsClosed(t *testing.T) {
	s := newStore(t)
	put(t, NewWriter(s, testRef), of("a=1"))
	f := NewFollower(s, testRef, FollowOptions[*pairs]{OnVersion: func(*Version[*pairs]) { go func() { _ = s.Close() }() }})
	wantErr(t, f.Run(t.Context()), store.ErrClosed)
	if f.Current() == nil {
		t.Fatal("closing the store took the version away")
	}
}

func TestBackoffGrowsToAMinuteAndStaysThere(t *testing.T) {
	for failures, want := range map[int]time.Duration{0: retryMin, 1: 2 * retryMin, 5: 32 * retryMin, 9: 512 * retryMin, 10: retryMax, 1000: retryMax} {
		for range 50 {
			if got := backoff(failures); got < want*3/4 || got > want*5/4 {
				t.Fatalf("after %d failures: %s, want %s ± a quarter", failures, got, want)
			}
		}
	}
}

func TestFollowerTellsOnceThatNothingIsPublishedYet(t *testing.T) {
	s := openDir(t, t.TempDir())
	absent := make(chan struct{}, 10)
	r := prepare(t, s, FollowOptions[*pairs]{OnAbsent: func() { absent <- struct{}{} }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx)
	}()
	<-absent
	cancel()
	<-done
	if len(absent) != 0 || r.Current() != nil {
		t.Errorf("told %d times more, current is %v; want once, and none", len(absent), r.Current())
	}
}
