package popmap

import (
	"context"

	"github.com/popdns/popdns/internal/explain"
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
	k.picked = pick.Pick(&k.decision, k.popmap.pops(), &s, v, hasDefault)
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
	if m, canary := k.popmap.steering(name); m != nil {
		k.decision = canary.Decide(m, k.popmap.edge, k.client)
		k.reason = k.decision.Reason.String()
	} else {
		k.decision = steer.Decision{List: k.popmap.fallback}
		k.reason = explain.NoMap
	}
	k.mapName, k.decided = name, true
	k.scope = max(k.scope, k.decision.Scope)
}

// steering is the map of a name, and what is staged beside it: the one that is called so in the store, or else the block's own.
func (p *PopMap) steering(name string) (*steer.Map, *steer.Canary) {
	if v, canary := p.source.Map(name); v != nil {
		return v.Value, canary
	}
	if p.geo != nil {
		return p.geo.current.Load(), nil
	}
	return nil, nil
}

// pop names what was picked: a PoP, "default" for the default variant, or "none".
func (k *picker) pop() string {
	switch {
	case k.picked.Reason == pick.None:
		return "none"
	case k.picked.PoP == "":
		return "default"
	}
	return k.picked.PoP
}

// count books the choice, and returns the server's metrics; nil for a query
// that steered nothing.
func (k *picker) count(ctx context.Context) *tallies {
	if !k.decided {
		return nil
	}
	t := k.popmap.tallies(metrics.WithServer(ctx))
	k.countAt(t)
	return t
}

// countAt books a choice that was made.
func (k *picker) countAt(t *tallies) {
	t.choice(choice{k.pop(), k.reason}).Inc()
	if k.decision.Unmapped {
		t.unmapped.Inc()
	}
	if k.decision.Canary {
		t.canary.Inc()
	}
}
