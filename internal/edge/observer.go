package edge

import (
	"time"

	"github.com/popdns/popdns/internal/dataset"
)

// An Observer is told what happens to a Source, each event once: what an
// operator wants to see in the log and in the metrics. Methods may be called
// concurrently and must not block.
type Observer interface {
	// Following: a zone's dataset is followed from now on; nothing was told of it
	// before. listed says that only the catalog named it. It may be told again
	// with false: somebody else named it too.
	Following(path string, listed bool)
	// Left: a zone's dataset is not followed any more; nothing else is told of it.
	Left(path string)
	// Listed: the catalog changed, or was read for the first time.
	Listed(Listing)
	// Switched: a new version of a dataset is being served.
	Switched(Switch)
	// Pulse: the heartbeat was seen, stamped by the pipeline's writing end at t.
	Pulse(store string, t time.Time)
	// Refused: a published version is not served; the last good one stays.
	Refused(path string, r dataset.Refusal)
	// CacheFailed: the disk cache, or one dataset in it, can't be used or
	// written. path is empty for the whole cache.
	CacheFailed(path string, err error)
	// StoreFailed: the store can't be opened yet, or following ended.
	StoreFailed(err error)
	// StoreConnection: the connection to the store came, went or has trouble.
	// line says so; the same trouble comes at most once a minute.
	StoreConnection(line string)
}

// Listing describes the zones that the catalog lists.
type Listing struct {
	Store          string // its URL
	Rev            int64
	Zones          int
	Added, Removed int // since the listing before
	Source         dataset.Source
}

// Switch describes a version switch.
type Switch struct {
	Path   string         // "zones/example.org"
	Kind   string         // "zone", "map", "pops"
	Head   dataset.Head   // of the new version
	Source dataset.Source // where it came from
	Items  int
	// Behind is how long after its publication the version is served, by the
	// publisher's clock and ours; 0 for the first version of a dataset, which
	// may be old.
	Behind time.Duration
}
