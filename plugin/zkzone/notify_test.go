package zkzone

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// notifyRecorder is a transfer plugin whose NOTIFY takes as long as the test wants.
type notifyRecorder struct {
	takes time.Duration
	err   error

	mu   sync.Mutex
	told []string
}

func (r *notifyRecorder) sent() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.told)
}

func (r *notifyRecorder) send(zone string) error {
	time.Sleep(r.takes)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, zone)
	return r.err
}

func TestVersionsThatComeDuringANotifyAreToldOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &notifyRecorder{takes: 6 * time.Second, err: errors.New("nobody answers")}
		n := newNotifier(r.send)
		n.notify("a.")
		n.notify("b.")
		n.notify("a.")
		time.Sleep(notifyDelay - time.Millisecond)
		synctest.Wait()
		if len(r.sent()) > 0 {
			t.Errorf("%q sent before the server can be listening", r.sent())
		}
		time.Sleep(time.Second) // the one of a. is under way
		for range 100 {
			n.notify("a.")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := []string{"a.", "b.", "a."}; !slices.Equal(r.sent(), want) {
			t.Errorf("sent %q, want %q", r.sent(), want)
		}
		n.notify("b.")
		time.Sleep(7 * time.Second)
		synctest.Wait()
		if len(r.sent()) != 4 {
			t.Errorf("sent %q: nothing after a pause", r.sent())
		}
		n.stop()
		n.stop()
	})
}

func TestStopWaitsForTheNotifyUnderWayAndNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &notifyRecorder{takes: 6 * time.Second}
		n := newNotifier(r.send)
		n.notify("a.")
		n.notify("b.")
		time.Sleep(notifyDelay + time.Second)
		began := time.Now()
		n.stop()
		if waited := time.Since(began); waited != 5*time.Second {
			t.Errorf("stop took %s, want the 5s that were left", waited)
		}
		n.notify("c.")
		time.Sleep(time.Minute)
		if !slices.Equal(r.sent(), []string{"a."}) {
			t.Errorf("sent %q, want a. alone", r.sent())
		}
	})
}

func TestStopBeforeTheFirstNotifyIsAtOnceAndASlowOneDoesNotHoldItUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r := &notifyRecorder{}
		n := newNotifier(r.send)
		n.notify("a.")
		n.stop()
		if waited := time.Since(began); waited != 0 || len(r.sent()) > 0 {
			t.Errorf("stop took %s and sent %q", waited, r.sent())
		}
		r = &notifyRecorder{takes: time.Minute}
		n = newNotifier(r.send)
		n.notify("a.")
		time.Sleep(notifyDelay + time.Second)
		began = time.Now()
		n.stop()
		if waited := time.Since(began); waited != notifyGrace {
			t.Errorf("stop took %s, want no more than %s", waited, notifyGrace)
		}
		<-n.done // by itself
	})
}
