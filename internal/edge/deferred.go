package edge

import (
	"context"
	"sync"
	"time"

	"github.com/popdns/popdns/internal/store"
)

// deferred is a store that may not be open yet: a server must start, and serve
// its disk cache, while the store's address does not even resolve. Until open
// is called everything waits for it, or for the caller's context.
type deferred struct {
	ready   chan struct{}
	created time.Time

	once sync.Once
	st   store.Store // set before ready is closed
}

func newDeferred() *deferred {
	return &deferred{ready: make(chan struct{}), created: time.Now()}
}

// open hands over the real store; only the first call counts.
func (d *deferred) open(st store.Store) {
	d.once.Do(func() {
		d.st = st
		close(d.ready)
	})
}

func (d *deferred) wait(ctx context.Context) (store.Store, error) {
	select {
	case <-d.ready:
		return d.st, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Get implements store.Reader.
func (d *deferred) Get(ctx context.Context, path string) (store.Node, error) {
	st, err := d.wait(ctx)
	if err != nil {
		return store.Node{}, err
	}
	return st.Get(ctx, path)
}

// Children implements store.Reader.
func (d *deferred) Children(ctx context.Context, path string) ([]string, error) {
	st, err := d.wait(ctx)
	if err != nil {
		return nil, err
	}
	return st.Children(ctx, path)
}

// Watch implements store.Store.
func (d *deferred) Watch(ctx context.Context, path string, fn func(store.Node, error)) error {
	st, err := d.wait(ctx)
	if err != nil {
		return err
	}
	return st.Watch(ctx, path, fn)
}

// Commit implements store.Store. An edge never writes.
func (d *deferred) Commit(context.Context, ...store.Op) error { return store.ErrNoAuth }

// Status implements store.Store.
func (d *deferred) Status() store.Status {
	select {
	case <-d.ready:
		return d.st.Status()
	default:
		return store.Status{Since: d.created}
	}
}

// Close implements store.Store: it closes the real store, if there is one.
func (d *deferred) Close() error {
	select {
	case <-d.ready:
		return d.st.Close()
	default:
		return nil
	}
}
