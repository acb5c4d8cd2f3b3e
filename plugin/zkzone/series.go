package zkzone

import (
	"sync"

	"github.com/popdns/popdns/internal/dataset"

	"github.com/prometheus/client_golang/prometheus"
)

// pooledLabel stands for all zones that the catalog lists.
const pooledLabel = "catalog"

// series knows which datasets have series of their own. Those that the catalog
// lists share one unless zone_metrics wants otherwise: a thousand edges with ten
// thousand zones each would ask more of a Prometheus than the zones ask of them.
var series = &seriesOf{wanted: map[string]bool{}, pooled: map[string]bool{}}

type seriesOf struct {
	mu     sync.Mutex
	wanted map[string]bool // dataset paths that some block wants apart
	pooled map[string]bool
}

// want is called before a dataset is followed.
func (s *seriesOf) want(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted[path] = true
	delete(s.pooled, path)
}

func (s *seriesOf) following(path string, listed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !listed: // whoever else lists it, in this store or another
		s.wanted[path] = true
		delete(s.pooled, path)
	case !s.wanted[path]:
		s.pooled[path] = true
	}
}

// left reports whether the dataset had series of its own.
func (s *seriesOf) left(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := !s.pooled[path]
	delete(s.pooled, path)
	delete(s.wanted, path)
	return own
}

// ofDataset returns a dataset's label, and whether it is its own.
func (s *seriesOf) ofDataset(path string) (label string, own bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pooled[path] {
		return pooledLabel, false
	}
	return path, true
}

// ofZone returns a zone's label.
func (s *seriesOf) ofZone(origin string) string {
	if _, own := s.ofDataset(dataset.ZonePath(origin)); own {
		return origin
	}
	return pooledLabel
}

// forgetDataset deletes the series of a dataset that is not followed any more.
func forgetDataset(path string) {
	for _, vec := range []*prometheus.MetricVec{switches.MetricVec, refused.MetricVec} {
		vec.DeletePartialMatch(prometheus.Labels{"dataset": path})
	}
}

// forgetZone deletes the series of a zone that is not served any more.
func forgetZone(origin string) {
	for _, vec := range []*prometheus.MetricVec{answers.MetricVec, transfers.MetricVec, notifyErrors.MetricVec} {
		vec.DeletePartialMatch(prometheus.Labels{"zone": origin})
	}
}
