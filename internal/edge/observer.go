package edge

import (
	"time"

	"github.com/popdns/popdns/internal/dataset"
)

// An Observer is told what happens to a Source, each event once: what an
// operator wants to see in the log and in the metrics. Methods may be called
// concurrently and must not block.
type Observer interface {
	// Switched: a new version of a dataset is being served.
	Switched(Switch)
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

// Switch describes a version switch.
type Switch struct {
	Path   string         // "zones/example.org"
	Kind   string         // "zone", "map", "pops"
	Head   dataset.Head   // of the new version
	Source dataset.Source // where it came from
	Items  int
	// How the version was reached, and what it changed.
	How    How
	Change Change
	// Behind is how long after its publication the version is served, by the
	// publisher's clock and ours; 0 for the first version of a dataset, which
	// may be old.
	Behind time.Duration
}

// How tells by which way a version was reached.
type How string

// The ways of a Switch.
const (
	HowFirst     How = "first"     // there was none before
	HowConfirmed How = "confirmed" // it is the one that was served: the store has what the disk cache had
	HowDeltas    How = "deltas"    // by the changes since the one before, which Change is of
	HowImage     How = "image"     // as a whole: Change knows only the number of items
)

// A Change is what a version changed. What is not counted is 0.
type Change struct {
	Before                  int // items in the version before
	Added, Removed, Changed int // RRsets of a zone, PoPs of the PoP table
	Settings                int // owners of a zone whose steering settings changed
	Deltas                  int // commits that were taken in one step
	// Examples are some of what changed, "www.example.org. A" or "ams1"; at
	// most maxExamples.
	Examples []string
}

// maxExamples keeps the log line of a switch a line.
const maxExamples = 3
