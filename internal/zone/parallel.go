package zone

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// processors is how many processors work that takes long may have. In the background one is left alone: Go looks for packets that have come
// only on a processor without work, and otherwise every 10 ms, which is how long all answers would wait.
func processors(background bool) int {
	n := runtime.GOMAXPROCS(0)
	if background {
		n = max(1, n-1)
	}
	return n
}

// inParallel calls fn for 0 to n-1 on so many processors, waits, and gives the error of the lowest number. After an error no more calls begin.
func inParallel(n, processors int, fn func(i int) error) error {
	var (
		wg     sync.WaitGroup
		next   atomic.Int64
		failed atomic.Bool
		errs   = make([]error, n)
	)
	work := func() {
		for i := int(next.Add(1)) - 1; i < n && !failed.Load(); i = int(next.Add(1)) - 1 {
			if errs[i] = fn(i); errs[i] != nil {
				failed.Store(true)
			}
		}
	}
	for range min(n, processors) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
