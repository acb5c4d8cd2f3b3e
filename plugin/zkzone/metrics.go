package zkzone

import (
	"github.com/coredns/coredns/plugin"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Labels are bounded: store by the Corefile, dataset by the zones configured and the maps they name,
// reason and kind by constants.
var (
	answers = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "answers_total",
		Help:      "Counter of answers by zone and kind (success, nodata, nxdomain, delegation, …).",
	}, []string{"server", "zone", "kind"})

	serial = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "serial",
		Help:      "Serial of the version being served, by dataset (zones/…, maps/…, canaries/…, pops).",
	}, []string{"dataset"})

	items = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "items",
		Help:      "Items (RRsets of a zone, rows of a map, PoPs) in the version being served.",
	}, []string{"dataset"})

	published = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "published_timestamp_seconds",
		Help:      "Unix time at which the version being served was published.",
	}, []string{"dataset"})

	switches = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "switches_total",
		Help:      "Counter of version switches by dataset and where the version came from.",
	}, []string{"dataset", "source"})

	followSeconds = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "follow_seconds",
		Help:      "Histogram of the time from a version's publication, by the publisher's clock, to its being served.",
		Buckets:   []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
	}, []string{"kind"})

	pulse = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "source_timestamp_seconds",
		Help:      "Unix time of the newest heartbeat seen, stamped by the pipeline's writing end.",
	}, []string{"store"})

	refused = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "refused_total",
		Help:      "Counter of published versions that were not served, by dataset and reason.",
	}, []string{"dataset", "reason"})

	transfers = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "transfers_total",
		Help:      "Counter of outgoing transfers by zone and kind: axfr, ixfr, fallback (IXFR answered with the whole zone), current (nothing to send).",
	}, []string{"zone", "kind"})

	notifyErrors = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "notify_errors_total",
		Help:      "Counter of NOTIFY rounds in which some secondary did not answer.",
	}, []string{"zone"})

	cacheErrors = promauto.NewCounter(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "cache_errors_total",
		Help:      "Counter of failures to read or write the disk cache.",
	})
)
