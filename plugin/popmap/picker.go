package popmap

import (
	"context"

	"github.com/popdns/popdns/internal/pick"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/coredns/plugin/metrics"
)

// picker is one query's choice. It does nothing until zkzone asks; then it
// decides once per map and remembers the scope that the reply must name.
type picker struct {
	popmap *PopMap
	client steer.Client

	mapName  string // of decision
	decision steer.Decision
	decided  bool
	reason   string      // why the decision is what it is, a metric label
	scope    uint8       // the longest of all decisions: RFC 7871 7.2.1 for answers of several RRsets
	picked   pick.Picked // the last one, for the metrics
}

// Pick implements zone.Picker.
func (k *picker) Pick(s zone.Steering, v zone.Variants, hasDefault bool) zone.Choice {
	k.decide(s.Map)
	k.picked = pick.Pick(&k.decision, k.pops(), &s, v, hasDefault)
	return k.picked.Choice
}

// unavailable tells that the client got no variant for the states of its PoPs.
func (k *picker) unavailable() bool { return k.decided && k.picked.Reason == pick.None }

// decide looks the client up in the named map, or in the block's own.
func (k *picker) decide(name string) {
	if name == "" {
		name = k.popmap.mapName
	}
	if k.decided && k.mapName == name {
		return
	}
	d := steer.Decision{List: k.popmap.fallback}
	k.reason = "no-map"
	if v, canary := k.popmap.source.Map(name); v != nil {
		d = canary.Decide(v.Value, k.popmap.edge, k.client)
		k.reason = d.Reason.String()
	}
	k.mapName, k.decision, k.decided = name, d, true
	k.scope = max(k.scope, d.Scope)
}

func (k *picker) pops() *steer.PoPs {
	if v := k.popmap.source.PoPs().Current(); v != nil {
		return v.Value
	}
	return nil
}

// count books the choice; a query that steered nothing is not booked.
func (k *picker) count(ctx context.Context) {
	if !k.decided {
		return
	}
	pop := k.picked.PoP
	if k.picked.Reason == pick.None {
		pop = "none"
	} else if pop == "" {
		pop = "default"
	}
	choices.WithLabelValues(metrics.WithServer(ctx), pop, k.reason).Inc()
	if k.decision.Canary {
		canaryChoices.WithLabelValues(metrics.WithServer(ctx)).Inc()
	}
}
