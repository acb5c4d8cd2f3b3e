package zkzone

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/popdns/popdns/internal/zone"

	"github.com/prometheus/client_golang/prometheus"
)

// answerCounters keeps the counters of answers_total that a zone's answers went to, because finding them by their labels takes longer than finding
// the answer. There are as many as the labels allow, see metrics.go; a new one is rare, so the map is copied for it.
type answerCounters struct {
	label string // of the zone
	known atomic.Pointer[map[answerLabels]prometheus.Counter]
	mu    sync.Mutex // for writers
}

type answerLabels struct {
	server string
	kind   zone.Kind
}

func newAnswerCounters(label string) *answerCounters { return &answerCounters{label: label} }

func (c *answerCounters) of(server string, kind zone.Kind) prometheus.Counter {
	labels := answerLabels{server, kind}
	if known := c.known.Load(); known != nil {
		if counter := (*known)[labels]; counter != nil {
			return counter
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[answerLabels]prometheus.Counter{}
	if known := c.known.Load(); known != nil {
		next = maps.Clone(*known)
	}
	next[labels] = answers.WithLabelValues(server, c.label, kind.String())
	c.known.Store(&next)
	return next[labels]
}
