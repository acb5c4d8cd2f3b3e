package edge

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/zone"
)

// Dataset is one followed dataset of a Source.
type Dataset[V any] struct {
	path     string
	kind     string
	follower *dataset.Follower[V]
	first    chan struct{} // closed by the first version
	settled  chan struct{} // closed by the first version, or when the store has none

	begun  sync.Once
	cancel context.CancelFunc // ends following; set by begin
	ended  chan struct{}      // closed when it has
}

// Current returns the newest verified version, nil before there is one. One
// atomic load: callable on every query, but once per query, so that an answer
// never mixes two versions.
func (d *Dataset[V]) Current() *dataset.Version[V] { return d.follower.Current() }

// Path is the dataset's in the store, e.g. "zones/example.org".
func (d *Dataset[V]) Path() string { return d.path }

// Wait returns once there is a version, or with the context's error.
func (d *Dataset[V]) Wait(ctx context.Context) error {
	select {
	case <-d.first:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: no data yet: %w", d.path, ctx.Err())
	}
}

// Settle returns once there is a version or it is known that none has been
// published, or with the context's error.
func (d *Dataset[V]) Settle(ctx context.Context) error {
	select {
	case <-d.settled:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: not read yet: %w", d.path, ctx.Err())
	}
}

// hooks are what a kind of dataset adds to following it.
type hooks[V any] struct {
	accept func(old, new *dataset.Version[V]) error
	// switched is told each version, and those since the last one that were
	// never current, nil for none; see dataset.FollowOptions.OnPassed.
	switched func(v *dataset.Version[V], passed iter.Seq[V])
	// changes tells what deltas changed; nil if that isn't known of the kind.
	changes func(old, new V, deltas iter.Seq[[]byte]) Change
}

// start follows a dataset until the source is closed.
func start[V any](s *Source, ref dataset.Ref[V], h hooks[V]) *Dataset[V] {
	d := prepare(s, ref, h)
	d.begin(s)
	return d
}

// prepare makes a dataset that begin follows.
func prepare[V any](s *Source, ref dataset.Ref[V], h hooks[V]) *Dataset[V] {
	d := &Dataset[V]{path: ref.Path, kind: ref.Codec.Kind(), first: make(chan struct{}), settled: make(chan struct{}), ended: make(chan struct{})}
	var first, settled sync.Once
	var passed iter.Seq[V]  // told between two calls of OnVersion
	var before dataset.Head // of the version before
	var change *Change      // told between two calls of OnVersion
	d.follower = dataset.NewFollower(s.store, ref, dataset.FollowOptions[V]{
		Cache:    s.cache,
		Identity: s.identity,
		Loads:    s.loads,
		Saves:    s.saves,
		Accept:   h.accept,
		OnPassed: func(between iter.Seq[V]) { passed = between },
		OnDeltas: func(old, new V, deltas iter.Seq[[]byte]) {
			change = &Change{}
			if h.changes != nil {
				*change = h.changes(old, new, deltas)
			}
			for range deltas {
				change.Deltas++
			}
		},
		OnVersion: func(v *dataset.Version[V]) {
			if h.switched != nil {
				h.switched(v, passed)
			}
			passed = nil
			_, items := ref.Codec.Sum(v.Value)
			sw := Switch{Path: ref.Path, Kind: ref.Codec.Kind(), Head: v.Head, Source: v.Source, Items: items}
			if before.Serial != 0 && before.Serial != v.Head.Serial {
				sw.Behind = max(0, time.Since(v.Head.Published))
			}
			sw.How, sw.Change = reached(&before, &v.Head, change)
			before, change = v.Head, nil
			s.obs.Switched(sw)
			s.stir()
			first.Do(func() { close(d.first) })
			settled.Do(func() { close(d.settled) })
		},
		OnAbsent:     func() { settled.Do(func() { close(d.settled) }) },
		OnRefused:    func(r dataset.Refusal) { s.obs.Refused(ref.Path, r) },
		OnCached:     func() { s.cached(); s.stir() },
		OnCacheError: func(err error) { s.obs.CacheFailed(ref.Path, err) },
	})
	return d
}

// reached tells by which way the version of next came after that of before,
// which has no serial if there was none.
func reached(before, next *dataset.Head, change *Change) (How, Change) {
	out := Change{Before: before.Items}
	switch {
	case before.Serial == 0:
		return HowFirst, Change{}
	case change != nil:
		out = *change
		out.Before = before.Items
		return HowDeltas, out
	case before.Serial == next.Serial:
		return HowConfirmed, out
	}
	return HowImage, out
}

// begin follows the dataset until end, or until the source is closed. What the
// disk cache holds is loaded before it returns, whoever calls it first: a server
// with a cache answers its first query, whatever the store does.
func (d *Dataset[V]) begin(s *Source) {
	d.begun.Do(func() {
		ctx, cancel := context.WithCancel(s.ctx) //nolint:gosec // end calls it, or the source's own does
		d.cancel = cancel
		_ = d.follower.LoadCache(ctx) // a damaged cache was told to OnCacheError
		s.wg.Go(func() {
			defer close(d.ended)
			if err := d.follower.Run(ctx); err != nil && ctx.Err() == nil {
				s.obs.StoreFailed(fmt.Errorf("follow %s: %w", d.path, err))
			}
		})
	})
}

// end stops following and waits until nothing of it is going on. The last
// version stays readable.
func (d *Dataset[V]) end() {
	d.cancel()
	<-d.ended
}

// DefaultShrinkGuard is the share of its RRsets, in percent, that a zone may
// lose in one step without its publisher having said that this is meant.
const DefaultShrinkGuard = 50

// acceptZone is the edge's own guard, independent of the writer's: it refuses
// a version that drops more of the zone than Config allows unless it was forced. (A
// zone without SOA or apex NS does not even decode.)
func (s *Source) acceptZone(before, after *dataset.Version[*zone.Snapshot]) error {
	if before == nil || after.Head.ForcedSince(before.Head.Serial) {
		return nil
	}
	was, is := before.Value.Len(), after.Value.Len()
	percent := cmp.Or(s.cfg.ShrinkGuard, DefaultShrinkGuard)
	if (was-is)*100 > was*percent {
		return fmt.Errorf("it would drop %d of %d RRsets, more than %d %%, and is not marked forced", was-is, was, percent)
	}
	return nil
}
