package edge

import (
	"iter"
	"runtime"
	"sync"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

// followed is a zone of a Source with those who want it.
type followed struct {
	data   *Dataset[*zone.Snapshot]
	claims int
	pinned bool // somebody named it: it is followed as long as the Source lives
}

// Zone returns the zone's dataset, following it from the first call on until the
// Source is closed.
func (s *Source) Zone(origin zone.Name) *Dataset[*zone.Snapshot] {
	s.zonesMu.Lock()
	f := s.zone(origin, false)
	if !f.pinned && f.claims > 0 {
		s.obs.Following(f.data.path, false)
	}
	f.pinned = true
	s.zonesMu.Unlock()
	f.data.begin(s)
	return f.data
}

// Claim returns the datasets of zones that come and go, each of which is followed
// until everybody who claimed it has released it. It returns when the disk cache
// was looked at for all; they are loaded side by side.
func (s *Source) Claim(origins []zone.Name) []*Dataset[*zone.Snapshot] {
	claimed := make([]*Dataset[*zone.Snapshot], len(origins))
	s.zonesMu.Lock()
	for i, origin := range origins {
		f := s.zone(origin, true)
		f.claims++
		claimed[i] = f.data
	}
	s.zonesMu.Unlock()
	sideBySide(len(claimed), func(i int) { claimed[i].begin(s) })
	return claimed
}

// Release gives claims back. A zone that nobody wants any more is left: nothing of
// it stays in memory, and if it was removed from the store, nothing on the disk.
func (s *Source) Release(origins []zone.Name) {
	var left []*Dataset[*zone.Snapshot]
	s.zonesMu.Lock()
	for _, origin := range origins {
		f := s.zones[origin]
		if f == nil || f.claims == 0 {
			continue
		}
		if f.claims--; f.claims == 0 && !f.pinned {
			delete(s.zones, origin)
			left = append(left, f.data)
		}
	}
	s.zonesMu.Unlock()
	sideBySide(len(left), func(i int) {
		left[i].end()
		s.forget(left[i].path)
		s.obs.Left(left[i].path)
	})
}

// forget deletes a removed dataset's disk cache. One that is only not wanted any
// more may be wanted after a reload.
func (s *Source) forget(path string) {
	if s.cache == nil || !s.listing.removed(path) || s.ctx.Err() != nil {
		return
	}
	if err := store.DeleteAll(s.ctx, s.cache, path); err != nil {
		s.obs.CacheFailed(path, err)
	}
}

// following returns the dataset of a zone that is followed, or follows it.
func (s *Source) following(origin zone.Name) *Dataset[*zone.Snapshot] {
	s.zonesMu.Lock()
	f := s.zones[origin]
	s.zonesMu.Unlock()
	if f == nil {
		return s.Zone(origin)
	}
	return f.data
}

// zone returns the entry of a zone, making it if there is none. The caller holds
// zonesMu and begins it.
func (s *Source) zone(origin zone.Name, listed bool) *followed {
	if f := s.zones[origin]; f != nil {
		return f
	}
	ref := dataset.Ref[*zone.Snapshot]{Path: dataset.ZonePath(origin.String()), Codec: zone.Codec{Origin: origin}, Keys: s.keys()}
	f := &followed{data: prepare(s, ref, hooks[*zone.Snapshot]{
		accept: s.acceptZone,
		switched: func(v *dataset.Version[*zone.Snapshot], passed iter.Seq[*zone.Snapshot]) {
			for _, name := range v.Value.Maps() {
				s.FollowMap(name)
			}
			s.feed(origin, v.Value, passed)
		},
		changes: zoneChanges(origin),
	})}
	s.zones[origin] = f
	s.obs.Following(f.data.path, listed)
	return f
}

// sideBySide calls fn for 0 … n-1, as many at once as there are processors, and
// twice that since each waits for the disk too.
func sideBySide(n int, fn func(i int)) {
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(n, 2*runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := range next {
				fn(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}
