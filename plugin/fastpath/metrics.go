package fastpath

import (
	"github.com/coredns/coredns/plugin"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Labels are bounded: server by the Corefile, reason by constants.
var (
	hits = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "hits_total",
		Help:      "Counter of queries answered without the plugin chain.",
	}, []string{"server"})

	misses = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "misses_total",
		Help:      "Counter of queries that were left to the plugin chain, by reason.",
	}, []string{"server", "reason"})

	batches = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "batches_total",
		Help:      "Counter of batches in which queries were read: hits and misses by it are how many queries one system call brings.",
	}, []string{"server"})

	drops = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "drops_total",
		Help:      "Counter of queries dropped because the plugin chain could not keep up.",
	}, []string{"server"})

	unsent = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "send_errors_total",
		Help:      "Counter of replies that the kernel refused to send.",
	}, []string{"server"})

	queueLength = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace,
		Subsystem: pluginName,
		Name:      "queue_length",
		Help:      "Number of queries waiting for the plugin chain.",
	}, []string{"server"})
)
