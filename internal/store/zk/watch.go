package zk

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	gozk "github.com/go-zookeeper/zk"

	"github.com/popdns/popdns/internal/store"
)

// retryEvery is the pace of a watch that the server refuses or does not answer while the session stands.
const retryEvery = time.Second

// Watch implements store.Store. The caller's goroutine does it all: it reads the node with a one-shot watch, tells fn, and waits for the watch or a new
// session. After a new or re-established session it reads again in any case: that the library sets its watches anew is not relied upon (it may
// fail, and it may miss a change while another request's reply overtakes).
func (s *Store) Watch(ctx context.Context, path string, fn func(store.Node, error)) error {
	if err := store.CheckPath(path); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	var last seen
	for {
		now, node, fired, err := s.lookInTurn(ctx, path)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, store.ErrClosed):
			return store.ErrClosed
		case errors.Is(err, store.ErrUnavailable):
			// The last value stands.
		default:
			if look := lookAt(now, node, err); look != last {
				last = look
				fn(node, err)
			}
		}
		if err := s.pause(ctx, now, fired); err != nil {
			return err
		}
	}
}

// maxWatchReads is how many Watch calls read at once: thousands of them do after each new session, and other requests must get through.
const maxWatchReads = maxInFlight / 2

// lookInTurn waits for its turn and for the link, and reads. The turn is waited for without a timeout: a request's begins when it can be sent.
func (s *Store) lookInTurn(ctx context.Context, path string) (now state, node store.Node, fired <-chan gozk.Event, err error) {
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-ctx.Done():
		return now, node, nil, ctx.Err()
	case <-s.done:
		return now, node, nil, store.ErrClosed
	}
	if now, err = s.control.await(ctx); err != nil {
		return now, node, nil, err
	}
	node, fired, err = s.read(ctx, now, path)
	return now, node, fired, err
}

// pause waits until the watch fired, the link's state is another, or, without a watch, a retry is due.
func (s *Store) pause(ctx context.Context, now state, fired <-chan gozk.Event) error {
	var retry <-chan time.Time
	if fired == nil {
		t := time.NewTimer(retryEvery)
		defer t.Stop()
		retry = t.C
	}
	for {
		select {
		case <-fired: // an event, or closed because another Watch of the path took it
			return nil
		case <-retry:
			return nil
		case <-now.changed:
			next := s.control.state()
			if next.ready && (next.sessions != now.sessions || next.lost != now.lost) {
				return nil
			}
			now.changed = next.changed // down: wait until it is up again
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return store.ErrClosed
		}
	}
}

// seen is what a watch last told: a new session is news by itself.
type seen struct {
	sessions          int
	created, modified int64
	version           int32
	failure           string
}

func lookAt(now state, n store.Node, err error) seen {
	if err != nil {
		return seen{sessions: now.sessions, failure: err.Error()}
	}
	return seen{sessions: now.sessions, created: n.Created, modified: n.Modified, version: n.Version}
}

// reading is a node with the channel of the watch on it.
type reading struct {
	node  store.Node
	err   error // that the node does not exist
	fired <-chan gozk.Event
}

// read reads the node and makes sure that a watch is set: the one that is armed already, or a new one. The channel is nil when none could be set.
func (s *Store) read(ctx context.Context, now state, path string) (store.Node, <-chan gozk.Event, error) {
	if fired := s.armed.find(path, now); fired != nil {
		// Another GetW would leave a channel in the library until the watch fires; a session that flaps would pile them up.
		n, err := s.Get(ctx, path)
		return n, fired, err
	}
	r, err := call(ctx, s.control, func(c *gozk.Conn) (reading, error) {
		if c != now.conn {
			return reading{}, store.ErrUnavailable // replaced meanwhile: the state has changed
		}
		return getW(c, s.full(path))
	})
	if err != nil {
		return store.Node{}, nil, fmt.Errorf("watch %q: %w", path, readError(err))
	}
	s.armed.add(path, now, r.fired)
	if r.err != nil {
		return store.Node{}, r.fired, fmt.Errorf("watch %q: %w", path, r.err)
	}
	return r.node, r.fired, nil
}

// getW reads a node with a watch that fires when it changes, or is created.
func getW(c *gozk.Conn, path string) (reading, error) {
	data, stat, fired, err := c.GetW(path)
	if err == nil {
		return reading{node: toNode(c, data, stat), fired: fired}, nil
	}
	if !errors.Is(err, gozk.ErrNoNode) {
		return reading{}, err
	}
	exists, _, fired, err := c.ExistsW(path)
	if err != nil {
		return reading{}, err
	}
	if !exists {
		return reading{err: store.ErrNoNode, fired: fired}, nil
	}
	// Created between the two; the watch is set, so a plain read will do.
	data, stat, err = c.Get(path)
	switch {
	case err == nil:
		return reading{node: toNode(c, data, stat), fired: fired}, nil
	case errors.Is(err, gozk.ErrNoNode):
		return reading{err: store.ErrNoNode, fired: fired}, nil
	}
	return reading{}, err
}

// armed remembers the one-shot watches that have not fired, by path, so that every path has one however many Watch calls come and go: the protocol
// version that the library speaks can't remove a watch.
type armed struct {
	mu    sync.Mutex
	paths map[string]watching
}

type watching struct {
	gen, lost int // of the link's state when it was set
	fired     <-chan gozk.Event
}

// find returns the channel of a watch that is still armed, nil when there is none.
func (a *armed) find(path string, now state) <-chan gozk.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	w, ok := a.paths[path]
	if !ok {
		return nil
	}
	if w.gen == now.gen && w.lost == now.lost {
		select {
		case <-w.fired: // whoever else waits finds it closed
		default:
			return w.fired
		}
	}
	delete(a.paths, path)
	return nil
}

func (a *armed) add(path string, now state, fired <-chan gozk.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.paths[path] = watching{gen: now.gen, lost: now.lost, fired: fired}
}
