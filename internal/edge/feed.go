package edge

import (
	"iter"
	"sync"

	"github.com/popdns/popdns/internal/xfr"
	"github.com/popdns/popdns/internal/zone"
)

// A Feed is one holder's claim on the journal of a zone that goes out in
// transfers. A zone has a journal while somebody holds a Feed of it, and all
// holders have the same one: what a secondary may ask for survives a reload,
// and a zone that nobody transfers pays nothing.
type Feed struct {
	source  *Source
	origin  zone.Name
	of      *feeds
	changed func()
}

// feeds is a zone's journal with its holders.
type feeds struct {
	journal *xfr.Journal

	mu      sync.Mutex
	holders map[*Feed]struct{}
}

// Feed claims the zone's journal. The zone is followed until somebody releases
// it, for ever if nobody has claimed it.
// changed is called after each new version that came into the journal; it must
// not block. Close gives the claim back.
func (s *Source) Feed(origin zone.Name, changed func()) *Feed {
	s.feedsMu.Lock()
	fs := s.feeds[origin]
	if fs == nil {
		fs = &feeds{journal: &xfr.Journal{}, holders: map[*Feed]struct{}{}}
		s.feeds[origin] = fs
	}
	f := &Feed{s, origin, fs, changed}
	fs.mu.Lock()
	fs.holders[f] = struct{}{}
	fs.mu.Unlock()
	s.feedsMu.Unlock()
	// From here on feed is told of new versions, also of those that a zone's
	// following begins with. If one came in between, this is not newer and is
	// ignored.
	if v := s.following(origin).Current(); v != nil {
		fs.journal.Advance(v.Value, nil)
	}
	return f
}

// Journal is the zone's. It stays readable after Close.
func (f *Feed) Journal() *xfr.Journal { return f.of.journal }

// Close gives the claim back; the journal goes with the last one. changed is
// not running any more when it returns. More than once is harmless.
func (f *Feed) Close() {
	f.source.feedsMu.Lock()
	defer f.source.feedsMu.Unlock()
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	delete(f.of.holders, f)
	if len(f.of.holders) == 0 && f.source.feeds[f.origin] == f.of {
		delete(f.source.feeds, f.origin)
	}
}

// feed brings the zone's journal, if it has one, to a new version by way of
// those that were passed, and tells the holders. Only the zone's follower calls it, with one version after the other.
func (s *Source) feed(origin zone.Name, v *zone.Snapshot, passed iter.Seq[*zone.Snapshot]) {
	s.feedsMu.Lock()
	fs := s.feeds[origin]
	s.feedsMu.Unlock()
	if fs == nil || !fs.journal.Advance(v, passed) {
		return
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for f := range fs.holders {
		f.changed()
	}
}
