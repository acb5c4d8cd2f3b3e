package zkzone

import (
	"maps"
	"slices"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/zone"
)

// zoneNamer is what the prometheus plugin goes by for its own zone label.
type zoneNamer interface {
	AddZone(zone string)
	RemoveZone(zone string)
}

// followCatalog serves from now on what the store's catalog lists.
func (z *ZkZone) followCatalog() { z.catalog = z.source.FollowCatalog(z.listed) }

// listed brings the table to what the catalog lists at or below the block's
// names. A zone is in the table before it has data: SERVFAIL, not REFUSED or what
// the next plugin thinks, is the answer of a zone that is there and can't be read.
func (z *ZkZone) listed(all []zone.Name) {
	z.mu.Lock()
	defer z.mu.Unlock()
	defer z.known.Store(true)
	old := z.table.Load().zones
	want := make(map[zone.Name]bool, len(old))
	var added, removed []zone.Name
	below := z.Origins()
	for _, name := range all {
		if !slices.ContainsFunc(below, name.IsSubdomainOf) {
			continue
		}
		want[name] = true
		if old[name] == nil {
			added = append(added, name)
		}
	}
	for name := range old {
		if !want[name] {
			removed = append(removed, name)
		}
	}
	if len(added)+len(removed) == 0 {
		return
	}
	zones := maps.Clone(old)
	z.add(zones, added)
	for _, name := range removed {
		delete(zones, name)
	}
	z.table.Store(newTable(zones))
	for _, name := range removed {
		z.leave(old[name])
	}
	z.source.Release(removed)
}

// add claims zones and puts them into the table to be.
func (z *ZkZone) add(zones map[zone.Name]*served, added []zone.Name) {
	if z.zoneMetrics {
		for _, name := range added {
			series.want(dataset.ZonePath(name.String()))
		}
	}
	for i, data := range z.source.Claim(added) {
		origin := added[i].String()
		here := &served{by: z, name: added[i], origin: origin, label: series.ofZone(origin), data: data}
		here.counted = newAnswerCounters(here.label)
		if z.out != nil {
			z.out.feed(z.source, here)
		}
		if z.stock != nil {
			z.stock.AddZone(origin)
		}
		zones[added[i]] = here
	}
}

// leave ends what the block has of a zone besides its data.
func (z *ZkZone) leave(here *served) {
	if here.feed != nil {
		here.feed.Close()
	}
	if z.stock != nil {
		z.stock.RemoveZone(here.origin)
	}
	if here.label == here.origin {
		forgetZone(here.origin)
	}
}

// stopCatalog ends the table's changes.
func (z *ZkZone) stopCatalog() {
	if z.catalog != nil {
		z.catalog.Close()
	}
}

// releaseCatalog gives the claims back, after stopCatalog. What was served can
// still be answered.
func (z *ZkZone) releaseCatalog() {
	if z.catalog != nil {
		z.source.Release(slices.Collect(maps.Keys(z.table.Load().zones)))
	}
}
