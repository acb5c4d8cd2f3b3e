package dir

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/popdns/popdns/internal/store"
)

// A change is the state that a commit gives to one node.
type change struct {
	path    string
	deleted bool
	fresh   bool // the node did not exist before, or another did that this commit deleted
	record  record
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) error {
	if err := s.commit(ctx, ops); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	s.notify.wake() // after the lock is released, or the woken would run into it
	return nil
}

func (s *Store) commit(ctx context.Context, ops []store.Op) error {
	if err := store.CheckOps(ops); err != nil {
		return err
	}
	if s.readOnly {
		return fmt.Errorf("%s: %w", s.name, store.ErrReadOnly)
	}
	release, err := s.lock(ctx, exclusive)
	if err != nil {
		return err
	}
	defer release()
	if err := s.recover(); err != nil {
		return err
	}
	tx, err := s.begin()
	if err != nil {
		return err
	}
	for i, op := range ops {
		if err := tx.apply(op); err != nil {
			return &store.OpError{Index: i, Kind: op.Kind, Path: op.Path, Err: err}
		}
	}
	if err := tx.finish(); err != nil {
		return err
	}
	s.session.remember(tx.changes)
	return nil
}

// A tx is a commit in the making: it decides in memory, then finish writes. The exclusive lock is held throughout.
type tx struct {
	view
	rev     int64
	changes []*change // in the order of the first touch; the view finds them by path
}

// begin starts a commit with the next transaction number.
func (s *Store) begin() (*tx, error) {
	rev, err := s.readRev()
	if errors.Is(err, errCorrupt) {
		rev, err = s.guessRev()
	}
	if err != nil {
		return nil, err
	}
	v, err := s.view()
	if err != nil {
		return nil, err
	}
	return &tx{view: *v, rev: rev + 1}, nil
}

// apply checks one operation against the tree as the operations before it left it, and notes its effect.
func (t *tx) apply(op store.Op) error {
	switch op.Kind {
	case store.OpCreate, store.OpCreateEphemeral:
		return t.create(op)
	case store.OpSet:
		return t.set(op)
	case store.OpDelete:
		return t.delete(op)
	case store.OpCheck:
		return t.check(op)
	}
	return fmt.Errorf("unknown operation %d", op.Kind)
}

func (t *tx) create(op store.Op) error {
	if _, err := t.head(op.Path); err == nil || errors.Is(err, errCorrupt) {
		return store.ErrExists
	} else if !errors.Is(err, store.ErrNoNode) {
		return err
	}
	parent, err := t.head(store.Parent(op.Path))
	if err != nil {
		return err
	}
	if parent.owner != 0 {
		return store.ErrNoChildren
	}
	r := record{created: t.rev, modified: t.rev, data: op.Data}
	if op.Kind == store.OpCreateEphemeral {
		if r.owner, err = t.s.ownSession(); err != nil {
			return err
		}
	}
	t.note(change{path: op.Path, fresh: true, record: r})
	return nil
}

func (t *tx) set(op store.Op) error {
	old, err := t.atVersion(op)
	if err != nil {
		return err
	}
	version := old.version + 1
	if old.version == math.MaxInt32 {
		version = 0 // as a negative version would read AnyVersion
	}
	t.note(change{path: op.Path, record: record{
		version: version, created: old.created, modified: t.rev, owner: old.owner, data: op.Data,
	}})
	return nil
}

func (t *tx) delete(op store.Op) error {
	if _, err := t.atVersion(op); err != nil {
		return err
	}
	names, err := t.children(op.Path)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return store.ErrNotEmpty
	}
	t.note(change{path: op.Path, deleted: true})
	return nil
}

// check reads the data too: a node that can't be read does not stand at any version.
func (t *tx) check(op store.Op) error {
	r, err := t.get(op.Path)
	if err != nil {
		return err
	}
	return matchVersion(r, op)
}

// atVersion returns the node without its data when it is at the operation's version. A corrupt node may be replaced or deleted by who does not care
// for its version: otherwise a damaged cache could never heal.
func (t *tx) atVersion(op store.Op) (record, error) {
	r, err := t.head(op.Path)
	if errors.Is(err, errCorrupt) && op.Version == store.AnyVersion {
		return record{created: t.rev}, nil
	}
	if err != nil {
		return record{}, err
	}
	return r, matchVersion(r, op)
}

func matchVersion(r record, op store.Op) error {
	if op.Version != store.AnyVersion && op.Version != r.version {
		return store.ErrVersion
	}
	return nil
}

// note lays a change over the tree. A node that was created in this commit stays fresh when it is set afterwards.
func (t *tx) note(c change) {
	old, ok := t.changed[c.path]
	if !ok {
		n := &c
		t.changed[c.path] = n
		t.changes = append(t.changes, n)
		return
	}
	c.fresh = c.fresh || (old.fresh && !c.deleted)
	*old = c
}
