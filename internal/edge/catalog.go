package edge

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/zone"
)

// listing is what a Source knows of the store's catalog, from the first
// FollowCatalog on.
type listing struct {
	known  chan struct{} // closed when the catalog was read, from the store or the disk cache
	report atomic.Pointer[CatalogReport]

	mu       sync.Mutex // taken before zonesMu; held while holders are told, so one change comes after the other
	follower *dataset.CatalogFollower
	zones    []zone.Name // sorted; nil before known
	holders  map[*Catalog]struct{}

	gravesMu sync.Mutex // taken while mu may be held
	graves   map[string]bool
}

// A Catalog is one holder's interest in the zones that the catalog lists.
type Catalog struct {
	source  *Source
	changed func([]zone.Name)
}

// FollowCatalog tells changed of all zones that the catalog lists: now, if that is
// known, and at each change; one call comes after the other. A zone that was told
// of stays until the catalog has its tombstone. changed must neither keep nor
// change the slice, nor call FollowCatalog or Close.
func (s *Source) FollowCatalog(changed func([]zone.Name)) *Catalog {
	l := &s.listing
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &Catalog{s, changed}
	if l.holders == nil {
		l.holders = map[*Catalog]struct{}{}
	}
	l.holders[c] = struct{}{}
	if l.follower == nil {
		s.startCatalog() // tells c of what the disk cache has
		return c
	}
	if l.zones != nil {
		changed(l.zones)
	}
	return c
}

// Wait returns once the catalog is known and changed was told, or with the
// context's error.
func (c *Catalog) Wait(ctx context.Context) error {
	select {
	case <-c.source.listing.known:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the catalog was not read yet: %w", ctx.Err())
	}
}

// Close ends the interest: changed is not running any more when it returns. More
// than once is harmless.
func (c *Catalog) Close() {
	c.source.listing.mu.Lock()
	defer c.source.listing.mu.Unlock()
	delete(c.source.listing.holders, c)
}

// startCatalog follows the catalog until the source is closed. The caller holds
// the listing's lock.
func (s *Source) startCatalog() {
	l := &s.listing
	told := s.listed // with the lock held, by the cache
	l.follower = dataset.NewCatalogFollower(s.store, s.keys(), dataset.CatalogOptions{
		Cache:        s.cache,
		Identity:     s.identity,
		OnChange:     func(c dataset.Catalog) { told(c, dataset.Disk) },
		OnRefused:    func(r dataset.Refusal) { s.obs.Refused(dataset.CatalogPath, r) },
		OnCacheError: func(err error) { s.obs.CacheFailed(dataset.CatalogPath, err) },
	})
	_ = l.follower.LoadCache(s.ctx) // a damaged one was told to OnCacheError
	told = func(c dataset.Catalog, _ dataset.Source) {
		l.mu.Lock()
		defer l.mu.Unlock()
		s.listed(c, dataset.Live)
	}
	s.wg.Go(func() {
		if err := l.follower.Run(s.ctx); err != nil && s.ctx.Err() == nil {
			s.obs.StoreFailed(fmt.Errorf("follow the catalog: %w", err))
		}
	})
}

// listed takes a catalog and tells the holders. The caller holds the listing's
// lock.
func (s *Source) listed(c dataset.Catalog, from dataset.Source) {
	l := &s.listing
	before := l.zones
	l.zones = s.names(c)
	l.report.Store(&CatalogReport{Rev: c.Rev, Zones: len(l.zones)})
	l.bury(c.Removed)
	for h := range l.holders {
		h.changed(l.zones)
	}
	if before == nil {
		close(l.known)
	}
	added, removed := compare(before, l.zones)
	s.obs.Listed(Listing{Rev: c.Rev, Zones: len(l.zones), Added: added, Removed: removed, Source: from})
}

// names are the catalog's zones. What is no name can't be a zone, whoever listed
// it.
func (s *Source) names(c dataset.Catalog) []zone.Name {
	names := make([]zone.Name, 0, len(c.Zones))
	for _, key := range c.Zones {
		name, err := zone.ParseName(dataset.ZoneName(key))
		if err != nil {
			s.obs.Refused(dataset.CatalogPath, dataset.Refusal{Reason: dataset.ReasonName, Err: fmt.Errorf("catalog: zone %q: %w", key, err)})
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// compare counts what is only in the second, and only in the first, of two sorted
// lists.
func compare(before, after []zone.Name) (added, removed int) {
	both := 0
	for i, j := 0, 0; i < len(before) && j < len(after); {
		switch {
		case before[i] == after[j]:
			both, i, j = both+1, i+1, j+1
		case before[i] < after[j]:
			i++
		default:
			j++
		}
	}
	return len(after) - both, len(before) - both
}

func (l *listing) bury(graves []dataset.Tombstone) {
	l.gravesMu.Lock()
	defer l.gravesMu.Unlock()
	l.graves = make(map[string]bool, len(graves))
	for _, t := range graves {
		l.graves[t.Path] = true
	}
}

// removed tells whether the dataset at path has a tombstone.
func (l *listing) removed(path string) bool {
	l.gravesMu.Lock()
	defer l.gravesMu.Unlock()
	return l.graves[path]
}
