package edge_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/edge/edgetest"
	"github.com/popdns/popdns/internal/publish"
)

// switchRecorder keeps the switches as lines.
type switchRecorder struct {
	edgetest.Observer
	mu    sync.Mutex
	lines []string
}

func (r *switchRecorder) Switched(s edge.Switch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := s.Change
	r.lines = append(r.lines, fmt.Sprintf("%s %d %s before=%d +%d -%d ~%d settings=%d deltas=%d %s",
		s.Path, s.Head.Serial, s.How, c.Before, c.Added, c.Removed, c.Changed, c.Settings, c.Deltas, strings.Join(c.Examples, ",")))
}

func (r *switchRecorder) await(t *testing.T, line string) {
	t.Helper()
	until(t, line, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.Contains(r.lines, line)
	})
}

func TestASwitchTellsWhatChangedAndHowItCame(t *testing.T) {
	st := edgetest.New(t)
	st.PoPs(t, "ams1: {lat: 52, lon: 4}\niad2: {lat: 39, lon: -77}\n")
	st.Zone(t, "example.org.", head)
	cache := t.TempDir()
	follow := func(seen *switchRecorder) *edge.Source {
		src, err := edge.Open(edge.Config{URL: st.URL(), CacheDir: cache}, seen)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = src.Close() })
		src.Zone(origin)
		return src
	}
	seen := &switchRecorder{}
	src := follow(seen)
	seen.await(t, "zones/example.org 1 first before=0 +0 -0 ~0 settings=0 deltas=0 ")
	seen.await(t, "pops 1 first before=0 +0 -0 ~0 settings=0 deltas=0 ")

	if _, err := st.DrainPoP(t.Context(), "iad2", 30); err != nil {
		t.Fatal(err)
	}
	seen.await(t, "pops 2 deltas before=2 +0 -0 ~1 settings=0 deltas=1 iad2")
	set, err := publish.ParseRRset(publish.RecordText{Name: "www", TTL: "60", Type: "A", Rdata: []string{"192.0.2.1"}, PoP: "ams1"}, origin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.SetRecord(t.Context(), origin, set); err != nil {
		t.Fatal(err)
	}
	seen.await(t, "zones/example.org 2 deltas before=3 +1 -0 ~0 settings=0 deltas=1 www.example.org. A pop=ams1")
	st.Zone(t, "example.org.", strings.ReplaceAll(head, "192.0.2.53", "192.0.2.54"))
	seen.await(t, "zones/example.org 3 deltas before=4 +0 -1 ~1 settings=0 deltas=1 www.example.org. A pop=ams1,ns.example.org. A")
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}

	seen = &switchRecorder{}
	follow(seen)
	seen.await(t, "zones/example.org 3 first before=0 +0 -0 ~0 settings=0 deltas=0 ")
	seen.await(t, "zones/example.org 3 confirmed before=3 +0 -0 ~0 settings=0 deltas=0 ")
}
