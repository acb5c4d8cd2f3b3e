package edge

import (
	"iter"
	"sync"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/steer"
)

// popsListeners are told of each version of the PoP table.
type popsListeners struct {
	mu  sync.Mutex
	all map[*func()]struct{}
}

// OnPoPs has changed called after each new version of the PoP table; it must not block. changed is not running any more, and not called again, when
// stop returns.
func (s *Source) OnPoPs(changed func()) (stop func()) {
	l := &s.onPoPs
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[*func()]struct{}{}
	}
	l.all[&changed] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.all, &changed)
	}
}

func (s *Source) popsSwitched(*dataset.Version[*steer.PoPs], iter.Seq[*steer.PoPs]) {
	s.onPoPs.mu.Lock()
	defer s.onPoPs.mu.Unlock()
	for changed := range s.onPoPs.all {
		(*changed)()
	}
}
