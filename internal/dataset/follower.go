package dataset

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/popdns/popdns/internal/store"
)

// A Follower keeps the newest verified version of a dataset in memory. Whatever happens to the store, Current goes on
// returning the last good version, and never waits.
type Follower[V any] struct {
	s    store.Store
	ref  Ref[V]
	opts FollowOptions[V]
	cur  atomic.Pointer[Version[V]]

	cached   atomic.Bool // the disk cache was loaded, so it is sound
	refusing atomic.Bool // the newest head was refused

	saver *saver[V] // set by Run

	mu       sync.Mutex // one head after the other
	failures int        // in a row, of reading it
	reported report
	absent   bool            // it was said that there is no head yet
	missing  bool            // there was none when it was looked at last
	identity <-chan struct{} // closed when a head that was refused for its cluster may be tried again; nil for none
	retry    retry
}

// FollowOptions are a Follower's cache and hooks. All may be zero. The hooks are called one at a time, from Run or LoadCache
// (OnCached and OnCacheError from a goroutine that Run waits for); while one runs, nothing newer is taken, but Current goes on.
type FollowOptions[V any] struct {
	// Loads and Saves, if set, have room for as many as may load an image, and write to the cache, at once: followers share them, so that the start of
	// thousands neither floods the store nor the disk.
	Loads, Saves chan struct{}
	// Cache keeps the newest version for the next start. It may be shared with other followers of the same dataset, in this
	// process or another. It is not closed.
	Cache store.Store
	// Identity is asked whether the store succeeds the one that a version came from, when a head is of another cluster. nil: it succeeds none.
	Identity *Identity
	// Accept is a guard that does not trust the committer: its error refuses the version. old is nil if there is none yet.
	// Head.ForcedSince tells it what an operator forced.
	Accept func(old, new *Version[V]) error
	// OnPassed is told, right before OnVersion, the versions that lie between the last one and the new one and never were current: a
	// burst of commits is taken in one step. The sequence makes them when it is ranged over, at the cost of applying their deltas once more; it
	// must not be kept. It is not called when there are none, or when an image was loaded.
	OnPassed func(iter.Seq[V])
	// OnDeltas is told, right before OnVersion, the changes by which the new version was reached from the old one, in order and as the codec made them.
	// It is not called when there are none, or when an image was loaded.
	OnDeltas func(old, new V, deltas iter.Seq[[]byte])
	// OnVersion is told each version after it became current. The same version comes twice when the store confirms what the
	// disk cache held.
	OnVersion func(*Version[V])
	// OnAbsent is told once that the store was read and has no version yet.
	OnAbsent func()
	// OnRefused is told once for each head that is refused, however often it is read.
	OnRefused func(Refusal)
	// OnCached is told each time that a version was written to the cache.
	OnCached func()
	// OnCacheError is told when the cache can't be read or written. It is never fatal.
	OnCacheError func(error)
}

// A report identifies a refusal that was told already.
type report struct {
	head   [sha256.Size]byte
	reason string
}

const (
	// retryMin and retryMax bound the wait before the same head is tried again: a committer that collects old nodes is done
	// in milliseconds, and a damaged image must not be loaded more than once a minute by every edge.
	retryMin = 100 * time.Millisecond
	retryMax = time.Minute
	// lostAfter is how long a head must be missing to be reported: the removal of a dataset deletes it in the same moment as the catalog says so, and
	// publishing again makes a new one.
	lostAfter = time.Second
)

// NewFollower returns a Follower of the dataset at ref in s. It does nothing until LoadCache or Run.
func NewFollower[V any](s store.Store, ref Ref[V], o FollowOptions[V]) *Follower[V] {
	if o.Accept == nil {
		o.Accept = func(_, _ *Version[V]) error { return nil }
	}
	if o.OnVersion == nil {
		o.OnVersion = func(*Version[V]) {}
	}
	if o.OnPassed == nil {
		o.OnPassed = func(iter.Seq[V]) {}
	}
	if o.OnDeltas == nil {
		o.OnDeltas = func(_, _ V, _ iter.Seq[[]byte]) {}
	}
	if o.OnRefused == nil {
		o.OnRefused = func(Refusal) {}
	}
	if o.OnCached == nil {
		o.OnCached = func() {}
	}
	if o.OnCacheError == nil {
		o.OnCacheError = func(error) {}
	}
	if o.OnAbsent == nil {
		o.OnAbsent = func() {}
	}
	return &Follower[V]{s: s, ref: ref, opts: o}
}

// Current returns the newest verified version, nil until there is one. It may be called at any time by any goroutine.
func (f *Follower[V]) Current() *Version[V] {
	return f.cur.Load()
}

// Refusing tells that the newest head in the store was refused, or is gone: Current is the last good version, and what is published does not reach it.
// It may be called at any time by any goroutine.
func (f *Follower[V]) Refusing() bool { return f.refusing.Load() }

// LoadCache makes the version in the disk cache current, if there is none yet: call it before Run to serve while the store is
// out of reach. ErrNoDataset means that the cache is empty, or that there is none; a damaged cache is told to OnCacheError too, and
// the next version that Run finds replaces it.
func (f *Follower[V]) LoadCache(ctx context.Context) error {
	if f.opts.Cache == nil {
		return ErrNoDataset
	}
	v, err := Load(ctx, f.opts.Cache, f.ref.local())
	if err != nil {
		err = fmt.Errorf("disk cache: %w", err)
		if !errors.Is(err, ErrNoDataset) && ctx.Err() == nil {
			f.opts.OnCacheError(err)
		}
		return err
	}
	v.Source = Disk
	f.cached.Store(true)
	if f.cur.CompareAndSwap(nil, v) {
		f.opts.OnVersion(v)
	}
	return nil
}

// Run follows the dataset until ctx ends or the store is closed, and returns that error. It waits for all it started; what
// it found last is in the cache then, unless the disk needs more than ten seconds. Call it once. The caller's goroutine is the only one
// that stays; others come and go with what is to be saved or tried again.
func (f *Follower[V]) Run(ctx context.Context) error {
	f.saver = newSaver(f.ref, f.opts.Cache, f.cached.Load(), &f.opts)
	err := f.s.Watch(ctx, headPath(f.ref.Path), func(n store.Node, err error) {
		apart(func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.failures = 0
			f.take(ctx, seen{n, err})
		})
	})
	f.mu.Lock()
	f.retry.end()
	f.mu.Unlock()
	f.retry.wait()
	f.saver.stop()
	return err
}

// apart runs fn on a stack of its own: taking a version needs several times the stack of a watch that waits, and would leave it that large.
func apart(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	<-done
}

// lookAgain takes the head as it is now: what could not be read may have been collected because there is a newer one.
func (f *Follower[V]) lookAgain(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.retry.ended || ctx.Err() != nil {
		return
	}
	n, err := f.s.Get(ctx, headPath(f.ref.Path))
	if err != nil && !errors.Is(err, store.ErrNoNode) {
		f.again(ctx) // Watch tells when the store is back; this is for one that half works
		return
	}
	f.take(ctx, seen{n, err})
}

// seen is what a watch told.
type seen struct {
	node store.Node
	err  error
}

// take deals with a head, and sees to it that it is tried again if it must be.
func (f *Follower[V]) take(ctx context.Context, h seen) {
	f.retry.cancel()
	f.identity = nil
	if h.err != nil {
		f.lost(ctx, h.err)
		return
	}
	f.missing = false
	v, deltas, err := f.follow(ctx, h.node.Data)
	if err != nil {
		if ctx.Err() == nil {
			f.failed(ctx, h.node.Data, err)
		}
		return
	}
	f.failures, f.reported, f.absent = 0, report{}, false
	f.refusing.Store(false)
	if v == nil {
		return
	}
	before := f.cur.Swap(v)
	if len(deltas) > 1 {
		f.opts.OnPassed(f.passed(before.Value, deltas[:len(deltas)-1]))
	}
	if len(deltas) > 0 {
		f.opts.OnDeltas(before.Value, v.Value, bytesOf(deltas))
	}
	f.opts.OnVersion(v)
	f.saver.put(v, deltas)
}

// bytesOf yields what deltas change.
func bytesOf(deltas []delta) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, d := range deltas {
			if !yield(d.bytes) {
				return
			}
		}
	}
}

// lost deals with a head that is not there or may not be read.
func (f *Follower[V]) lost(ctx context.Context, err error) {
	if f.Current() == nil && errors.Is(err, store.ErrNoNode) {
		if !f.absent {
			f.absent = true
			f.opts.OnAbsent()
		}
		return
	}
	if errors.Is(err, store.ErrNoNode) && !f.missing {
		f.missing = true
		f.refusing.Store(true)
		f.retry.after(lostAfter, func() { f.lookAgain(ctx) })
		return
	}
	f.report([]byte(err.Error()), Refusal{Reason: ReasonHead, Err: fmt.Errorf("%s: head: %w", f.ref.Path, err)})
}

// failed reports a head that was refused, and tries it again later if that may help.
func (f *Follower[V]) failed(ctx context.Context, raw []byte, err error) {
	r, refused := asRefusal(err, 0)
	if refused {
		r.Err = fmt.Errorf("%s: %w", f.ref.Path, err)
		f.report(raw, r)
		if f.identity != nil {
			f.retry.when(f.identity, func() { f.lookAgain(ctx) })
		}
		if !r.mayHeal() {
			return
		}
	}
	f.again(ctx)
}

func (f *Follower[V]) report(head []byte, r Refusal) {
	f.refusing.Store(true)
	now := report{sha256.Sum256(head), r.Reason}
	if f.reported != now {
		f.reported = now
		f.opts.OnRefused(r)
	}
}

func (f *Follower[V]) again(ctx context.Context) {
	f.retry.after(backoff(f.failures), func() { f.lookAgain(ctx) })
	f.failures++
}
