// Package dataset is the protocol that carries one versioned thing, a zone, a map or the PoP table, through a store: how a
// version is committed, found, verified, followed and kept on disk.
//
// A dataset is a few nodes below its path:
//
//	head             names the current version; the only node that readers watch
//	log/<serial>     one commit's change, immutable
//	base/<gen>/m     manifest of a full image; base/<gen>/0000 … its chunks, immutable
//	history/<gen>    the last head of an earlier generation, for rollback
//	lock/            the committers' election
//	spec             who may commit (see [Spec])
//
// A commit is one atomic write that checks the committer's lock, or takes and returns it in passing, creates the log entry and sets the head at the version it
// was read at; images are written and read back before. Readers go by the head alone, so nothing half written is ever seen,
// and every version is proved by the hash of its set before it is used.
//
// Programs that write use a [Writer], programs that serve use a [Follower], tools that look use [Load], [LoadSerial] and
// [History]. DESIGN.md in this folder says why the parts are as they are.
package dataset

import (
	"errors"
	"time"

	"github.com/popdns/popdns/internal/setsum"
)

// Bounds of what lies in the store. A reader refuses more before it allocates.
const (
	MaxHeadBytes  = 64 << 10
	MaxDeltaBytes = 256 << 10 // a bigger change is committed as a new image
	MaxChunkBytes = 512 << 10
	MaxChunks     = 4096
	MaxBaseBytes  = 256 << 20 // all chunks of an image
	HistoryLen    = 32        // generations kept for rollback beside the current one
)

// What a caller may have to tell apart.
var (
	ErrNoDataset    = errors.New("nothing is published there")
	ErrConflict     = errors.New("somebody else committed at the same time")
	ErrPresented    = errors.New("the zone is presented: publish its inputs, its presenter commits")
	ErrFrozen       = errors.New("the store is frozen")
	ErrSerial       = errors.New("serial is not newer than the published one")
	ErrNotInHistory = errors.New("version is no longer kept")
	ErrNoStore      = errors.New("not a popdns store yet: run popctl init")
	ErrClock        = errors.New("this machine's clock is behind the last commit")
)

// A Codec turns values of one kind into bytes. V is a pointer or another type whose values are immutable; its zero value
// stands for "no version". All methods may be called concurrently.
type Codec[V any] interface {
	// Kind names the kind in heads: "zone", "map".
	Kind() string
	// Encode returns the image of v in at least one chunk, each at most MaxChunkBytes and decodable on its own.
	Encode(v V) (chunks [][]byte, err error)
	// Decode reads an image. The codec bounds what it allocates; it may use several goroutines, and may set each of chunks to nil when it is done
	// with it, so that it need not be in memory beside the value.
	Decode(chunks [][]byte) (V, error)
	// Diff returns the change from old to new, nil when they are equal in everything, the serial included. old may be zero.
	Diff(old, new V) (delta []byte, err error)
	// Apply returns v changed by delta. It leaves v as it was.
	Apply(v V, delta []byte) (V, error)
	// Sum returns the hash and the number of v's items. It costs O(1).
	Sum(v V) (sum setsum.Sum, items int)
	// WithSerial returns v with another serial.
	WithSerial(v V, serial uint32) V
	// Serial returns v's own serial, 0 if it has none yet.
	Serial(v V) uint32
	// Frozen tells that v's serial can't be set by us: a zone whose SOA is signed.
	Frozen(v V) bool
}

// A Ref names a dataset: its path in the store ("zones/example.org", "maps/edge", "pops") and the codec of its kind.
type Ref[V any] struct {
	Path  string
	Codec Codec[V]
	Keys  Keys
	// Serving, if it is set, is the codec that a Follower uses from its first version on, for images: one that leaves room for the work that is done
	// with that version meanwhile. It must do the same as Codec.
	Serving Codec[V]
}

// serving returns the reference with the codec for what is done while a version is in use.
func (ref Ref[V]) serving() Ref[V] {
	if ref.Serving != nil {
		ref.Codec = ref.Serving
	}
	return ref
}

// local returns the reference of the disk cache's copy: it is written by this machine and not signed.
func (ref Ref[V]) local() Ref[V] {
	ref.Keys = Keys{}
	return ref
}

// Source tells where a version was read.
type Source uint8

// The sources of a Version.
const (
	Live Source = iota // the store
	Disk               // the disk cache, not confirmed by the store since
)

// String returns "live" or "disk".
func (s Source) String() string {
	if s == Disk {
		return "disk"
	}
	return "live"
}

// A Version is one verified version of a dataset. It is immutable.
type Version[V any] struct {
	Value     V
	Head      Head
	HeadBytes []byte // the head as it was read
	Source    Source
	Received  time.Time // when it was read, by this machine's clock
}
