// Package alloctest holds code that reads what others wrote to a bound of the memory
// that it may allocate on the way.
package alloctest

import (
	"runtime"
	"testing"
)

// Within calls f and fails the test if more than limit bytes were allocated meanwhile,
// what was freed again included. Other goroutines' allocations count too, so the test must
// not be parallel.
func Within(tb testing.TB, limit int, f func()) {
	tb.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > uint64(limit) { //nolint:gosec // limits are positive
		tb.Fatalf("%d bytes were allocated, at most %d are allowed", n, limit)
	}
}
