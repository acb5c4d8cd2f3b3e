package popmap

import (
	"github.com/coredns/coredns/plugin"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	choices = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "choices_total",
		Help:      "Counter of steered answers by chosen PoP and by what decided (ecs, hole, special, no-ecs-plane, resolver, no-map).",
	}, []string{"server", "pop", "reason"})

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
