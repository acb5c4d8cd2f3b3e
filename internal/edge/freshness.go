package edge

import (
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/zone"
)

// State says how a served zone relates to the store right now.
type State string

// The states of served data.
const (
	StateLive  State = "live"  // verified against the store, which is in reach
	StateStale State = "stale" // verified against the store once; now out of reach
	StateDisk  State = "disk"  // from the disk cache, not yet compared with the store
	// StateFrozen: the store is in reach, and what it has now was refused, or is gone.
	StateFrozen State = "frozen"
)

// Freshness is what a server can prove about the age of a zone it serves.
type Freshness struct {
	// SourceTime is when the pipeline's writing end stamped the data: the
	// heartbeat's time, or the served version's where there is no heartbeat or
	// the data are frozen: the pulse of a pipeline that doesn't reach them, or
	// of another one, says nothing about their age.
	SourceTime time.Time
	// Pulse tells whether SourceTime is a heartbeat's.
	Pulse bool
	State State
	// LastContact is when the store was last in reach: now while it is. For a
	// server that never reached it, the cached heartbeat's time, and where
	// there is none its own start.
	LastContact time.Time
}

// Freshness reports on d's version v as served at the time now.
func (s *Source) Freshness(d *Dataset[*zone.Snapshot], v *dataset.Version[*zone.Snapshot], now time.Time) Freshness {
	return s.freshness(&v.Head, v.Source, d.follower.Refusing(), now)
}

// freshness is Freshness for a dataset of any kind: head is the served
// version's, from is where it was read, frozen tells that the newest one was
// refused.
func (s *Source) freshness(head *dataset.Head, from dataset.Source, frozen bool, now time.Time) Freshness {
	f := Freshness{SourceTime: head.SourceTime, State: StateDisk, LastContact: s.store.created}
	if f.SourceTime.IsZero() {
		f.SourceTime = head.Published
	}
	if beat := s.Heartbeat(); beat.speaksOf(head) {
		if !frozen {
			f.SourceTime, f.Pulse = beat.Stamped, true
		}
		f.LastContact = beat.Stamped
	}
	status := s.Status()
	switch {
	case frozen && status.Connected:
		f.State, f.LastContact = StateFrozen, now
	case from == dataset.Live && status.Connected:
		f.State, f.LastContact = StateLive, now
	case from == dataset.Live:
		f.State, f.LastContact = StateStale, status.Since
	}
	return f
}
