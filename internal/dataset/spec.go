package dataset

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/popdns/popdns/internal/store"
)

// The modes of a Spec.
const (
	ModeDirect    = "direct"    // whoever publishes commits, under the dataset's lock
	ModePresented = "presented" // publishing writes inputs, the presenter alone commits
)

// Spec is what a dataset's spec node says. Fields that this version does not know are left to those that do.
type Spec struct {
	Mode       string `json:"mode,omitempty"`        // ReadSpec never returns ""
	DefaultMap string `json:"default_map,omitempty"` // map of steered owners that name none
}

// ReadSpec returns the spec of the dataset at path; without a spec node it is the default, direct.
func ReadSpec(ctx context.Context, r store.Reader, path string) (Spec, error) {
	spec := Spec{Mode: ModeDirect}
	node, err := r.Get(ctx, specPath(path))
	if errors.Is(err, store.ErrNoNode) {
		return spec, nil
	}
	if err != nil {
		return Spec{}, fmt.Errorf("read the spec of %s: %w", path, err)
	}
	if err := decodeJSON(node.Data, maxSmallBytes, &spec); err != nil {
		return Spec{}, fmt.Errorf("read the spec of %s: %w", path, err)
	}
	if spec.Mode != ModeDirect && spec.Mode != ModePresented {
		return Spec{}, fmt.Errorf("read the spec of %s: unknown mode %q", path, spec.Mode)
	}
	return spec, nil
}

// checkFreeze returns an ErrFrozen that says who froze the store and why, while the freeze node exists, whatever is in it.
func checkFreeze(ctx context.Context, r store.Reader) error {
	node, err := r.Get(ctx, freezePath)
	if errors.Is(err, store.ErrNoNode) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for a freeze: %w", err)
	}
	var f struct {
		By    string    `json:"by"`
		Why   string    `json:"why"`
		Until time.Time `json:"until"`
	}
	if decodeJSON(node.Data, maxSmallBytes, &f) != nil || f.By == "" {
		return ErrFrozen
	}
	if f.Until.IsZero() {
		return fmt.Errorf("%w by %s: %s", ErrFrozen, f.By, f.Why)
	}
	return fmt.Errorf("%w by %s until %s: %s", ErrFrozen, f.By, f.Until.Format(time.RFC3339), f.Why)
}
