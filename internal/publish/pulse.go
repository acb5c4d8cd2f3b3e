package publish

import (
	"context"
	"errors"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store"
)

// A Pulse stamps the store's heartbeat, by which every edge can prove how old its data is.
type Pulse struct {
	Store store.Store
	By    string        // who stamps
	Keys  dataset.Keys  // what the stamps are signed with
	Every time.Duration // between stamps; must be positive
	Now   func() time.Time

	// OnChange is called on the first stamp (with nil), when stamping begins to fail, and when it works again (nil). May be nil.
	OnChange func(error)
}

// Run stamps at once and then on every tick until ctx ends, which is no error. A stamp that fails is tried again at the next tick, as the store may come
// back, unless the store was never initialised: that error wraps dataset.ErrNoStore.
func (p *Pulse) Run(ctx context.Context) error {
	if _, err := dataset.ReadCluster(ctx, p.Store); errors.Is(err, dataset.ErrNoStore) {
		return err
	}
	tick := time.NewTicker(p.Every)
	defer tick.Stop()
	working, first := false, true
	for {
		err := p.stamp(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if p.OnChange != nil && (first || (err == nil) != working) {
			p.OnChange(err)
		}
		working, first = err == nil, false
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// stamp gives up after one interval, so that a store that hangs does not hold up the stamps to come.
func (p *Pulse) stamp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.Every)
	defer cancel()
	now := time.Now
	if p.Now != nil {
		now = p.Now
	}
	return p.Keys.Stamp(ctx, p.Store, now(), p.By)
}

// Once stamps once, for callers that are started every few seconds.
func (p *Pulse) Once(ctx context.Context) error {
	if _, err := dataset.ReadCluster(ctx, p.Store); err != nil {
		return err
	}
	return p.stamp(ctx)
}
