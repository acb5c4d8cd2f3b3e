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

	// Below: only Run's goroutine.
	failures int // in a row, of reading it
	reported report
	absent   bool            // it was said that there is no head yet
	identity <-chan struct{} // closed when a head that was refused for its cluster may be tried again; nil for none
}

// FollowOptions are a Follower's cache and hooks. All may be zero. The hooks are called one at a time, from Run or LoadCache
// (OnCached and OnCacheError from a goroutine that Run waits for); while one runs, nothing newer is taken, but Current goes on.
type FollowOptions[V any] struct {
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
		if !errors.Is(err, ErrNoDataset) {
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
// it found last is in the cache then, unless the disk needs more than ten seconds. Call it once.
func (f *Follower[V]) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	heads := make(chan seen, 1)
	wg.Go(func() {
		cancel(f.s.Watch(ctx, headPath(f.ref.Path), func(n store.Node, err error) { newest(heads, seen{n, err}) }))
	})
	saver := newSaver(f.ref, f.opts.Cache, f.cached.Load(), f.opts.OnCacheError)
	saver.saved = f.opts.OnCached
	saving, stopSaving := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSaving()
	wg.Go(func() { saver.run(saving) })

	retry := time.NewTimer(retryMax)
	retry.Stop()
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case h := <-heads:
			f.failures = 0
			f.take(ctx, h, saver, retry)
		case <-retry.C:
			f.reread(ctx, saver, retry)
		case <-f.identity:
			f.identity = nil
			f.reread(ctx, saver, retry)
		}
	}
}

// reread tries the newest head again, never an older one: what could not be read may have been collected because there is a newer one.
func (f *Follower[V]) reread(ctx context.Context, saver *saver[V], retry *time.Timer) {
	n, err := f.s.Get(ctx, headPath(f.ref.Path))
	if err != nil && !errors.Is(err, store.ErrNoNode) {
		f.again(retry) // Watch tells when the store is back; this is for one that half works
		return
	}
	f.take(ctx, seen{n, err}, saver, retry)
}

// seen is what a watch told.
type seen struct {
	node store.Node
	err  error
}

// newest replaces what is in ch by h. There is one sender.
func newest(ch chan seen, h seen) {
	select {
	case <-ch:
	default:
	}
	ch <- h
}

// take deals with a head, and sets the timer if it must be tried again.
func (f *Follower[V]) take(ctx context.Context, h seen, saver *saver[V], retry *time.Timer) {
	retry.Stop()
	f.identity = nil
	if h.err != nil {
		f.lost(h.err)
		return
	}
	v, deltas, err := f.follow(ctx, h.node.Data)
	if err != nil {
		if ctx.Err() == nil {
			f.failed(h.node.Data, err, retry)
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
	saver.put(v, deltas)
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
func (f *Follower[V]) lost(err error) {
	if f.Current() == nil && errors.Is(err, store.ErrNoNode) {
		if !f.absent {
			f.absent = true
			f.opts.OnAbsent()
		}
		return
	}
	f.report([]byte(err.Error()), Refusal{Reason: ReasonHead, Err: fmt.Errorf("%s: head: %w", f.ref.Path, err)})
}

// failed reports a head that was refused, and tries it again later if that may help.
func (f *Follower[V]) failed(raw []byte, err error, retry *time.Timer) {
	r, refused := asRefusal(err, 0)
	if refused {
		r.Err = fmt.Errorf("%s: %w", f.ref.Path, err)
		f.report(raw, r)
		if !r.mayHeal() {
			return
		}
	}
	f.again(retry)
}

func (f *Follower[V]) report(head []byte, r Refusal) {
	f.refusing.Store(true)
	now := report{sha256.Sum256(head), r.Reason}
	if f.reported != now {
		f.reported = now
		f.opts.OnRefused(r)
	}
}

func (f *Follower[V]) again(retry *time.Timer) {
	retry.Reset(backoff(f.failures))
	f.failures++
}
