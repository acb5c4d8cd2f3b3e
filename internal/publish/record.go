package publish

import (
	"context"
	"errors"
	"fmt"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/zone"
)

// SetRecord puts set in place of the variant with the same owner, type and PoP, or adds it. The error wraps dataset.ErrNoDataset when the zone does not
// exist and dataset.ErrSerial when its SOA is signed and there is no Options.SignZone, since no record of such a zone can change without a new signature.
func (p *Publisher) SetRecord(ctx context.Context, origin zone.Name, set zone.RRset) (*ZoneReceipt, error) {
	c := p.commit()
	if set.Type == dns.TypeSOA {
		c.MinSerial = soaSerial(set)
	}
	return p.commitZone(ctx, origin, c, guardRecord(set.Key()), func(cur *zone.Snapshot) (*zone.Snapshot, error) {
		return p.editRecord(cur, zone.Delta{Put: []zone.RRset{set}})
	})
}

// UnsetRecord deletes one variant. The error wraps ErrNoVariant when there is no such variant.
func (p *Publisher) UnsetRecord(ctx context.Context, origin zone.Name, key zone.Key) (*ZoneReceipt, error) {
	return p.commitZone(ctx, origin, p.commit(), guardRecord(key), func(cur *zone.Snapshot) (*zone.Snapshot, error) {
		next, err := p.editRecord(cur, zone.Delta{Delete: []zone.Key{key}})
		if err == nil {
			if _, ok := cur.Get(key); !ok {
				return nil, noVariant(cur, key)
			}
		}
		return next, err
	})
}

// ErrNoVariant is wrapped by the error of UnsetRecord when the zone has no such variant.
var ErrNoVariant = errors.New("no such variant")

// noVariant names the variants that there are.
func noVariant(s *zone.Snapshot, key zone.Key) error {
	what := "default variant"
	if key.PoP != "" {
		what = "variant for PoP " + key.PoP
	}
	var have []string
	for _, pop := range append([]string{""}, s.PoPs()...) {
		if _, ok := s.Get(zone.Key{Owner: key.Owner, Type: key.Type, PoP: pop}); ok {
			have = append(have, variantName(pop))
		}
	}
	there := ", nor any other"
	if have != nil {
		there = "; it has: " + listed(have)
	}
	return fmt.Errorf("%s %s has no %s%s (%w)", key.Owner, TypeName(key.Type), what, there, ErrNoVariant)
}

func variantName(pop string) string {
	if pop == "" {
		return "the default variant"
	}
	return "--pop " + pop
}

func (p *Publisher) editRecord(cur *zone.Snapshot, d zone.Delta) (*zone.Snapshot, error) {
	if cur == nil {
		return nil, fmt.Errorf("%w: publish the zone first", dataset.ErrNoDataset)
	}
	if cur.SerialFrozen() && p.o.SignZone == nil {
		return nil, fmt.Errorf("the SOA is signed, so single records can't be changed without its keys (--keys): publish a zone file signed anew: %w", dataset.ErrSerial)
	}
	return cur.Apply(d)
}

func soaSerial(set zone.RRset) uint32 {
	rrs, err := set.RRs()
	if err != nil || len(rrs) == 0 {
		return 0
	}
	soa, ok := rrs[0].(*dns.SOA)
	if !ok {
		return 0
	}
	return soa.Serial
}
