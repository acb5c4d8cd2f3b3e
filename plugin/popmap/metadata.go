package popmap

import (
	"context"

	"github.com/popdns/popdns/internal/ecs"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/metadata"
	"github.com/coredns/coredns/request"
)

var _ metadata.Provider = (*PopMap)(nil)

// noValue is the metadata of a query that steers nothing, as the log plugin
// writes what it does not know.
const noValue = "-"

type decisionKey struct{}

// Metadata implements metadata.Provider. It looks nothing up: the values are
// made when somebody reads them.
func (p *PopMap) Metadata(ctx context.Context, state request.Request) context.Context {
	if plugin.Zones(p.zones).Matches(state.Name()) == "" {
		return ctx
	}
	told := &decision{popmap: p, state: state}
	metadata.SetValueFunc(ctx, "popmap/pop", func() string { return told.value((*picker).pop) })
	metadata.SetValueFunc(ctx, "popmap/map", func() string { return told.value(func(k *picker) string { return k.mapName }) })
	metadata.SetValueFunc(ctx, "popmap/block", func() string { return told.value((*picker).block) })
	metadata.SetValueFunc(ctx, "popmap/reason", func() string { return told.value(func(k *picker) string { return k.reason }) })
	return context.WithValue(ctx, decisionKey{}, told)
}

// decision is one query's, for the metadata.
type decision struct {
	popmap *PopMap
	state  request.Request
	pick   *picker // the query's own, from when it has come to popmap; before, what foresee made
}

// tell hands the query's own picker to the metadata, if anybody may ask.
func (p *PopMap) tell(ctx context.Context, k *picker) {
	if !p.metadata {
		return
	}
	if told, ok := ctx.Value(decisionKey{}).(*decision); ok {
		told.pick = k
	}
}

func (d *decision) value(of func(*picker) string) string {
	if d.pick == nil {
		d.pick = d.popmap.foresee(d.state)
	}
	if d.pick.decided {
		if v := of(d.pick); v != "" {
			return v
		}
	}
	return noValue
}

// block is the network that the decision holds for.
func (k *picker) block() string {
	if !k.decision.Block.IsValid() {
		return ""
	}
	return k.decision.Block.String()
}

// foresee decides for a query that has not come to popmap yet, as views and
// dnstap ask: by the zone's own lookup, as zkzone will.
func (p *PopMap) foresee(state request.Request) *picker {
	k := &picker{popmap: p, client: steer.Client{Resolver: sourceAddr(state.W)}}
	opt, _, err := ecs.FromMsg(state.Req)
	if err != nil {
		return k // it will get FORMERR
	}
	if opt.Usable() {
		k.client.ECS, k.client.HasECS = opt.Prefix(), true
	}
	name, err := zone.ParseName(state.QName())
	if err != nil {
		return k
	}
	if z := p.zoneOf(name); z != nil {
		var res zone.Result
		z.Lookup(zone.Question{Name: name, Type: state.QType(), DO: state.Do()}, k, &res)
	}
	return k
}

// zoneOf returns the served zone that holds the name, nil without one or before
// it has data.
func (p *PopMap) zoneOf(name zone.Name) *zone.Snapshot {
	for _, origin := range p.origins { // the longest first
		if name.IsSubdomainOf(origin) {
			if v := p.source.Zone(origin).Current(); v != nil {
				return v.Value
			}
			return nil
		}
	}
	return nil
}
