package zkzone

import (
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/edge"
)

// observer turns a Source's events into log lines and metrics: one line for
// each event that an operator acts on, none per query.
type observer struct{}

// Following implements edge.Observer.
func (observer) Following(path string, listed bool) { series.following(path, listed) }

// Left implements edge.Observer.
func (observer) Left(path string) {
	if series.left(path) {
		forgetDataset(path)
	}
}

// Listed implements edge.Observer.
func (observer) Listed(l edge.Listing) {
	catalogZones.WithLabelValues(l.Store).Set(float64(l.Zones))
	catalogRevision.WithLabelValues(l.Store).Set(float64(l.Rev))
	log.Infof("Catalog revision %d: %d zones (+%d -%d), from %s", l.Rev, l.Zones, l.Added, l.Removed, l.Source)
}

// Switched implements edge.Observer.
func (observer) Switched(s edge.Switch) {
	source := s.Source.String()
	label, own := series.ofDataset(s.Path)
	if own {
		serial.WithLabelValues(s.Path).Set(float64(s.Head.Serial))
		items.WithLabelValues(s.Path).Set(float64(s.Items))
		published.WithLabelValues(s.Path).Set(float64(s.Head.Published.UnixMilli()) / 1000)
	}
	switches.WithLabelValues(label, source).Inc()
	if s.Behind > 0 {
		followSeconds.WithLabelValues(s.Kind).Observe(s.Behind.Seconds())
	} else if !own {
		return // one line for the catalog instead of thousands at the start
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
	label, _ := series.ofDataset(path)
	refused.WithLabelValues(label, r.Reason).Inc()
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

// StoreConnection implements edge.Observer.
func (observer) StoreConnection(line string) { log.Infof("Store connection: %s", line) }

func orUnknown(by string) string {
	if by == "" {
		return "unknown"
	}
	return by
}
