package popmap

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/coredns/coredns/plugin"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Labels are bounded: server by the Corefile, pop by the PoPs that zones and maps name, reason and family by constants.
var (
	choices = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "choices_total",
		Help:      "Counter of steered answers by chosen PoP and by what decided (ecs, hole, private, resolver, default, no-map).",
	}, []string{"server", "pop", "reason"})

	unmapped = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "unmapped_total",
		Help:      "Counter of steered answers to clients that only the default list of the map covers.",
	}, []string{"server"})

	scopes = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "ecs_scope_length",
		Help:      "Histogram of the scope prefix-length of steered answers to queries with EDNS Client Subnet.",
		Buckets:   []float64{0, 8, 12, 16, 18, 20, 22, 24, 28, 32, 40, 44, 48, 56, 64, 128},
	}, []string{"server", "family"})

	canaryChoices = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "canary_choices_total",
		Help:      "Counter of steered answers that a staged version of the map decided, and differently from the published one unless the edge has it for everybody.",
	}, []string{"server"})

	formErrs = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "ecs_formerrs_total",
		Help:      "Counter of queries refused with FORMERR for a malformed EDNS Client Subnet option.",
	}, []string{"server"})

	geoipTimestamp = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "geoip_database_timestamp_seconds",
		Help:      "When the GeoIP database that was compiled last was built by its maker, in seconds since 1970.",
	}, []string{"file"})

	geoipFailures = promauto.NewCounter(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "geoip_failures_total",
		Help:      "Counter of GeoIP databases that could not be compiled; the map compiled before stays in use.",
	})
)

// tallies are one server's metrics, looked up once: WithLabelValues on every query costs more than the lookup in the map.
type tallies struct {
	server   string
	unmapped prometheus.Counter
	canary   prometheus.Counter
	scopes   [2]prometheus.Observer // IPv4, IPv6

	mu      sync.Mutex // for adding to choices
	choices atomic.Pointer[map[choice]prometheus.Counter]
}

// choice is what choices_total is counted by.
type choice struct{ pop, reason string }

func newTallies(server string) *tallies {
	t := &tallies{
		server:   server,
		unmapped: unmapped.WithLabelValues(server),
		canary:   canaryChoices.WithLabelValues(server),
		scopes:   [2]prometheus.Observer{scopes.WithLabelValues(server, "ipv4"), scopes.WithLabelValues(server, "ipv6")},
	}
	t.choices.Store(&map[choice]prometheus.Counter{})
	return t
}

// choice returns the counter of c.
func (t *tallies) choice(c choice) prometheus.Counter {
	if counter, ok := (*t.choices.Load())[c]; ok {
		return counter
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	next := maps.Clone(*t.choices.Load())
	counter := choices.WithLabelValues(t.server, c.pop, c.reason)
	next[c] = counter
	t.choices.Store(&next)
	return counter
}

// tallies returns the server's. A block has few servers, most often one.
func (p *PopMap) tallies(server string) *tallies {
	known := p.counted.Load()
	if known != nil {
		for _, t := range *known {
			if t.server == server {
				return t
			}
		}
	}
	t := newTallies(server)
	next := []*tallies{t}
	if known != nil {
		next = append(next, *known...)
	}
	// Another query may have come first: then its tallies stay, and ours count the same metrics.
	p.counted.CompareAndSwap(known, &next)
	return t
}
