package dataset

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// fetchers is how many reads of a dataset are in flight at once: one ZooKeeper connection is saturated by 16 to 64.
const fetchers = 16

// parallel calls fn for 0 … n-1, at most limit at a time, and waits. The first error ends the rest and is returned.
func parallel(ctx context.Context, n, limit int, fn func(ctx context.Context, i int) error) error {
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(limit)
	for i := range n {
		g.Go(func() error {
			if err := within.Err(); err != nil {
				return err
			}
			return fn(within, i)
		})
	}
	return g.Wait()
}
