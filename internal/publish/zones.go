package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

// Zones finds the published zone that holds a name, and reads each zone once. It must not be used concurrently.
type Zones struct {
	ctx     context.Context //nolint:containedctx // of one run of a command
	r       store.Reader
	timeout time.Duration // of reading one zone
	origins []zone.Name
	read    map[zone.Name]*zone.Snapshot
}

// OpenZones lists the published zones. ctx is for the listing; the reading of each zone later ends after timeout.
func OpenZones(ctx context.Context, r store.Reader, timeout time.Duration) (*Zones, error) {
	z := &Zones{ctx: context.WithoutCancel(ctx), r: r, timeout: timeout, read: map[zone.Name]*zone.Snapshot{}}
	keys, err := dataset.ListDatasets(ctx, r, "zones")
	if err != nil {
		return nil, fmt.Errorf("list the zones: %w", err)
	}
	for _, key := range keys {
		if origin, err := zone.ParseName(dataset.ZoneName(key)); err == nil {
			z.origins = append(z.origins, origin)
		}
	}
	return z, nil
}

// Origin returns the longest origin at or above the name, "" for none.
func (z *Zones) Origin(name zone.Name) zone.Name {
	var best zone.Name
	for _, origin := range z.origins {
		if name.IsSubdomainOf(origin) && (best == "" || origin.Labels() > best.Labels()) {
			best = origin
		}
	}
	return best
}

// Find returns the zone that holds the name, nil for none. A zone that was created and never published holds nothing.
func (z *Zones) Find(name zone.Name) (*zone.Snapshot, error) {
	origin := z.Origin(name)
	if origin == "" {
		return nil, nil
	}
	if s, ok := z.read[origin]; ok {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(z.ctx, z.timeout)
	defer cancel()
	v, err := LoadZone(ctx, z.r, origin, 0)
	if err != nil && !errors.Is(err, dataset.ErrNoDataset) {
		return nil, err
	}
	if v != nil {
		z.read[origin] = v.Value
		return v.Value, nil
	}
	z.read[origin] = nil
	return nil, nil
}
