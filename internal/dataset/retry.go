package dataset

import (
	"sync"
	"time"
)

// A retry is one thing that is to be done once more, later, without a goroutine that waits for it. Its owner's lock guards all but wait.
type retry struct {
	timer *time.Timer // nil when nothing is due
	due   sync.WaitGroup
	ended bool
}

// after has fn called in a goroutine of its own after d, in place of what was due before. fn takes the owner's lock itself.
func (r *retry) after(d time.Duration, fn func()) {
	r.cancel()
	if r.ended {
		return
	}
	r.due.Add(1)
	r.timer = time.AfterFunc(d, func() {
		defer r.due.Done()
		fn()
	})
}

// cancel takes back what is due. What has begun goes on.
func (r *retry) cancel() {
	if r.timer != nil && r.timer.Stop() {
		r.due.Done()
	}
	r.timer = nil
}

// end is the last cancel.
func (r *retry) end() {
	r.cancel()
	r.ended = true
}

// wait returns when nothing is running any more. It is called after end, without the owner's lock.
func (r *retry) wait() { r.due.Wait() }
