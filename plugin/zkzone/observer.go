package zkzone

import (
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/edge"
)

// observer turns a Source's events into log lines and metrics: one line for
// each event that an operator acts on, none per query.
type observer struct{}

// Switched implements edge.Observer.
func (observer) Switched(s edge.Switch) {
	source := s.Source.String()
	serial.WithLabelValues(s.Path).Set(float64(s.Head.Serial))
	items.WithLabelValues(s.Path).Set(float64(s.Items))
	published.WithLabelValues(s.Path).Set(float64(s.Head.Published.UnixMilli()) / 1000)
	switches.WithLabelValues(s.Path, source).Inc()
	if s.Behind > 0 {
		followSeconds.WithLabelValues(s.Kind).Observe(s.Behind.Seconds())
	}
	log.Infof("Serving %s serial %d (%d items, from %s, published %s by %s)",
		s.Path, s.Head.Serial, s.Items, source, s.Head.Published.UTC().Format("2006-01-02T15:04:05Z"), orUnknown(s.Head.By))
}

// Pulse implements edge.Observer.
func (observer) Pulse(storeURL string, t time.Time) {
	pulse.WithLabelValues(storeURL).Set(float64(t.UnixMilli()) / 1000)
}

// Refused implements edge.Observer.
func (observer) Refused(path string, r dataset.Refusal) {
	refused.WithLabelValues(path, r.Reason).Inc()
	log.Errorf("Refused %s serial %d (%s), keeping the last good version: %v", path, r.Serial, r.Reason, r.Err)
}

// CacheFailed implements edge.Observer.
func (observer) CacheFailed(path string, err error) {
	cacheErrors.Inc()
	if path == "" {
		log.Warningf("Disk cache can't be used, going on without it: %v", err)
		return
	}
	log.Warningf("Disk cache of %s: %v", path, err)
}

// StoreFailed implements edge.Observer.
func (observer) StoreFailed(err error) {
	log.Errorf("Store can't be read, still trying: %v", err)
}

func orUnknown(by string) string {
	if by == "" {
		return "unknown"
	}
	return by
}
