package store

import (
	"errors"
	"fmt"
)

// Why an operation of a Commit could not be applied, or a node not be read.
var (
	ErrNoNode      = errors.New("no such node")
	ErrExists      = errors.New("node exists")
	ErrVersion     = errors.New("node is at another version")
	ErrNotEmpty    = errors.New("node has children")
	ErrNoChildren  = errors.New("an ephemeral node can't have children")
	ErrNoAuth      = errors.New("not permitted")
	ErrTooLarge    = fmt.Errorf("larger than %d bytes or %d operations", MaxNodeBytes, MaxCommitOps)
	ErrInvalidPath = errors.New("invalid path")
	ErrReadOnly    = errors.New("store is read-only")
	// ErrCorrupt means that a node is there and does not hold what was written. Who does not care for what it held may set or delete it at AnyVersion.
	ErrCorrupt = errors.New("file is corrupt")
)

// What happened to the store itself.
var (
	// ErrUnavailable means that the store did not answer and that nothing was changed.
	ErrUnavailable = errors.New("store unavailable")
	// ErrUnknownOutcome means that the connection broke, or the time was over, after a commit was sent: read before trying again.
	ErrUnknownOutcome = errors.New("outcome of the commit is unknown")
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("store closed")
	// ErrLocked is returned by Acquire when somebody else holds the lock.
	ErrLocked = errors.New("locked")
)

// An OpError names the first operation that kept a Commit from being applied.
type OpError struct {
	Index int // into the operations given to Commit
	Kind  OpKind
	Path  string
	Err   error // ErrNoNode, ErrExists, ErrVersion, …
}

// Error implements error.
func (e *OpError) Error() string { return fmt.Sprintf("%s %q: %v", e.Kind, e.Path, e.Err) }

// Unwrap returns the reason.
func (e *OpError) Unwrap() error { return e.Err }
