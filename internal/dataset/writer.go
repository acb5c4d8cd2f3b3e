package dataset

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/popdns/popdns/internal/store"
)

// A Writer commits versions of one dataset. It keeps the last version it saw, so that a run of commits loads nothing again.
// Its methods may be called concurrently; commits then happen one after the other.
type Writer[V any] struct {
	s   store.Store
	ref Ref[V]
	now func() time.Time

	mu  sync.Mutex
	cur *Version[V]
}

// Commit says how a version is to be committed.
type Commit struct {
	By      string // who commits: person or program, host; at most 256 bytes
	Message string // why; at most 1024 bytes
	// Force marks the version so that the edges' guards let it pass. It also replaces a current version that can't be
	// loaded: edit then gets nil, and a new image is written.
	Force bool
	// MinSerial is used as the serial if it is newer than the next one.
	MinSerial uint32
	// Renew commits the value under a newer MinSerial even if nothing else changes, unless its serial is frozen.
	Renew bool
	// RollbackOf is noted in the version's history; Rollback sets it.
	RollbackOf uint32
	// SourceTime is when the writing end of the pipeline stamped the data; zero means now.
	SourceTime time.Time
	// Progress, if set, is called while an image is written, never concurrently.
	Progress func(done, total int)
}

// A Receipt says what a commit did.
type Receipt struct {
	Changed     bool   // false: the edit changed nothing, and nothing was written
	Old, New    uint32 // serials; Old is 0 for the first version
	Items       int
	BaseWritten bool  // a new image was written, not only a delta
	Bytes       int   // written to the store
	Head        Head  // now current
	Cleanup     error // why old generations could not be removed; the next image tries again
}

const (
	// commitTries bounds how often an edit is repeated because somebody else's commit came first. The lock makes even one rare.
	commitTries = 3
	// maxClockBack is how far the clock may be behind the last commit's: what well-kept clocks differ by.
	maxClockBack = 5 * time.Second
	// releaseTimeout bounds the wait for the lock's release; after it the lock ends with the session.
	releaseTimeout = 5 * time.Second
)

// errAgain asks for another try from the start.
var errAgain = errors.New("try again")

// NewWriter returns a Writer of the dataset at ref in s. It reads nothing yet.
func NewWriter[V any](s store.Store, ref Ref[V]) *Writer[V] {
	return &Writer[V]{s: s, ref: ref, now: now}
}

// Commit makes the value that edit returns the dataset's current version. edit gets the current version, nil if there is none, and may be
// called again with a newer one when another committer was faster; it must not change what it gets. Its error is returned
// as it is. The value's serial is replaced by the next one, except where the codec says that it is frozen: it must then be newer.
//
// Commit waits for the dataset's lock as long as ctx allows. After an error nothing is committed, unless it wraps
// store.ErrUnknownOutcome: then the head tells. Other errors: ErrNoStore, ErrFrozen, ErrPresented, ErrSerial, ErrClock, ErrConflict, a
// Refusal when the current version can't be loaded, and the store's.
func (w *Writer[V]) Commit(ctx context.Context, c Commit, edit func(cur *Version[V]) (V, error)) (*Receipt, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	receipt, err := w.commit(ctx, c, edit)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", w.ref.Path, err)
	}
	return receipt, nil
}

// Rollback commits the content of an earlier version under a new serial. ErrNotInHistory when it is no longer kept.
func (w *Writer[V]) Rollback(ctx context.Context, serial uint32, c Commit) (*Receipt, error) {
	c.RollbackOf = serial
	return w.Commit(ctx, c, func(*Version[V]) (V, error) {
		old, err := LoadSerial(ctx, w.s, w.ref, serial)
		if err != nil {
			var none V
			return none, err
		}
		return old.Value, nil
	})
}

func (w *Writer[V]) commit(ctx context.Context, c Commit, edit func(cur *Version[V]) (V, error)) (*Receipt, error) {
	rev := Revision{By: c.By, Message: c.Message, Commit: newUUID(), Forced: c.Force, RollbackOf: c.RollbackOf}
	if len(c.By) > maxByBytes || len(c.Message) > maxMessageBytes {
		return nil, fmt.Errorf("message of %d bytes by a name of %d, at most %d and %d", len(c.Message), len(c.By), maxMessageBytes, maxByBytes)
	}
	a := &attempt[V]{w: w, c: c, edit: edit, rev: rev}
	receipt, err := a.passing(ctx)
	if !errors.Is(err, errNeedsLock) {
		return receipt, err
	}
	lock, err := store.Acquire(ctx, w.s, lockPath(w.ref.Path), c.By)
	if err != nil {
		return nil, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		_ = lock.Release(ctx) // otherwise it ends with the session
	}()
	return a.locked(ctx, lock)
}

// state is what must be read before a commit, in one round trip's time.
type state struct {
	cluster        Cluster
	clusterVersion int32
	head           store.Node
	hasHead        bool
}

func (w *Writer[V]) read(ctx context.Context) (st state, err error) {
	var spec Spec
	reads := []func(context.Context) error{
		func(ctx context.Context) (err error) {
			st.cluster, st.clusterVersion, err = readCluster(ctx, w.s)
			return err
		},
		func(ctx context.Context) error { return checkFreeze(ctx, w.s) },
		func(ctx context.Context) (err error) {
			spec, err = ReadSpec(ctx, w.s, w.ref.Path)
			return err
		},
		func(ctx context.Context) (err error) {
			st.head, err = w.s.Get(ctx, headPath(w.ref.Path))
			st.hasHead = err == nil
			if errors.Is(err, store.ErrNoNode) {
				return nil
			}
			return err
		},
	}
	err = parallel(ctx, len(reads), len(reads), func(ctx context.Context, i int) error { return reads[i](ctx) })
	if err == nil && spec.Mode == ModePresented {
		err = ErrPresented
	}
	return st, err
}

// refresh brings w.cur to the head that was read. head is nil when the head can't even be parsed, and is given with the error otherwise:
// a forced commit goes on from its serial.
func (w *Writer[V]) refresh(ctx context.Context, raw []byte) (head *Head, err error) {
	if w.cur != nil && string(w.cur.HeadBytes) == string(raw) {
		return &w.cur.Head, nil
	}
	cur := w.cur
	w.cur = nil
	parsed, err := w.ref.parseHead(raw)
	if r, refused := asRefusal(err, 0); refused && r.Reason == ReasonSigned {
		return &parsed, fmt.Errorf("%w; --force replaces it by a signed version", err)
	}
	if err != nil {
		return nil, err
	}
	if cur != nil && cur.Head.Cluster != parsed.Cluster {
		cur = nil
	}
	value, _, err := loader[V]{w.s, w.ref}.reach(ctx, cur, &parsed)
	if err != nil {
		return &parsed, fmt.Errorf("load the current version: %w", err)
	}
	w.cur = &Version[V]{Value: value, Head: parsed, HeadBytes: raw, Received: time.Now()}
	return &parsed, nil
}
