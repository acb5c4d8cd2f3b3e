package dataset

import (
	"context"
	"sync"
	"sync/atomic"
)

// fetchers is how many reads of a dataset are in flight at once: one ZooKeeper connection is saturated by 16 to 64.
const fetchers = 16

// parallel calls fn for 0 … n-1, at most limit at a time, and waits. The first error ends the rest and is returned.
func parallel(ctx context.Context, n, limit int, fn func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, limit) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := fn(ctx, i); err != nil {
					cancel(err) // the first cause stays
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
