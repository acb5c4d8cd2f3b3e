package edge

import (
	"context"
	"errors"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store"
)

// Heartbeat is the pipeline's pulse as last seen.
type Heartbeat struct {
	Stamped  time.Time // by the writing end's clock
	Received time.Time // by ours; zero when it was read from the disk cache
	Cluster  string    // the store that was stamped, "" when the stamp does not say
}

// speaksOf tells whether the pulse is that of the pipeline which the version came by: another store's at the same address is not.
func (h *Heartbeat) speaksOf(head *dataset.Head) bool {
	return h != nil && (h.Cluster == "" || h.Cluster == head.Cluster)
}

// Heartbeat returns the last one seen, nil when none ever was.
func (s *Source) Heartbeat() *Heartbeat { return s.heartbeat.Load() }

// cacheHeartbeatEvery bounds how often the pulse is written to the disk cache,
// where it dates the last contact for a server that starts without the store.
const cacheHeartbeatEvery = time.Minute

func (s *Source) watchHeartbeat() {
	var cached time.Time
	_ = s.store.Watch(s.ctx, dataset.HeartbeatPath, func(n store.Node, err error) {
		if err != nil {
			return // no heartbeat (yet): the newest commit dates the data
		}
		beat, err := s.keys().ParseHeartbeat(n.Data)
		if err != nil {
			refusal, ok := errors.AsType[dataset.Refusal](err)
			if !ok {
				refusal = dataset.Refusal{Reason: "heartbeat", Err: err}
			}
			s.obs.Refused(dataset.HeartbeatPath, refusal)
			return
		}
		s.heartbeat.Store(&Heartbeat{Stamped: beat.Time, Received: time.Now(), Cluster: beat.Cluster})
		if s.cache == nil || time.Since(cached) < cacheHeartbeatEvery {
			return
		}
		cached = time.Now()
		if err := s.cacheHeartbeat(n.Data); err != nil {
			s.obs.CacheFailed(dataset.HeartbeatPath, err)
			return
		}
		s.cached()
	})
}

// cacheHeartbeat is not cut short by Close, which waits for it: a pulse that
// was seen is one that the next start may count from.
func (s *Source) cacheHeartbeat(data []byte) error {
	ctx := context.WithoutCancel(s.ctx)
	err := s.cache.Commit(ctx, store.Set(dataset.HeartbeatPath, data, store.AnyVersion))
	if errors.Is(err, store.ErrNoNode) {
		err = s.cache.Commit(ctx, store.Create(dataset.HeartbeatPath, data))
	}
	return err
}

func (s *Source) loadCachedHeartbeat() {
	n, err := s.cache.Get(s.ctx, dataset.HeartbeatPath)
	if err != nil {
		return
	}
	if beat, err := s.keys().ParseHeartbeat(n.Data); err == nil {
		s.heartbeat.CompareAndSwap(nil, &Heartbeat{Stamped: beat.Time, Cluster: beat.Cluster})
	}
}
