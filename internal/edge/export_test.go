package edge

import (
	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/zone"
)

// AcceptZone is a Source's guard.
func AcceptZone(cfg Config, before, after *dataset.Version[*zone.Snapshot]) error {
	return (&Source{cfg: cfg}).acceptZone(before, after)
}
