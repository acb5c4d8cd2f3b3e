package dataset

import (
	"sync"
	"time"
)

// A retry is one thing that is to be done once more, later; nothing waits for it unless it is due. Its owner's lock guards all but wait.
type retry struct {
	timer *time.Timer   // nil when nothing is due at a time
	stop  chan struct{} // nil when nothing is due upon an event
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

// when has fn called in a goroutine of its own once event is closed, in place of what was due before. fn takes the owner's lock itself.
func (r *retry) when(event <-chan struct{}, fn func()) {
	r.cancel()
	if r.ended {
		return
	}
	stop := make(chan struct{})
	r.stop = stop
	r.due.Go(func() {
		select {
		case <-event:
			fn()
		case <-stop:
		}
	})
}

// cancel takes back what is due. What has begun goes on.
func (r *retry) cancel() {
	if r.timer != nil && r.timer.Stop() {
		r.due.Done()
	}
	r.timer = nil
	if r.stop != nil {
		close(r.stop)
		r.stop = nil
	}
}

// end is the last cancel.
func (r *retry) end() {
	r.cancel()
	r.ended = true
}

// wait returns when nothing is running any more. It is called after end, without the owner's lock.
func (r *retry) wait() { r.due.Wait() }
