// Package store is the tree of small versioned nodes that carries everything popdns publishes: one interface, [Store], with atomic commits
// of several operations, watches, and ephemeral nodes that end with their owner.
//
// Two packages implement it: store/zk over a ZooKeeper ensemble and store/dir over a directory. They behave alike; store/storetest is the
// suite that both must pass, and store/storeurl opens either from a URL.
//
// A reader follows one node with [Store.Watch]. A writer checks versions inside [Store.Commit], because after ErrUnknownOutcome it can't know
// whether its commit happened: every commit must be safe to repeat or must detect its own earlier success.
package store

import (
	"context"
	"time"
)

// AnyVersion as the version of an operation matches whatever version the node has.
const AnyVersion int32 = -1

// MaxNodeBytes bounds the data of a node, and of all operations of one Commit together. ZooKeeper refuses packets above 1,048,575 bytes by closing
// the connection, which fails everything else in flight; the difference pays for paths, access lists and headers.
const MaxNodeBytes = 1_000_000

// MaxCommitOps bounds the number of operations in one Commit.
const MaxCommitOps = 2000

// A Node is the state of one node as it was read. Data is the caller's to keep.
type Node struct {
	Data    []byte
	Version int32 // 0 when created, raised by one by every Set
	// Created and Modified number the transactions that created the node and last set its data. Within one store they only grow, so a
	// different Created at the same path means that the node was deleted and made anew.
	Created, Modified int64
	Ephemeral         bool // the node ends with its creator's session
	Mine              bool // ephemeral, and created by the present session of the Store that read it
}

// A Reader reads nodes. Paths are relative to the store's root, slash-separated, without a leading slash: "zones/example.org/head". The
// empty path is the root itself. CheckPath tells which paths are valid.
type Reader interface {
	// Get reads one node. The error wraps ErrNoNode when there is none, ErrUnavailable when the store did not answer in time.
	Get(ctx context.Context, path string) (Node, error)
	// Children lists the base names of the nodes directly below path, sorted. Errors are those of Get.
	Children(ctx context.Context, path string) ([]string, error)
}

// A Store is a Reader that also writes and watches. All methods may be called concurrently.
type Store interface {
	Reader

	// Watch calls fn with the node's current value, then again whenever it changed, was created or deleted (the error then wraps ErrNoNode and
	// the Node is zero), and after every new or re-established session even if nothing changed. Changes that come while fn runs are coalesced
	// into one call with the newest value. Any other error given to fn (ErrNoAuth, say) is tried again.
	//
	// fn runs on the caller's goroutine, never concurrently. Watch returns ctx.Err() when ctx ends, ErrClosed when the store is closed, and
	// ErrInvalidPath at once. While the store can't be reached fn is not called: the last value stands, and Status tells.
	Watch(ctx context.Context, path string, fn func(Node, error)) error

	// Commit applies all operations in order, each seeing the effect of those before it, or none of them. When an operation can't be applied the
	// error is an *OpError that names it. ErrTooLarge is returned before anything is sent. ErrUnavailable means that nothing was applied,
	// ErrUnknownOutcome that the connection broke after sending: the commit may or may not have happened.
	Commit(ctx context.Context, ops ...Op) error

	// Status tells whether the store can be reached now.
	Status() Status

	// Close ends the session, with it the ephemeral nodes it created, and all Watch calls. It waits for the store's own goroutines. Further
	// calls fail with ErrClosed; closing again does nothing.
	Close() error
}

// Status is the state of a Store's connection.
type Status struct {
	Connected bool
	Since     time.Time // of the last change of Connected
	Sessions  int       // sessions established or re-established so far
}
