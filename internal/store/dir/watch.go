package dir

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/popdns/popdns/internal/store"
)

// pollEvery is the safety net for file systems without change notification, and how soon the death of another process's ephemeral nodes is
// noticed (a lock that is released makes no event).
const pollEvery = time.Second

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, path string, fn func(store.Node, error)) error {
	if err := store.CheckPath(path); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	if err := s.notify.start(); err != nil {
		return err
	}
	var last seen
	for {
		changed := s.notify.changed() // before reading, so that no change can fall between
		node, err := s.Get(ctx, path)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, store.ErrClosed):
			return store.ErrClosed
		case errors.Is(err, store.ErrUnavailable):
			// The last value stands.
		default:
			if now := look(node, err); now != last {
				last = now
				fn(node, err)
				continue // it may have changed again meanwhile
			}
		}
		if err := s.pause(ctx, changed, err != nil || node.Ephemeral); err != nil {
			return err
		}
	}
}

// pause waits for the next commit; with poll not longer than pollEvery.
func (s *Store) pause(ctx context.Context, changed <-chan struct{}, poll bool) error {
	var tick <-chan time.Time
	if poll {
		t := time.NewTimer(pollEvery)
		defer t.Stop()
		tick = t.C
	}
	select {
	case <-changed:
	case <-tick:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return store.ErrClosed
	}
	return nil
}

// seen is what a watcher last told: enough to know whether there is news.
type seen struct {
	told              bool
	created, modified int64
	version           int32
	failure           string
}

func look(n store.Node, err error) seen {
	if err != nil {
		return seen{told: true, failure: err.Error()}
	}
	return seen{told: true, created: n.Created, modified: n.Modified, version: n.Version}
}

// A notifier wakes all Watch calls of a Store after a commit of any process. It watches the counter's file; its goroutine begins with the first
// Watch and ends with stop.
type notifier struct {
	s    *Store
	once sync.Once
	done sync.WaitGroup

	mu sync.Mutex
	ch chan struct{} // closed, and replaced, at every change
}

func (n *notifier) init(s *Store) { n.s, n.ch = s, make(chan struct{}) }

// changed returns a channel that is closed after the next commit.
func (n *notifier) changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ch
}

func (n *notifier) wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.ch)
	n.ch = make(chan struct{})
}

// start begins the goroutine, once. The operations' lock keeps it from starting during Close.
func (n *notifier) start() error {
	n.s.ops.RLock()
	defer n.s.ops.RUnlock()
	select {
	case <-n.s.closed:
		return store.ErrClosed
	default:
	}
	n.once.Do(func() { n.done.Go(n.run) })
	return nil
}

func (n *notifier) stop() { n.done.Wait() }

func (n *notifier) run() {
	var events <-chan fsnotify.Event
	var failures <-chan error // an overflow, say; unread, it would block the events
	// Without a watcher (no inotify, or its limit reached) polling alone has to do.
	if w, err := fsnotify.NewWatcher(); err == nil {
		defer func() { _ = w.Close() }()
		if w.Add(n.s.name) == nil {
			events, failures = w.Events, w.Errors
		}
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	rev := n.finished(ctx)
	n.wake() // a watcher may have looked before rev was read, and a commit come between
	for {
		select {
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			if filepath.Base(e.Name) != revFile {
				continue
			}
		case <-failures:
		case <-tick.C:
		case <-n.s.closed:
			return
		}
		if now := n.finished(ctx); now != rev {
			rev = now
			n.wake()
		}
	}
}

// finished waits until the commit that raised the counter is over and returns the counter, -1 when it can't be read. A commit raises it first and
// writes then; woken at once, every watcher would run into the lock.
func (n *notifier) finished(ctx context.Context) int64 {
	release, err := n.s.lock(ctx, shared)
	if err != nil {
		return -1
	}
	defer release()
	rev, err := n.s.readRev()
	if err != nil {
		return -1
	}
	return rev
}
