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
)
