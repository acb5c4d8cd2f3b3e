package publish

import (
	"context"
	"errors"
	"fmt"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

// restore publishes the cache's version of a dataset, unless an edge with that cache takes the store's. The serial is above both, except where it is
// signed into the data: then it stays, and edges take the same content under the same serial; where they don't, d.Refused says so, and that is no error:
// the other datasets need not wait for the signer.
func (p *Publisher) restore(ctx context.Context, cache store.Reader, d *Cached) error {
	if d.Refused == "" {
		return nil
	}
	c := p.commit()
	c.MinSerial, c.Renew = dataset.SerialAfter(d.Serial), true
	if zone.SerialNewer(d.Stored, d.Serial) { // of an epoch that is over
		c.MinSerial = dataset.SerialAfter(d.Stored)
	}
	receipt, err := p.restoreKind(ctx, cache, d.Path, c)
	if errors.Is(err, dataset.ErrSerial) {
		d.Refused = err.Error()
		return nil
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", d.Path, err)
	}
	if err := dataset.MayFollow(&d.head, &receipt.Head); err != nil {
		d.Refused = err.Error() + "; the serial is signed into the zone: sign it anew with a higher one"
		return nil
	}
	d.New = receipt.New
	return nil
}

func (p *Publisher) restoreKind(ctx context.Context, cache store.Reader, path string, c dataset.Commit) (*dataset.Receipt, error) {
	switch kind, key := dataset.SplitPath(path); kind {
	case "zones":
		origin, err := zone.ParseName(dataset.ZoneName(key))
		if err != nil {
			return nil, err
		}
		v, err := dataset.Load(ctx, cache, ZoneRef(origin))
		if err != nil {
			return nil, fmt.Errorf("disk cache: %w", err)
		}
		r, err := p.commitZone(ctx, origin, c, guardZone, func(*zone.Snapshot) (*zone.Snapshot, error) { return v.Value, nil })
		if err != nil {
			return nil, err
		}
		return r.Receipt, nil
	case "maps":
		v, err := dataset.Load(ctx, cache, MapRef(dataset.MapName(key)))
		if err != nil {
			return nil, fmt.Errorf("disk cache: %w", err)
		}
		r, err := p.commitMap(ctx, c, v.Value, nil)
		if err != nil {
			return nil, err
		}
		return r.Receipt, nil
	case "canaries":
		name := dataset.MapName(key)
		v, err := dataset.Load(ctx, cache, CanaryRef(name))
		if err != nil {
			return nil, fmt.Errorf("disk cache: %w", err)
		}
		return p.commitCanary(ctx, c, name, func(*dataset.Version[*steer.Canary]) (*steer.Canary, error) { return v.Value, nil })
	default:
		v, err := dataset.Load(ctx, cache, PoPsRef())
		if err != nil {
			return nil, fmt.Errorf("disk cache: %w", err)
		}
		r, err := p.replacePoPs(ctx, c, v.Value)
		if err != nil {
			return nil, err
		}
		return r.Receipt, nil
	}
}
