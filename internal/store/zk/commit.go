package zk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	gozk "github.com/go-zookeeper/zk"

	"github.com/popdns/popdns/internal/store"
)

const (
	// serverLimit is jute.maxbuffer's default: a server closes the connection at a longer packet, and everything in flight on it is lost.
	serverLimit = 1<<20 - 1
	// bulkFrom is the packet size from which a commit goes over the second connection, so that heads, pings and locks need not wait behind it.
	bulkFrom = 64 << 10
	// bulkTimeouts is how many request timeouts a large commit gets.
	bulkTimeouts = 6
)

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) error {
	if err := s.commit(ctx, ops); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func (s *Store) commit(ctx context.Context, ops []store.Op) error {
	if err := store.CheckOps(ops); err != nil {
		return err
	}
	requests, size := s.requests(ops)
	if size > serverLimit {
		return fmt.Errorf("packet of %d bytes, at most %d: %w", size, serverLimit, store.ErrTooLarge)
	}
	if len(ops) == 0 {
		return nil
	}
	if ops[0].Kind == store.OpCreate && ops[0].Path == "" {
		if err := s.makeAncestors(ctx); err != nil {
			return err
		}
	}
	// An ephemeral node belongs to the session that creates it, and the second connection's is given up when it is idle.
	if size < bulkFrom || hasEphemeral(ops) {
		return s.multi(ctx, s.control, 1, ops, requests)
	}
	l, err := s.bulk.use()
	if err != nil {
		return err
	}
	defer s.bulk.release()
	if err := s.multi(ctx, l, bulkTimeouts, ops, requests); err != nil {
		return err
	}
	// The connections may be with different servers: without this a read right after might not see the commit. Should it fail, so will that read.
	_, _ = call(ctx, s.control, func(c *gozk.Conn) (string, error) { return c.Sync(s.full("")) })
	return nil
}

func hasEphemeral(ops []store.Op) bool {
	for _, op := range ops {
		if op.Kind == store.OpCreateEphemeral {
			return true
		}
	}
	return false
}

// multi sends the operations as one transaction.
func (s *Store) multi(ctx context.Context, l *link, timeouts int, ops []store.Op, requests []any) error {
	results, err := callWithin(ctx, l, timeouts, func(c *gozk.Conn) ([]gozk.MultiResponse, error) {
		return c.Multi(requests...)
	})
	// Of a failed transaction the operations before the failed one say nothing and those after it "runtime inconsistency": the first error is the reason.
	for i, r := range results {
		if r.Error != nil && i < len(ops) {
			reason := opError(r.Error)
			if reason == nil {
				reason = r.Error
			}
			return &store.OpError{Index: i, Kind: ops[i].Kind, Path: ops[i].Path, Err: reason}
		}
	}
	if err == nil {
		return nil
	}
	return writeError(err)
}

// writeError tells, for a commit without an answer, whether it may have happened.
func writeError(err error) error {
	if known := opError(err); known != nil {
		return known // of the transaction as a whole
	}
	switch {
	case errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrUnavailable):
		return err // not sent
	case errors.Is(err, gozk.ErrNoServer), errors.Is(err, gozk.ErrSessionExpired), errors.Is(err, gozk.ErrSessionMoved):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err) // not sent, or refused as a whole
	}
	return fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
}

// Sizes of the parts of a transaction on the wire.
const (
	packetHead  = 4 + 8 // length; xid and type
	multiHead   = 9     // before each operation and at the end
	lengthField = 4
	intField    = 4
)

// requests translates the operations and returns the size of the packet they make. The data is copied: a request that timed out may still wait in the library
// to be sent, when the caller has got its slices back.
func (s *Store) requests(ops []store.Op) (requests []any, size int) {
	aclSize := lengthField
	for _, a := range s.acl {
		aclSize += intField + lengthField + len(a.Scheme) + lengthField + len(a.ID)
	}
	requests = make([]any, len(ops))
	size = packetHead + multiHead
	for i, op := range ops {
		path := s.full(op.Path)
		size += multiHead + lengthField + len(path)
		switch op.Kind {
		case store.OpCreate, store.OpCreateEphemeral:
			r := &gozk.CreateRequest{Path: path, Data: bytes.Clone(op.Data), Acl: s.acl}
			if op.Kind == store.OpCreateEphemeral {
				r.Flags = gozk.FlagEphemeral
			}
			requests[i] = r
			size += lengthField + len(op.Data) + aclSize + intField
		case store.OpSet:
			requests[i] = &gozk.SetDataRequest{Path: path, Data: bytes.Clone(op.Data), Version: op.Version}
			size += lengthField + len(op.Data) + intField
		case store.OpDelete:
			requests[i] = &gozk.DeleteRequest{Path: path, Version: op.Version}
			size += intField
		case store.OpCheck:
			requests[i] = &gozk.CheckVersionRequest{Path: path, Version: op.Version}
			size += intField
		}
	}
	return requests, size
}

// makeAncestors creates the nodes above the root, which no path of ours can name.
func (s *Store) makeAncestors(ctx context.Context) error {
	for i, c := range s.root {
		if c != '/' || i == 0 {
			continue
		}
		above := s.root[:i]
		_, err := callWithin(ctx, s.control, 1, func(c *gozk.Conn) (string, error) { return c.Create(above, nil, 0, s.acl) })
		if err != nil && !errors.Is(err, gozk.ErrNodeExists) {
			return fmt.Errorf("create %s above the root: %w", above, readError(err))
		}
	}
	return nil
}

// bulk is the second connection: made for the first large commit, given up when it was idle for a while.
type bulk struct {
	s *Store

	mu     sync.Mutex
	link   *link
	users  int
	idle   *time.Timer
	closed bool
	ending sync.WaitGroup // links that are being closed
}

func (b *bulk) use() (*link, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, store.ErrClosed
	}
	if b.idle != nil {
		b.idle.Stop()
	}
	if b.link == nil {
		b.link = newLink(b.s.control.servers, b.s.o)
	}
	b.users++
	return b.link, nil
}

func (b *bulk) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users--; b.users == 0 && !b.closed {
		b.idle = time.AfterFunc(b.s.o.BulkIdle, b.giveUp)
	}
}

func (b *bulk) giveUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users > 0 || b.link == nil {
		return
	}
	b.ending.Go(b.link.close)
	b.link = nil
}

// close ends the connection under its users, and waits until all of it is gone.
func (b *bulk) close() {
	b.mu.Lock()
	b.closed = true
	b.users = 0
	if b.idle != nil {
		b.idle.Stop()
	}
	l := b.link
	b.link = nil
	b.mu.Unlock()
	if l != nil {
		l.close()
	}
	b.ending.Wait()
}
