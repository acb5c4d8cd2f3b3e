package dataset

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/popdns/popdns/internal/store"
)

// An attempt is one Commit call: the same edit, tried until it is in, refused or overtaken too often.
type attempt[V any] struct {
	w     *Writer[V]
	c     Commit
	edit  func(cur *Version[V]) (V, error)
	guard guard
	rev   Revision // its commit id is the same in every try: a late success of an earlier try is recognised

	sent      *plan[V] // the last one whose outcome is unknown
	logExists bool     // the next serial's log node is taken: an image needs none
	listLater bool     // others change the catalog at the same time: list by itself, not in the commit
}

// A guard makes a commit exclusive. Its first operation stands before all that changes something.
type guard struct {
	first store.Op  // the held lock's fence, or the taking of the lock
	last  *store.Op // the giving back of a lock that is taken for one commit only
}

// errNeedsLock says that a commit can't take the lock in passing: somebody holds it, or more than one write is to be done.
var errNeedsLock = errors.New("the lock is needed")

// passing tries the commit without holding the lock: a change that fits in one write takes and returns it in that write.
func (a *attempt[V]) passing(ctx context.Context) (*Receipt, error) {
	enter, leave, err := store.Passing(lockPath(a.w.ref.Path), a.c.By)
	if err != nil {
		return nil, err
	}
	a.guard = guard{enter, &leave}
	return a.tries(ctx, errNeedsLock)
}

// locked makes the commit under the held lock.
func (a *attempt[V]) locked(ctx context.Context, lock *store.Lock) (*Receipt, error) {
	a.guard = guard{first: lock.Fence()}
	return a.tries(ctx, ErrConflict)
}

// tries makes tries until one is decided; overtaken is the error when none is.
func (a *attempt[V]) tries(ctx context.Context, overtaken error) (*Receipt, error) {
	for range commitTries {
		receipt, err := a.run(ctx)
		if !errors.Is(err, errAgain) {
			return receipt, err
		}
	}
	return nil, overtaken
}

// run makes one try. errAgain means that somebody else changed something that the commit was built on.
func (a *attempt[V]) run(ctx context.Context) (*Receipt, error) {
	st, err := a.w.read(ctx)
	if err != nil {
		return nil, err
	}
	head, err := a.current(ctx, &st)
	if err != nil {
		return nil, err
	}
	if a.sent != nil && head != nil && head.Commit == a.rev.Commit {
		return a.done(ctx, a.sent), nil // it had happened after all
	}
	value, err := a.edit(a.w.cur)
	if err != nil {
		return nil, err
	}
	p, err := a.plan(&st, head, value)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return unchanged(head), a.heal(ctx)
	}
	if p.image && a.guard.last != nil {
		return nil, errNeedsLock
	}
	if p.image {
		if err := a.writeImage(ctx, p, head == nil); err != nil {
			return nil, err
		}
	}
	ops, err := p.ops(ctx, a)
	if err != nil {
		return nil, err
	}
	err = a.w.s.Commit(ctx, ops...)
	if err == nil {
		return a.done(ctx, p), nil
	}
	return a.failed(ctx, p, err)
}

// current loads the current version into the Writer and returns its head: nil if there is none, or if it is unreadable and the
// commit is forced.
func (a *attempt[V]) current(ctx context.Context, st *state) (*Head, error) {
	if !st.hasHead {
		a.w.cur = nil
		return nil, nil
	}
	head, err := a.w.refresh(ctx, st.head.Data)
	if err == nil {
		return head, nil
	}
	if _, damaged := asRefusal(err, 0); damaged && a.c.Force {
		return head, nil
	}
	if errors.Is(err, store.ErrNoNode) {
		// Its nodes are gone: a committer without our lock, or damage. The next try tells.
		if node, gerr := a.w.s.Get(ctx, headPath(a.w.ref.Path)); gerr == nil && node.Version != st.head.Version {
			return nil, errAgain
		}
	}
	return nil, err
}

// heal lists a dataset that has its version but is not in the catalog: a publisher died before it came to that. Publishing again must help.
func (a *attempt[V]) heal(ctx context.Context) error {
	path := a.w.ref.Path
	if dir, _, _ := strings.Cut(path, "/"); a.c.Unlisted || (&Catalog{}).list(dir) == nil {
		return nil
	}
	c, err := ReadCatalog(ctx, a.w.s)
	if err != nil || c.Lists(path) {
		return err
	}
	return ListAll(ctx, a.w.s, a.w.ref.Keys, []string{path}, a.c.Force)
}

func unchanged(head *Head) *Receipt {
	return &Receipt{Old: head.Serial, New: head.Serial, Items: head.Items, Head: *head}
}

func (a *attempt[V]) writeImage(ctx context.Context, p *plan[V], first bool) error {
	w := a.w
	if first {
		for _, dir := range []string{logDir(w.ref.Path), baseDir(w.ref.Path), historyDir(w.ref.Path)} {
			if err := store.MkdirAll(ctx, w.s, dir); err != nil {
				return err
			}
		}
	}
	iw := imageWriter[V]{s: w.s, ref: w.ref, guard: []store.Op{a.guard.first}, progress: a.c.Progress, unlogged: p.delta == nil}
	gen, base, err := iw.write(ctx, p.value, &p.head.Revision)
	if err != nil {
		return a.lost(err)
	}
	p.head.Gen, p.head.Base = gen, base
	return nil
}

// lost says it plainly when a commit failed because the lock is gone.
func (a *attempt[V]) lost(err error) error {
	var op *store.OpError
	if errors.As(err, &op) && op.Path == a.guard.first.Path && errors.Is(err, store.ErrNoNode) {
		return fmt.Errorf("%w: the lock was lost meanwhile: %w", ErrConflict, err)
	}
	return err
}

// done makes the committed plan the Writer's current version and removes what it made superfluous.
func (a *attempt[V]) done(ctx context.Context, p *plan[V]) *Receipt {
	w := a.w
	w.cur = &Version[V]{Value: p.value, Head: p.head, HeadBytes: p.raw, Received: time.Now()}
	r := &Receipt{Changed: true, New: p.head.Serial, Items: p.head.Items, BaseWritten: p.image, Bytes: p.bytes, Head: p.head}
	if p.old != nil {
		r.Old = p.old.Serial
	}
	if p.image {
		r.Bytes += int(p.head.Base.Bytes)
		r.Cleanup = p.cleanUp(ctx, a)
	}
	return r
}

// failed decides what a commit's error means.
func (a *attempt[V]) failed(ctx context.Context, p *plan[V], err error) (*Receipt, error) {
	if errors.Is(err, store.ErrUnknownOutcome) {
		a.sent = p
		return a.settle(ctx, err)
	}
	var op *store.OpError
	if !errors.As(err, &op) {
		return nil, err
	}
	moved := errors.Is(err, store.ErrVersion) || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrNoNode)
	switch {
	case op.Path == a.guard.first.Path && a.guard.last != nil:
		return nil, errNeedsLock
	case op.Path == a.guard.first.Path:
		// A commit of ours whose reply was lost may still have been the last thing under the lock.
		if a.sent != nil {
			return a.settle(ctx, a.lost(err))
		}
		return nil, a.lost(err)
	case op.Path == logPath(a.w.ref.Path, p.head.Serial) && errors.Is(err, store.ErrExists):
		// The serials have come round, or an operator stepped them back as RFC 1982 allows: an entry of long ago bears this
		// one. An image needs no log node, and history sheds the old entry in time.
		a.logExists = true
		return nil, errAgain
	case moved && op.Path == catalogPath:
		// Many new datasets at once would fail each other's commits, and the lock of this one does not help. ListAll is more patient.
		a.listLater = true
		return nil, errAgain
	case moved && (op.Path == headPath(a.w.ref.Path) || op.Path == clusterPath):
		return nil, errAgain
	}
	return nil, err
}

// settleEvery is the pace of looking whether an unanswered commit happened, settleTimeout when to give up and say so.
const (
	settleEvery   = 200 * time.Millisecond
	settleTimeout = 30 * time.Second
)

// settle reads the head until the store answers again. What it finds is not the last word when the commit is not there: it
// may still be on its way, so the next try's head version and commit id decide.
func (a *attempt[V]) settle(ctx context.Context, cause error) (*Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for {
		head, raw, err := readHead(ctx, a.w.s, a.w.ref)
		switch {
		case err == nil && head.Commit == a.rev.Commit:
			a.sent.raw = raw
			return a.done(ctx, a.sent), nil
		case errors.Is(cause, ErrConflict):
			return nil, cause
		case err == nil || errors.Is(err, ErrNoDataset):
			return nil, errAgain
		case errors.Is(err, store.ErrClosed):
			return nil, fmt.Errorf("%w (%w)", cause, err)
		}
		if _, refused := asRefusal(err, 0); refused {
			return nil, errAgain
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", cause, ctx.Err())
		case <-time.After(settleEvery):
		}
	}
}
