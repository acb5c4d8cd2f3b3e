package publish

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/ecs"
	"github.com/popdns/popdns/internal/explain"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

// An ExplainQuestion is a query whose steering is to be explained from what is published.
type ExplainQuestion struct {
	explain.Question
	Zone zone.Name // the zone to look Name up in; "" for the longest published one
	File *MapFile  // explained instead of the published map, nil for that
}

// An ExplainText is an ExplainQuestion as the arguments of a command give it.
type ExplainText struct {
	Map, Address     string
	ECS              string // prefix or address; "" for none
	Name, Type, Zone string // Name and Zone may be ""
	Edge             string // may be ""
}

// Parse reads t.
func (t ExplainText) Parse() (ExplainQuestion, error) {
	q := ExplainQuestion{Question: explain.Question{Map: t.Map, Edge: t.Edge}}
	var err error
	if q.Resolver, err = netip.ParseAddr(t.Address); err != nil || q.Resolver.Zone() != "" {
		return q, fmt.Errorf("address %q is not an IP address, like 192.0.2.1 (a client subnet goes to --ecs)", t.Address)
	}
	if t.ECS != "" {
		if q.ECS, err = ecs.ParseSubnet(t.ECS); err != nil {
			return q, err
		}
	}
	if t.Zone != "" {
		if q.Zone, err = zone.ParseName(t.Zone); err != nil {
			return q, fmt.Errorf("zone %q: %w", t.Zone, err)
		}
	}
	if t.Name == "" {
		return q, nil
	}
	if q.Name, err = zone.ParseName(t.Name); err != nil {
		return q, fmt.Errorf("name %q: %w", t.Name, err)
	}
	q.Type, err = ParseType(t.Type)
	return q, err
}

// Explain answers q from the datasets in the store as an edge would.
func Explain(ctx context.Context, r store.Reader, q ExplainQuestion) (*explain.Explanation, error) {
	m, err := q.steering(ctx, r)
	if err != nil {
		return nil, err
	}
	pops, err := LoadPoPs(ctx, r)
	if err != nil {
		return nil, err
	}
	data := explain.Data{Map: m, PoPs: pops}
	if q.File == nil {
		staged, err := LoadCanary(ctx, r, q.Map)
		if err != nil {
			return nil, err
		}
		data.Canary = valueOf(staged)
	}
	if q.Name != "" {
		origin, err := zoneOf(ctx, r, q)
		if err != nil {
			return nil, err
		}
		z, err := LoadZone(ctx, r, origin, 0)
		if err != nil {
			return nil, err
		}
		data.Zone = z.Value
	}
	e, err := explain.Explain(data, q.Question)
	if err == nil && q.File != nil {
		e.Rule = q.File.rule(q)
	}
	return e, err
}

// steering is the map that is explained.
func (q *ExplainQuestion) steering(ctx context.Context, r store.Reader) (*steer.Map, error) {
	if q.File != nil {
		return q.File.Map, nil
	}
	v, err := LoadMap(ctx, r, q.Map)
	if err != nil {
		return nil, err
	}
	return v.Value, nil
}

// rule says what in the file decides: a row, a rule of the geo section, or the default list.
func (f *MapFile) rule(q ExplainQuestion) string {
	d := f.Map.Decide(q.Client())
	a := q.Resolver.Unmap()
	if d.Plane == steer.ECS {
		a = q.ECS.Masked().Addr()
	}
	if row, ok := f.file.Covering(d.Plane, a); ok {
		return "row " + row.String()
	}
	if f.Geo != nil {
		if rule := f.Geo.Rule(d.Plane, a); rule != "" {
			return rule
		}
	}
	return "default"
}

// zoneOf finds the published zone with the longest origin above the name.
func zoneOf(ctx context.Context, r store.Reader, q ExplainQuestion) (zone.Name, error) {
	if q.Zone != "" {
		if !q.Name.IsSubdomainOf(q.Zone) {
			return "", fmt.Errorf("name %s is outside zone %s", q.Name, q.Zone)
		}
		return q.Zone, nil
	}
	zones, err := OpenZones(ctx, r, 0)
	if err != nil {
		return "", err
	}
	best := zones.Origin(q.Name)
	if best == "" {
		return "", fmt.Errorf("no published zone holds %s: %w", q.Name, dataset.ErrNoDataset)
	}
	return best, nil
}
