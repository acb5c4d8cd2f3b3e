package zk

import (
	"context"
	"errors"
	"fmt"
	"time"

	gozk "github.com/go-zookeeper/zk"

	"github.com/popdns/popdns/internal/store"
)

// errNotSent means that a request was never given to the library.
var errNotSent = fmt.Errorf("no session: %w", store.ErrUnavailable)

// maxPatience is how many request timeouts a read may take while long replies come in: sixteen chunks of 512 KiB at the least rate that the
// library bears, 80 KB/s (a packet within two thirds of the session).
const maxPatience = 24

// call waits until the link is ready and runs one request that reads, within ctx and, while nothing comes in, the link's request timeout. Replies
// come in the order of the requests, so each piece of a long one brings that of this request nearer: given up in the middle and asked again,
// an image would never arrive over a slow link.
func call[T any](ctx context.Context, l *link, request func(*gozk.Conn) (T, error)) (T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	end := time.Now().Add(maxPatience * l.o.RequestTimeout)
	var idle *time.Timer
	idle = time.AfterFunc(maxPatience*l.o.RequestTimeout, func() {
		if left := l.o.RequestTimeout - time.Since(l.lastProgress()); left > 0 && time.Now().Before(end) {
			idle.Reset(left)
			return
		}
		cancel(context.DeadlineExceeded)
	})
	idle.Reset(l.o.RequestTimeout) // not at once, or the function could find no timer
	defer idle.Stop()
	return run(ctx, l, request)
}

// callWithin runs one request within ctx and so many request timeouts. The error wraps errNotSent when the request was not sent, store.ErrClosed when the link is
// closed, and is the library's or the context's otherwise.
func callWithin[T any](ctx context.Context, l *link, times int, request func(*gozk.Conn) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.RequestTimeout*time.Duration(times))
	defer cancel()
	return run(ctx, l, request)
}

func run[T any](ctx context.Context, l *link, request func(*gozk.Conn) (T, error)) (T, error) {
	var zero T
	now, err := l.await(ctx)
	if err != nil {
		return zero, err
	}
	return within(ctx, l, func() (T, error) { return request(now.conn) })
}

// await returns the state once the link is ready. The error is that of call.
func (l *link) await(ctx context.Context) (state, error) {
	for {
		now := l.state()
		switch {
		case l.ctx.Err() != nil:
			return state{}, store.ErrClosed
		case ctx.Err() != nil:
			return state{}, fmt.Errorf("%w: %w", errNotSent, context.Cause(ctx))
		case now.ready && now.conn != nil:
			return now, nil
		}
		select {
		case <-now.changed:
		case <-ctx.Done():
		case <-l.ctx.Done():
		}
	}
}

// within runs a request of the library, which knows no context and may take as long as a dead connection lives, in a goroutine of the link, and stops
// waiting for it when ctx ends. The result of a request that was left alone goes nowhere.
func within[T any](ctx context.Context, l *link, request func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var zero T
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return zero, fmt.Errorf("%w: %w", errNotSent, context.Cause(ctx))
	case <-l.ctx.Done():
		return zero, store.ErrClosed
	}
	got := make(chan result, 1)
	if !l.spawn(func() {
		defer func() { <-l.slots }()
		v, err := request()
		got <- result{v, err}
	}) {
		<-l.slots
		return zero, store.ErrClosed
	}
	select {
	case r := <-got:
		return r.value, r.err
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	}
}

// readError makes a store error of what a read failed with.
func readError(err error) error {
	if known := opError(err); known != nil {
		return known
	}
	if errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// opError returns the store's word for a server's answer about one operation, nil for other errors.
func opError(err error) error {
	for _, known := range []struct{ theirs, ours error }{
		{gozk.ErrNoNode, store.ErrNoNode},
		{gozk.ErrNodeExists, store.ErrExists},
		{gozk.ErrBadVersion, store.ErrVersion},
		{gozk.ErrNotEmpty, store.ErrNotEmpty},
		{gozk.ErrNoChildrenForEphemerals, store.ErrNoChildren},
		{gozk.ErrNoAuth, store.ErrNoAuth},
		{gozk.ErrInvalidACL, store.ErrNoAuth}, // the credentials were not accepted
		{gozk.ErrInvalidPath, store.ErrInvalidPath},
		{gozk.ErrBadArguments, store.ErrInvalidPath},
	} {
		if errors.Is(err, known.theirs) {
			return known.ours
		}
	}
	return nil
}
