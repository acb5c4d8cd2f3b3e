package dataset

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/popdns/popdns/internal/store"
)

// saveTimeout bounds how long Run waits for the disk when it ends.
const saveTimeout = 10 * time.Second

// maxSaveBytes bounds the deltas that wait for the disk; a follower that runs further ahead of it has an image written instead. They
// go in one commit with their headers.
const (
	maxSaveBytes = MaxDeltaBytes
	maxSaves     = 256
)

// A saver keeps a disk cache up to date from a goroutine of its own. Versions that come while it writes are merged into one.
//
// The cache is a dataset of its own, in the same layout: it has the revisions of the store's heads but its own generations,
// because a follower that goes by deltas never reads the store's images. So LoadCache is Load, and a cache can be followed.
type saver[V any] struct {
	ref   Ref[V]
	cache store.Store
	fail  func(error)
	saved func()
	wake  chan struct{}
	// trusted tells that what is in the cache was verified or written by this process. Otherwise nothing is built on it.
	trusted bool

	mu      sync.Mutex
	pending *save[V]
}

// A save is what the cache lacks: version, by deltas from some earlier one or, if image is set, as a whole.
type save[V any] struct {
	version *Version[V]
	deltas  []delta
	bytes   int
	image   bool
}

func newSaver[V any](ref Ref[V], cache store.Store, trusted bool, fail func(error)) *saver[V] {
	return &saver[V]{ref: ref.local(), cache: cache, fail: fail, saved: func() {}, wake: make(chan struct{}, 1), trusted: trusted}
}

// put hands over a version; deltas is nil if it was not reached by deltas. It never waits for the disk.
func (s *saver[V]) put(v *Version[V], deltas []delta) {
	if s.cache == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &save[V]{version: v, image: deltas == nil}
	if s.pending != nil && !p.image {
		p.deltas, p.bytes, p.image = s.pending.deltas, s.pending.bytes, s.pending.image
	}
	for _, d := range deltas {
		p.deltas = append(p.deltas, d)
		p.bytes += len(d.bytes)
	}
	if p.image || p.bytes > maxSaveBytes || len(p.deltas) > maxSaves {
		p.deltas, p.image = nil, true
	}
	s.pending = p
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run writes until stop ends, then what is still pending. What it is writing then has another saveTimeout: broken off, it
// would have to be done again at the next start.
func (s *saver[V]) run(stop context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(stop))
	defer cancel()
	defer context.AfterFunc(stop, func() { time.AfterFunc(saveTimeout, cancel) })()
	retry := time.NewTimer(retryMax)
	retry.Stop()
	defer retry.Stop()
	wake := s.wake
	for failures := 0; ; {
		select {
		case <-wake:
		case <-retry.C:
		case <-stop.Done():
			s.flush(ctx)
			return
		}
		if s.flush(ctx) {
			failures, wake = 0, s.wake
			continue
		}
		// A full disk is neither tried nor complained about at each version; and when it has room again, no version need come for it to be used.
		retry.Reset(backoff(failures))
		failures, wake = failures+1, nil
	}
}

// flush writes what is pending. It reports false when that failed, and keeps it.
func (s *saver[V]) flush(ctx context.Context) bool {
	s.mu.Lock()
	p := s.pending
	s.pending = nil
	s.mu.Unlock()
	if p == nil {
		return true
	}
	err := s.save(ctx, p)
	if err == nil {
		return true
	}
	s.fail(fmt.Errorf("disk cache: save %s serial %d: %w", s.ref.Path, p.version.Head.Serial, err))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil { // otherwise the newer one is enough: an image is written where its deltas don't reach
		s.pending = p
	}
	return false
}

// saveTries bounds how often a save is repeated because another follower wrote at the same time.
const saveTries = 10

// save brings the cache to p's version. It looks at what is there each time, so it does not matter who wrote that.
func (s *saver[V]) save(ctx context.Context, p *save[V]) error {
	var err error
	for range saveTries {
		err = s.try(ctx, p)
		switch {
		case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrNoNode):
			p.image = true // nodes that should not be there, or not be missing: a new image needs neither
		case errors.Is(err, store.ErrCorrupt):
			p.image = true
			if err := s.repair(ctx); err != nil {
				return err
			}
		case !errors.Is(err, store.ErrVersion):
			return err
		}
	}
	return err
}

// repair empties the nodes above head, images and log that can't be read: nothing could be created below them.
func (s *saver[V]) repair(ctx context.Context) error {
	for _, leaf := range []string{logDir(s.ref.Path), baseDir(s.ref.Path)} {
		for path := leaf; ; path = store.Parent(path) {
			if _, err := s.cache.Get(ctx, path); errors.Is(err, store.ErrCorrupt) {
				if err := s.cache.Commit(ctx, store.Set(path, nil, store.AnyVersion)); err != nil {
					return err
				}
			}
			if path == "" {
				break
			}
		}
	}
	return nil
}

func (s *saver[V]) try(ctx context.Context, p *save[V]) error {
	node, err := s.cache.Get(ctx, headPath(s.ref.Path))
	fresh := errors.Is(err, store.ErrNoNode)
	if errors.Is(err, store.ErrCorrupt) {
		node.Version, err = store.AnyVersion, nil
	}
	if err != nil && !fresh {
		return err
	}
	old := s.usable(node.Data, &p.version.Head)
	if old != nil && (old.sameVersion(&p.version.Head) || newer(old.Serial, p.version.Head.Serial)) {
		return nil // another follower was here
	}
	next := p.version.Head
	next.Inline, next.Log, next.LogBytes = nil, nil, 0
	ops, ok, err := s.byDeltas(p, old, &next)
	if err == nil && !ok {
		err = s.byImage(ctx, p, &next)
	}
	if err != nil {
		return err
	}
	raw, err := next.marshal(Keys{})
	if err != nil {
		return err
	}
	if fresh {
		ops = append(ops, store.Create(headPath(s.ref.Path), raw))
	} else {
		ops = append(ops, store.Set(headPath(s.ref.Path), raw, node.Version))
	}
	if err := s.cache.Commit(ctx, ops...); err != nil {
		return err
	}
	s.saved()
	s.trusted = true
	if ok {
		return nil
	}
	c := collector{s: s.cache, path: s.ref.Path}
	if err := c.collect(ctx, []Head{next}); err != nil && !errors.Is(err, store.ErrNoNode) {
		return fmt.Errorf("remove the old generation: %w", err) // ErrNoNode: another follower removes it too
	}
	return nil
}

// usable returns the cache's head if the next one may build on it: not when it is damaged, unverified or of another cluster.
func (s *saver[V]) usable(raw []byte, next *Head) *Head {
	h, err := s.ref.parseHead(raw)
	if err != nil || h.Cluster != next.Cluster || !s.trusted {
		return nil
	}
	return &h
}

// byDeltas appends to the cache's log, if p's deltas start from what the cache holds and no image is due.
func (s *saver[V]) byDeltas(p *save[V], old, next *Head) ([]store.Op, bool, error) {
	if old == nil || p.image {
		return nil, false, nil
	}
	h := *old
	var ops []store.Op
	for _, d := range p.deltas {
		if d.from != h.Serial {
			continue
		}
		if imageDue(&h, d.step, len(d.bytes)) {
			return nil, false, nil
		}
		rev := p.version.Head.Revision
		h.Chain = h.Chain.follow(d.bytes)
		rev.Serial, rev.Chain = d.to, h.Chain
		e := entry{header: entryHeader{From: d.from, Revision: rev}, delta: d.bytes}
		b, err := e.marshal()
		if err != nil {
			return nil, false, err
		}
		ops = append(ops, store.Create(logPath(s.ref.Path, d.to), b))
		h.Log, h.LogBytes, h.Serial = extend(h.Log, d.step), h.LogBytes+int64(len(d.bytes)), d.to
	}
	if h.Serial != p.version.Head.Serial || h.Chain != p.version.Head.Chain {
		return nil, false, nil
	}
	next.Gen, next.Base, next.Log, next.LogBytes = h.Gen, h.Base, h.Log, h.LogBytes
	return ops, true, nil
}

// byImage writes an image of p's version. It is read back like every image, so a bad disk is found now.
func (s *saver[V]) byImage(ctx context.Context, p *save[V], next *Head) error {
	for _, dir := range []string{logDir(s.ref.Path), baseDir(s.ref.Path)} {
		if err := store.MkdirAll(ctx, s.cache, dir); err != nil {
			return err
		}
	}
	w := imageWriter[V]{s: s.cache, ref: s.ref}
	var err error
	next.Gen, next.Base, err = w.write(ctx, p.version.Value, &next.Revision)
	return err
}
