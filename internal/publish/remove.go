package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

// A Removal says what RemoveZone did.
type Removal struct {
	Zone   string    `json:"zone"`
	Serial uint32    `json:"serial"` // of its last version, 0 if nobody could tell
	RRsets int       `json:"rrsets"` // that it had
	At     time.Time `json:"at"`
	By     string    `json:"by"`
}

// RemoveZone ends a zone: edges that serve the catalog stop serving it. Unless confirmed or Options.Force, a zone that has more than its apex is refused
// with a *GuardError. Force also removes a zone that can't be read. The error wraps dataset.ErrNoDataset when there is no such zone.
func (p *Publisher) RemoveZone(ctx context.Context, origin zone.Name, confirmed bool) (*Removal, error) {
	out := &Removal{Zone: origin.String()}
	v, err := dataset.Load(ctx, p.s, p.zoneRef(origin))
	switch {
	case err == nil:
		out.RRsets = v.Value.Len()
		if !confirmed && !p.o.Force && !bare(v.Value) {
			return nil, &GuardError{What: "zone " + origin.String(), Findings: []string{
				fmt.Sprintf("has %d RRsets, which edges that serve the catalog would answer no more (--confirm %s says that it is known)", out.RRsets, origin),
			}}
		}
	case !p.o.Force:
		return nil, fmt.Errorf("zone %s: %w", origin, err)
	}
	t, err := p.zoneWriter(origin).Remove(ctx, p.commit())
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", origin, err)
	}
	delete(p.zones, origin)
	out.Serial, out.At, out.By = t.Serial, t.At, t.By
	return out, nil
}

// bare tells whether a zone has nothing but SOA and NS at its apex.
func bare(s *zone.Snapshot) bool {
	for set := range s.RRsets() {
		if set.Owner != s.Origin() || set.Type != dns.TypeSOA && set.Type != dns.TypeNS {
			return false
		}
	}
	return true
}

// RestoreZone publishes what a removed zone was when it was removed, under a new serial. The error wraps dataset.ErrNoDataset when that is not kept any
// more, dataset.ErrConflict when the zone exists.
func (p *Publisher) RestoreZone(ctx context.Context, origin zone.Name) (*ZoneReceipt, error) {
	old, err := dataset.LoadRemoved(ctx, p.s, p.zoneRef(origin))
	if errors.Is(err, dataset.ErrNoDataset) {
		return nil, fmt.Errorf("zone %s: nothing that was removed is kept: %w", origin, err)
	}
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", origin, err)
	}
	return p.commitZone(ctx, origin, p.commit(), guardZone, func(cur *zone.Snapshot) (*zone.Snapshot, error) {
		if cur != nil {
			return nil, fmt.Errorf("it exists, with serial %d: %w", cur.Serial(), dataset.ErrConflict)
		}
		return old.Value, nil
	})
}

// ListRemovedZones lists the zones that have a tombstone, by the order of their keys in the store.
func ListRemovedZones(ctx context.Context, r store.Reader) ([]Removal, error) {
	c, err := dataset.ReadCatalog(ctx, r)
	if err != nil {
		return nil, err
	}
	out := []Removal{}
	for _, t := range c.Removed {
		if key, ok := dataset.ZoneKey(t.Path); ok {
			out = append(out, Removal{Zone: dataset.ZoneName(key), Serial: t.Serial, At: t.At, By: t.By})
		}
	}
	return out, nil
}
