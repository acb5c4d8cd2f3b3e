package edge

import (
	"testing"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/steer"
)

// TestEndOfAPromotedCanaryWaitsForTheMap walks both orders in which the two datasets' news may come.
func TestEndOfAPromotedCanaryWaitsForTheMap(t *testing.T) {
	b := steer.NewMapBuilder("edge")
	if err := b.Default([]string{"ams1"}); err != nil {
		t.Fatal(err)
	}
	staged, err := b.Build(1)
	if err != nil {
		t.Fatal(err)
	}
	can, err := steer.NewCanary(staged, steer.CanaryRule{Share: 500})
	if err != nil {
		t.Fatal(err)
	}
	version := func(c *steer.Canary) *dataset.Version[*steer.Canary] {
		return &dataset.Version[*steer.Canary]{Value: c}
	}
	for name, c := range map[string]struct {
		steps []func(*Map)
		want  []bool // whether the canary is active after each
	}{
		"the end comes first": {
			[]func(*Map){func(m *Map) { m.staged(version(can)) }, func(m *Map) { m.staged(version(steer.EndedCanary(8))) }, func(m *Map) { m.published(8) }},
			[]bool{true, true, false},
		},
		"the map comes first": {
			[]func(*Map){func(m *Map) { m.staged(version(can)) }, func(m *Map) { m.published(8) }, func(m *Map) { m.staged(version(steer.EndedCanary(8))) }},
			[]bool{true, true, false},
		},
		"the map is further already": {
			[]func(*Map){func(m *Map) { m.staged(version(can)) }, func(m *Map) { m.published(9) }, func(m *Map) { m.staged(version(steer.EndedCanary(8))) }},
			[]bool{true, true, false},
		},
		"taken back": {
			[]func(*Map){func(m *Map) { m.staged(version(can)) }, func(m *Map) { m.staged(version(steer.EndedCanary(0))) }},
			[]bool{true, false},
		},
		"another is staged before the map comes": {
			[]func(*Map){func(m *Map) { m.staged(version(can)) }, func(m *Map) { m.staged(version(steer.EndedCanary(8))) }, func(m *Map) { m.staged(version(can)) }, func(m *Map) { m.published(8) }},
			[]bool{true, true, true, true},
		},
		"started after the end": {
			[]func(*Map){func(m *Map) { m.staged(version(steer.EndedCanary(8))) }, func(m *Map) { m.published(7) }, func(m *Map) { m.published(8) }},
			[]bool{false, false, false},
		},
	} {
		m := &Map{}
		m.published(7)
		for i, step := range c.steps {
			step(m)
			if got := m.Canary() != nil; got != c.want[i] {
				t.Errorf("%s: after step %d a canary is active: %v, want %v", name, i+1, got, c.want[i])
			}
		}
	}
}
