package edge

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/steer"
)

// A Map is one followed map and the canary beside it, which is a dataset of its own.
type Map struct {
	*Dataset[*steer.Map] // the published version

	canary *Dataset[*steer.Canary]
	active atomic.Pointer[dataset.Version[*steer.Canary]]

	mu     sync.Mutex                      // both datasets' followers report here
	serial uint32                          // of the published version, 0 before there is one
	newest *dataset.Version[*steer.Canary] // of the canary
}

func (s *Source) startMap(name string) *Map {
	m := &Map{}
	m.Dataset = start(s, dataset.Ref[*steer.Map]{Path: dataset.MapPath(name), Codec: steer.MapCodec{Name: name}, Keys: s.keys()}, hooks[*steer.Map]{
		switched: func(v *dataset.Version[*steer.Map], _ iter.Seq[*steer.Map]) { m.published(v.Head.Serial) },
	})
	m.canary = start(s, dataset.Ref[*steer.Canary]{Path: dataset.CanaryPath(name), Codec: steer.CanaryCodec{Name: name}, Keys: s.keys()}, hooks[*steer.Canary]{
		switched: func(v *dataset.Version[*steer.Canary], _ iter.Seq[*steer.Canary]) { m.staged(v) },
	})
	return m
}

// Canary returns what is staged, nil when nothing is.
func (m *Map) Canary() *dataset.Version[*steer.Canary] { return m.active.Load() }

// Settle is Dataset.Settle for both.
func (m *Map) Settle(ctx context.Context) error {
	if err := m.Dataset.Settle(ctx); err != nil {
		return err
	}
	return m.canary.Settle(ctx)
}

func (m *Map) published(serial uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.serial = serial
	m.settleCanary()
}

func (m *Map) staged(v *dataset.Version[*steer.Canary]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.newest = v
	m.settleCanary()
}

// settleCanary makes the newest canary the active one. The end of a canary that was promoted waits for the published version that took
// it over: it is the smaller change and may be here first, and clients would go back to the old version for that moment.
func (m *Map) settleCanary() {
	v := m.newest
	if v == nil {
		return
	}
	if v.Value.Map() != nil {
		m.active.Store(v)
		return
	}
	if by := v.Value.Promoted(); by == 0 || int32(m.serial-by) >= 0 { //nolint:gosec // RFC 1982
		m.active.Store(nil)
	}
}
