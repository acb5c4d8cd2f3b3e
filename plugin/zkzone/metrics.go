package zkzone

import (
	"github.com/coredns/coredns/plugin"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Labels are bounded: store by the Corefile, dataset by the zones configured and the maps they name,
// reason, kind and state by constants. What tells how things are is read when it is scraped, see collector; here is what
// is counted when it happens.
var (
	answers = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "answers_total",
		Help:      "Counter of answers by zone and kind (success, nodata, nxdomain, delegation, …).",
	}, []string{"server", "zone", "kind"})

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

// What collector tells.
var (
	serialDesc    = desc("serial", "Serial of the version being served, by dataset (zones/…, maps/…, pops).", "dataset")
	itemsDesc     = desc("items", "Items (RRsets and steering settings of a zone, rows of a map, PoPs) in the version being served.", "dataset")
	recordsDesc   = desc("records", "Records of the zone's version being served, those of all variants.", "dataset")
	publishedDesc = desc("published_timestamp_seconds", "Unix time at which the version being served was published.", "dataset")
	sourceDesc    = desc("source_timestamp_seconds", "Unix time up to which the data being served is known to be current: the heartbeat's, or the version's own where there is none or the dataset is frozen.", "dataset")
	stateDesc     = desc("state", "How the dataset stands: 0 live, 1 stale, 2 disk, 3 frozen, 4 none.", "dataset")
	datasetsDesc  = desc("datasets", "Number of datasets by kind (zone, map, pops) and state (live, stale, disk, frozen, none).", "store", "kind", "state")

	heartbeatDesc    = desc("heartbeat_timestamp_seconds", "Unix time of the newest heartbeat seen, stamped by the pipeline's writing end.", "store")
	connectedDesc    = desc("store_connected", "Whether the store is in reach: 1 or 0.", "store")
	contactDesc      = desc("store_contact_timestamp_seconds", "Unix time at which the store was last in reach; now while it is.", "store")
	sessionsDesc     = desc("store_sessions_total", "Counter of sessions with the store, established or re-established.", "store")
	cacheWritesDesc  = desc("cache_writes_total", "Counter of versions and heartbeats written to the disk cache.", "store")
	cacheWrittenDesc = desc("cache_write_timestamp_seconds", "Unix time of the last write to the disk cache.", "store")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(plugin.Namespace, pluginName, name), help, labels, nil)
}
