package edge

import (
	"sync/atomic"
	"time"

	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

// StateNone is a dataset without data: neither the store nor the disk cache
// has had any.
const StateNone State = "none"

// A Report is what a Source serves and how it stands at one moment: for
// metrics, which are right whenever they are read because nothing of it is
// kept.
type Report struct {
	Store       string // the URL
	Status      store.Status
	LastContact time.Time // now while the store is in reach, zero if it never was
	Heartbeat   time.Time // zero for none

	CacheWrites    uint64
	CacheWrittenAt time.Time // zero for never

	Datasets []DatasetReport
	Catalog  *CatalogReport // nil if it isn't followed, or not known yet
}

// A CatalogReport is what is known of the store's catalog.
type CatalogReport struct {
	Rev   int64
	Zones int // that it lists and no tombstone has ended
}

// A DatasetReport is one dataset of a Report. Without data only Path, Kind and
// State mean anything.
type DatasetReport struct {
	Path, Kind string
	State      State
	Serial     uint32
	Items      int
	Records    int // of a zone; 0 for the other kinds
	Published  time.Time
	SourceTime time.Time // see Freshness
}

// Report looks at everything that the Source follows. It waits for nothing
// that depends on the store, and may be called at any time, also after Close.
func (s *Source) Report(now time.Time) Report {
	r := Report{
		Store: s.cfg.URL, Status: s.Status(),
		CacheWrites: s.cacheWrites.Load(), CacheWrittenAt: unixNano(s.cacheWrittenAt.Load()),
	}
	switch {
	case r.Status.Connected:
		r.LastContact = now
	case r.Status.Sessions > 0:
		r.LastContact = r.Status.Since
	}
	if beat := s.Heartbeat(); beat != nil {
		r.Heartbeat = beat.Stamped
	}
	s.zonesMu.Lock()
	zones := make([]*Dataset[*zone.Snapshot], 0, len(s.zones))
	for _, f := range s.zones {
		zones = append(zones, f.data)
	}
	s.zonesMu.Unlock()
	for _, d := range zones {
		report := reportOn(s, d, now)
		if v := d.Current(); v != nil {
			report.Records = v.Value.Records()
		}
		r.Datasets = append(r.Datasets, report)
	}
	for _, d := range s.Maps() {
		r.Datasets = append(r.Datasets, reportOn(s, d.Dataset, now))
		if d.canary.Current() != nil { // most maps never have one
			r.Datasets = append(r.Datasets, reportOn(s, d.canary, now))
		}
	}
	r.Catalog = s.listing.report.Load()
	if s.pops.Current() != nil { // it is followed whether or not somebody steers
		r.Datasets = append(r.Datasets, reportOn(s, s.pops, now))
	}
	return r
}

func reportOn[V any](s *Source, d *Dataset[V], now time.Time) DatasetReport {
	r := DatasetReport{Path: d.path, Kind: d.kind, State: StateNone}
	v := d.Current()
	if v == nil {
		return r
	}
	f := s.freshness(&v.Head, v.Source, d.follower.Refusing(), now)
	r.State, r.SourceTime = f.State, f.SourceTime
	r.Serial, r.Items, r.Published = v.Head.Serial, v.Head.Items, v.Head.Published
	return r
}

func unixNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// cached is told that a dataset was written to the disk cache.
func (s *Source) cached() {
	s.cacheWrites.Add(1)
	s.cacheWrittenAt.Store(time.Now().UnixNano())
}

// cacheCounts are what a Source knows of its disk cache.
type cacheCounts struct {
	cacheWrites    atomic.Uint64
	cacheWrittenAt atomic.Int64 // Unix nanoseconds, 0 for never
}
