package dataset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/popdns/popdns/internal/store"
)

// Remove takes the dataset out of the catalog and puts up its tombstone, which is what ends it at the edges. One commit, under the dataset's lock, sets
// the catalog, deletes the head and keeps it as "removed", so that [LoadRemoved] can bring it back. Images and log stay until the dataset is
// published again or its tombstone makes room for others; DESIGN.md says why any crash in between is harmless.
//
// Only By, Message and Force of c count. Force removes a dataset whose head can't be read. Errors: ErrNoDataset when there is nothing to remove, and
// those of Commit.
func (w *Writer[V]) Remove(ctx context.Context, c Commit) (Tombstone, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fail := func(err error) (Tombstone, error) { return Tombstone{}, fmt.Errorf("remove %s: %w", w.ref.Path, err) }
	if len(c.By) > maxByBytes {
		return fail(fmt.Errorf("a name of %d bytes, at most %d", len(c.By), maxByBytes))
	}
	// Before the lock, which would make nodes for what never was.
	st, err := w.read(ctx)
	if err == nil && !st.hasHead {
		err = w.removable(ctx, c.Force)
	}
	if err != nil {
		return fail(err)
	}
	lock, err := store.Acquire(ctx, w.s, lockPath(w.ref.Path), c.By)
	if err != nil {
		return fail(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		_ = lock.Release(ctx) // otherwise it ends with the session
	}()
	for range catalogTries {
		t, dropped, err := w.remove(ctx, c, lock.Fence())
		if errors.Is(err, errAgain) {
			continue
		}
		if err != nil {
			return fail(err)
		}
		w.cur = nil
		for _, path := range dropped {
			_ = purge(ctx, w.s, path) // garbage that the next publication of it collects too
		}
		return t, nil
	}
	return fail(ErrConflict)
}

// removable tells whether a dataset without a head can be removed: one whose head was lost.
func (w *Writer[V]) removable(ctx context.Context, force bool) error {
	c, err := ReadCatalog(ctx, w.s)
	if err == nil && (!force || !c.Lists(w.ref.Path)) {
		err = ErrNoDataset
	}
	return err
}

// remove makes one try under the lock. What somebody else removed in the meantime, or we with a reply that was lost, shows as its tombstone.
func (w *Writer[V]) remove(ctx context.Context, c Commit, fence store.Op) (t Tombstone, dropped []string, err error) {
	st, err := w.read(ctx)
	if err != nil {
		return t, nil, err
	}
	catalog, err := readCatalog(ctx, w.s, w.ref.Keys)
	if err == nil {
		err = catalog.mayBuild(c.Force)
	}
	if err != nil {
		return t, nil, err
	}
	if !st.hasHead {
		if t, dead := catalog.Tombstone(w.ref.Path); dead {
			return t, nil, nil
		}
		if !catalog.Lists(w.ref.Path) || !c.Force {
			return t, nil, ErrNoDataset
		}
	}
	t = Tombstone{Path: w.ref.Path, Serial: st.grave.serial, At: w.now(), By: c.By}
	ops := []store.Op{store.Check(clusterPath, st.clusterVersion), fence}
	if st.hasHead {
		head, err := w.ref.parseHead(st.head.Data)
		if err != nil && !c.Force {
			return t, nil, err
		}
		t.Serial = head.Serial // also of a head that is only not signed as it must be
		ops = append(ops, store.Delete(headPath(w.ref.Path), st.head.Version), store.Create(removedPath(w.ref.Path), st.head.Data))
	}
	if dropped, err = catalog.bury(t); err != nil {
		return t, nil, err
	}
	set, err := catalog.set(w.ref.Keys, st.cluster)
	if err != nil {
		return t, nil, err
	}
	err = w.s.Commit(ctx, append(ops, set)...)
	var op *store.OpError
	switch {
	case errors.As(err, &op) && op.Path == removedPath(w.ref.Path) && errors.Is(err, store.ErrExists):
		// Left over where a head was put back by hand. It says nothing that matters now.
		err = w.s.Commit(ctx, fence, store.Delete(removedPath(w.ref.Path), store.AnyVersion))
		if err == nil {
			err = errAgain
		}
	case errors.Is(err, store.ErrVersion), errors.Is(err, store.ErrUnknownOutcome):
		err = errAgain
	}
	return t, dropped, err
}

// A grave is what is left of a dataset that was removed. Its serial is the floor for all that comes.
type grave struct {
	serial uint32
	node   bool // its last head is still there
	stone  bool // it has a tombstone
}

func (g grave) exists() bool { return g.node || g.stone }

func readGrave(ctx context.Context, r store.Reader, path string) (grave, error) {
	var g grave
	node, err := r.Get(ctx, removedPath(path))
	if err == nil {
		g.node = true
		if h, err := ParseHead(node.Data); err == nil {
			g.serial = h.Serial
		}
	} else if !errors.Is(err, store.ErrNoNode) {
		return g, err
	}
	c, err := ReadCatalog(ctx, r)
	if errors.Is(err, ErrNoStore) {
		return g, nil // said elsewhere
	}
	if err != nil {
		return g, err
	}
	if t, dead := c.Tombstone(path); dead {
		g.stone = true
		if t.Serial != 0 {
			g.serial = t.Serial
		}
	}
	if g.serial == 0 {
		g.serial, err = lastSerial(ctx, r, path)
	}
	return g, err
}

// lastSerial returns the newest serial that the images and log entries of a dataset without a head tell, 0 if there are none: a head that was lost must not make
// serials go back.
func lastSerial(ctx context.Context, r store.Reader, path string) (uint32, error) {
	gens, err := numbered(ctx, r, baseDir(path))
	if err != nil || len(gens) == 0 {
		return 0, err
	}
	node, err := r.Get(ctx, manifestPath(path, slices.Max(gens)))
	if err != nil && !errors.Is(err, store.ErrNoNode) {
		return 0, err
	}
	var m manifest
	if decodeJSON(node.Data, store.MaxNodeBytes, &m) != nil {
		return 0, nil // whoever wrote it died, or it is damaged
	}
	last := m.Serial
	entries, err := numbered(ctx, r, logDir(path))
	for _, n := range entries {
		if serial := uint32(n); n < 1<<32 && newer(serial, last) { //nolint:gosec // just checked
			last = serial
		}
	}
	return last, err
}

// LoadRemoved reads and verifies the last version of a dataset that was removed, as long as it is kept. Errors are those of Load.
func LoadRemoved[V any](ctx context.Context, r store.Reader, ref Ref[V]) (*Version[V], error) {
	fail := func(err error) (*Version[V], error) {
		return nil, fmt.Errorf("load what %s was when it was removed: %w", ref.Path, err)
	}
	node, err := r.Get(ctx, removedPath(ref.Path))
	if errors.Is(err, store.ErrNoNode) {
		return fail(ErrNoDataset)
	}
	if err != nil {
		return fail(err)
	}
	head, err := ref.parseHead(node.Data)
	if err != nil {
		return fail(err)
	}
	value, _, err := loader[V]{r, ref}.reach(ctx, nil, &head)
	if err != nil {
		return fail(err)
	}
	return &Version[V]{Value: value, Head: head, HeadBytes: node.Data, Received: time.Now()}, nil
}

// purge deletes the nodes of a dataset whose tombstone was dropped. The lock keeps a publisher out; the head, which there is none of, is checked under it.
// The empty directories stay, since the lock is one of them.
func purge(ctx context.Context, s store.Store, path string) error {
	lock, err := store.Acquire(ctx, s, lockPath(path), "purge")
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release(context.WithoutCancel(ctx)) }()
	if _, err := s.Get(ctx, headPath(path)); !errors.Is(err, store.ErrNoNode) {
		return err // it lives again
	}
	c := collector{s: s, path: path, guard: []store.Op{lock.Fence()}}
	for _, dir := range []string{historyDir(path), baseDir(path), logDir(path)} {
		names, err := s.Children(ctx, dir)
		if err != nil && !errors.Is(err, store.ErrNoNode) {
			return err
		}
		for _, name := range names {
			below, err := s.Children(ctx, store.Join(dir, name))
			if err != nil {
				return err
			}
			for _, n := range below {
				if err := c.delete(ctx, store.Join(dir, name, n)); err != nil {
					return err
				}
			}
			if err := c.delete(ctx, store.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	if err := c.delete(ctx, removedPath(path)); err != nil {
		return err
	}
	return c.flush(ctx)
}
