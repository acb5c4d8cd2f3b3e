package edgetest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/zone"
)

// Observer records the events of a Source as lines.
type Observer struct {
	mu    sync.Mutex
	lines []string
}

func (o *Observer) add(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, fmt.Sprintf(format, args...))
}

// Lines returns what happened so far.
func (o *Observer) Lines() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.lines...)
}

// Switched implements edge.Observer.
func (o *Observer) Switched(s edge.Switch) { o.add("switched %s from %s", s.Path, s.Source) }

// Refused implements edge.Observer.
func (o *Observer) Refused(path string, r dataset.Refusal) { o.add("refused %s (%s)", path, r.Reason) }

// CacheFailed implements edge.Observer.
func (o *Observer) CacheFailed(path string, err error) { o.add("cache of %q: %v", path, err) }

// StoreFailed implements edge.Observer.
func (o *Observer) StoreFailed(err error) { o.add("store: %v", err) }

// StoreConnection implements edge.Observer.
func (o *Observer) StoreConnection(line string) { o.add("connection: %s", line) }

// Provider is an edge.Provider over a Source of its own, for the tests of
// plugins that look for one.
type Provider struct {
	Source *edge.Source
	Zones  []zone.Name
}

// EdgeSource implements edge.Provider.
func (p *Provider) EdgeSource() (*edge.Source, error) { return p.Source, nil }

// Origins implements edge.Provider.
func (p *Provider) Origins() []zone.Name { return p.Zones }

// Follow opens a Source on s, closed at the test's end, and waits until it has
// the zones.
func (s *Store) Follow(tb testing.TB, origins ...string) *Provider {
	tb.Helper()
	src, err := edge.Open(edge.Config{URL: s.URL()}, &Observer{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = src.Close() })
	p := &Provider{Source: src}
	for _, o := range origins {
		name := zone.MustParseName(o)
		if err := src.Zone(name).Wait(tb.Context()); err != nil {
			tb.Fatal(err)
		}
		p.Zones = append(p.Zones, name)
	}
	return p
}
