package zkzone

import (
	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/zone"
)

var _ edge.Authority = (*ZkZone)(nil)

// Answering implements edge.Authority.
func (z *ZkZone) Answering(name zone.Name, qtype uint16) edge.ZoneAnswers {
	here := z.table.Load().answers(name, qtype)
	if here == nil {
		return nil
	}
	return here
}

// PassesOn implements edge.Authority.
func (z *ZkZone) PassesOn() bool { return z.Next != nil && len(z.Fall.Zones) > 0 }

// Origin implements edge.ZoneAnswers.
func (s *served) Origin() string { return s.origin }

// Snapshot implements edge.ZoneAnswers.
func (s *served) Snapshot() *zone.Snapshot {
	v, err := s.by.version(s)
	if err != nil {
		return nil
	}
	return v.Value
}

// CountAnswers implements edge.ZoneAnswers.
func (s *served) CountAnswers(server string, kind zone.Kind, n uint64) {
	s.counted.of(server, kind).Add(float64(n))
}
