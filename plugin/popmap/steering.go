package popmap

import (
	"slices"
	"strings"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"
)

var (
	_ edge.Steerer  = (*PopMap)(nil)
	_ edge.Claimant = (*PopMap)(nil)
	_ edge.Steering = (*steering)(nil)
)

// Steers implements edge.Steerer.
func (p *PopMap) Steers(name zone.Name) bool { return slices.ContainsFunc(p.names, name.IsSubdomainOf) }

// Claims implements edge.Claimant: the explainer's names, and what lies below them. It compares octets behind the first length, and so
// may claim too much, as the explainer does that compares text.
func (p *PopMap) Claims(name zone.Name) bool {
	for _, end := range p.explained {
		if strings.HasSuffix(string(name), end) {
			return true
		}
	}
	return false
}

// steering is the picker of one query after the other, for a server that answers without the chain.
type steering struct {
	picker
	tallies *tallies
}

// NewSteering implements edge.Steerer.
func (p *PopMap) NewSteering(server string) edge.Steering {
	return &steering{picker{popmap: p}, p.tallies(server)}
}

// Begin implements edge.Steering.
func (s *steering) Begin(client steer.Client) { s.picker = picker{popmap: s.popmap, client: client} }

// Scope implements edge.Steering; ecsWriter has the same rule.
func (s *steering) Scope(positive bool) uint8 {
	if !positive && !s.unavailable() {
		return 0
	}
	return s.scope
}

// Count implements edge.Steering.
func (s *steering) Count(scope, family int) {
	if !s.decided {
		return
	}
	s.countAt(s.tallies)
	if scope < 0 {
		return
	}
	i := 0
	if family == 6 {
		i = 1
	}
	s.tallies.scopes[i].Observe(float64(scope))
}
