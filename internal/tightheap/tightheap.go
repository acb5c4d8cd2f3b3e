// Package tightheap keeps the heap small while something big is made beside what is being served.
package tightheap

import (
	"runtime/debug"
	"sync"
)

// percent is how much the heap may grow between two collections meanwhile. By default it may double, which beside a zone of a million records is
// that zone once more, and nothing gives it back before the next collection. A zone's image has nothing for the collector to walk, so that ten
// times as many collections cost some milliseconds.
const percent = 10

// worth is the size of the work from which on it matters: 10,000 small zones do without.
const worth = 4 << 20

var now struct {
	mu     sync.Mutex
	users  int
	before int
}

// Begin keeps the heap small until the function that it returns is called, if the work that begins takes so many bytes that it matters. It may be
// called concurrently.
func Begin(bytes int64) (end func()) {
	if bytes < worth {
		return func() {}
	}
	now.mu.Lock()
	defer now.mu.Unlock()
	if now.users++; now.users == 1 {
		now.before = debug.SetGCPercent(percent)
		if now.before < percent { // the operator wants it smaller still, or to have no collections
			debug.SetGCPercent(now.before)
		}
	}
	return func() {
		now.mu.Lock()
		defer now.mu.Unlock()
		if now.users--; now.users == 0 {
			debug.SetGCPercent(now.before)
		}
	}
}
