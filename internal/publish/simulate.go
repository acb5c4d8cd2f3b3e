package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/simulate"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
)

// A Supposition is what a simulation supposes in the place of what is published.
type Supposition struct {
	File   *Source  // a map file; nil for the published map
	States []string // "ams1=50%", "iad2=down", "sin1=up" (and not drained); a later one of the same PoP counts
	// NoNames lets every PoP count as having a variant of every name.
	NoNames bool
}

func (s *Supposition) empty() bool { return s.File == nil && len(s.States) == 0 }

// A Simulation is what would decide.
type Simulation struct {
	Now    *simulate.World
	Before *simulate.World // what is published; nil if that is the same, or nothing
	Notes  []string
}

// NewSimulation reads from the store what queries are to be simulated with. With a nil reader there is no store, so sup must name a map file; every PoP that it
// supposes nothing of counts as up, and names count for nothing. Each read of the store ends after timeout.
func NewSimulation(ctx context.Context, r store.Reader, mapName string, sup Supposition, timeout time.Duration) (*Simulation, error) {
	out := &Simulation{Now: &simulate.World{}}
	if r != nil {
		if err := out.load(ctx, r, mapName, sup, timeout); err != nil {
			return nil, err
		}
	}
	if out.Now.PoPs == nil {
		out.Notes = append(out.Notes, "there is no PoP table: every PoP counts as up")
	}
	if sup.empty() {
		return out, nil
	}
	if out.Now.Map != nil {
		was := *out.Now
		out.Before = &was
	}
	if sup.File != nil {
		m, err := ReadMap(*sup.File, mapName, out.Now.PoPs)
		if err != nil {
			return nil, err
		}
		out.Now.Map, out.Now.Canary = m, nil
	}
	var err error
	out.Now.PoPs, err = suppose(out.Now.PoPs, out.Now.Map, sup.States)
	return out, err
}

// load fills in what is published.
func (s *Simulation) load(ctx context.Context, r store.Reader, mapName string, sup Supposition, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var err error
	if s.Now.PoPs, err = LoadPoPs(ctx, r); err != nil {
		return err
	}
	m, err := LoadMap(ctx, r, mapName)
	switch {
	case err == nil:
		s.Now.Map = m.Value
	case sup.File == nil || !errors.Is(err, dataset.ErrNoDataset): // what was never published may be tried from a file all the same
		return err
	}
	staged, err := LoadCanary(ctx, r, mapName)
	if err != nil {
		return err
	}
	s.Now.Canary = valueOf(staged)
	if sup.NoNames {
		return nil
	}
	zones, err := OpenZones(ctx, r, timeout)
	if err != nil {
		return err
	}
	s.Now.Zone = zones.Find
	return nil
}

// suppose returns the table with the states that are supposed. Without a table it makes one of all PoPs that the map names.
func suppose(pops *steer.PoPs, m *steer.Map, states []string) (*steer.PoPs, error) {
	if len(states) == 0 {
		return pops, nil
	}
	if pops == nil {
		var list []steer.PoP
		for _, name := range mapPoPs(m) {
			list = append(list, steer.PoP{Name: name})
		}
		var err error
		if pops, err = steer.NewPoPs(0, list); err != nil {
			return nil, err
		}
	}
	for _, s := range states {
		name, state, _ := strings.Cut(s, "=")
		pop, ok := pops.Get(name)
		if !ok {
			return nil, fmt.Errorf("PoP %q is not in the PoP table; there is: %s", name, listed(popNames(pops)))
		}
		switch state {
		case "up":
			pop.State, pop.Drain, pop.Services = steer.Up, 0, nil
		case "down":
			pop.State = steer.Down
		default:
			share, err := ParseShare(state)
			percent := int(share*100 + 0.5)
			if err != nil || share*100 != float64(percent) {
				return nil, fmt.Errorf("PoP %s: %q is not up, down or a whole percentage, like 50%%", name, state)
			}
			pop.Drain = percent
		}
		pops = pops.With(pop)
	}
	return pops, nil
}
