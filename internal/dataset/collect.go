package dataset

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/popdns/popdns/internal/store"
)

// collectBatch is how many nodes go in one commit: enough to be quick, few enough not to hold up other commits.
const collectBatch = 500

// A collector removes what no head refers to. guard is checked with every commit, so that it stops when its lock is lost.
type collector struct {
	s     store.Store
	path  string
	guard []store.Op
	ops   []store.Op
}

// cleanUp lists a dataset whose catalog entry did not fit into its commit and collects what the new image made superfluous.
func (p *plan[V]) cleanUp(ctx context.Context, a *attempt[V]) error {
	path := a.w.ref.Path
	if p.unlisted && !a.c.Unlisted {
		if err := ListAll(ctx, a.w.s, a.w.ref.Keys, []string{path}, a.c.Force); err != nil {
			return fmt.Errorf("add %s to the catalog: %w", path, err)
		}
	}
	gens, err := generations(ctx, a.w.s, a.w.ref, p.head)
	if err != nil {
		return fmt.Errorf("collect old generations of %s: %w", path, err)
	}
	gens = gens[:keepGenerations(gens)]
	c := collector{s: a.w.s, path: path, guard: []store.Op{a.guard.first}}
	if err := c.collect(ctx, gens); err != nil {
		return fmt.Errorf("collect old generations of %s: %w", path, err)
	}
	return nil
}

// collect removes the log entries, images and history heads that none of gens, the current head first, refers to. Images and
// history heads of generations above the current one are left: somebody may be writing them.
func (c *collector) collect(ctx context.Context, gens []Head) error {
	head := gens[0]
	keep := make(map[int64]bool, len(gens))
	serials := make(map[int64]bool)
	for i, h := range gens {
		keep[h.Gen] = true
		runs := h.afterBase()
		if i == 0 {
			runs = h.Log // with those of the generation before
		}
		for _, r := range runs {
			for n := range r.entries() {
				serials[int64(r.First)+int64(n)] = true
			}
		}
	}
	stale := func(gen int64) bool { return gen < head.Gen && !keep[gen] }
	// Newest last: should it stop half-way, what is left is a history without holes.
	for _, dir := range []struct {
		path   string
		remove func(ctx context.Context, n int64) error
		stale  func(n int64) bool
	}{
		{historyDir(c.path), func(ctx context.Context, n int64) error { return c.delete(ctx, historyPath(c.path, n)) }, stale},
		{baseDir(c.path), c.deleteImage, stale},
		{logDir(c.path), func(ctx context.Context, n int64) error {
			return c.delete(ctx, logPath(c.path, uint32(n))) //nolint:gosec // stale saw to it
		}, func(n int64) bool { return n < 1<<32 && !serials[n] }},
	} {
		numbers, err := numbered(ctx, c.s, dir.path)
		if err != nil {
			return err
		}
		slices.Sort(numbers)
		for _, n := range numbers {
			if dir.stale(n) {
				if err := dir.remove(ctx, n); err != nil {
					return err
				}
			}
		}
		if err := c.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) deleteImage(ctx context.Context, gen int64) error {
	dir := genPath(c.path, gen)
	names, err := c.s.Children(ctx, dir)
	if errors.Is(err, store.ErrNoNode) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.delete(ctx, store.Join(dir, name)); err != nil {
			return err
		}
	}
	return c.delete(ctx, dir)
}

func (c *collector) delete(ctx context.Context, path string) error {
	c.ops = append(c.ops, store.Delete(path, store.AnyVersion))
	if len(c.ops) < collectBatch {
		return nil
	}
	return c.flush(ctx)
}

func (c *collector) flush(ctx context.Context) error {
	ops := c.ops
	c.ops = nil
	if len(ops) == 0 {
		return nil
	}
	return c.s.Commit(ctx, append(slices.Clone(c.guard), ops...)...)
}
