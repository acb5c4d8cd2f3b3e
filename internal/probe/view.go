package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/popdns/popdns/internal/store"
)

// A View is what one prober thinks at one time. It outlives the prober, so that a restart or a run from cron goes on counting.
type View struct {
	Prober  string            `json:"prober"`
	Stamped time.Time         `json:"stamped"`
	Until   time.Time         `json:"until"`             // it counts no longer
	Suspect bool              `json:"suspect,omitempty"` // everything fails: the prober blames itself
	Targets map[string]Health `json:"targets"`           // by Target.String
}

const (
	viewsDir = "probes"
	// maxSkew is how far the clocks of probers may differ.
	maxSkew = 5 * time.Second
	// maxProbers bounds the views that are read at each judgement.
	maxProbers = 64
	// forgetAfter is when a view that nobody renews is removed.
	forgetAfter = 24 * time.Hour
)

var proberName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

// CheckProberName returns an error unless name can be a prober's.
func CheckProberName(name string) error {
	if !proberName.MatchString(name) {
		return fmt.Errorf("prober name %q: want 1 to 63 of a-z, 0-9, '.', '_' and '-', with a letter or digit first and last", name)
	}
	return nil
}

// MarshalJSON writes a Health in a few octets, as there are many: "u" or "d", and the counters if one isn't 0.
func (h Health) MarshalJSON() ([]byte, error) {
	s := "u"
	if h.Down {
		s = "d"
	}
	if h.Good != 0 || h.Bad != 0 {
		s += fmt.Sprintf(" %d %d", h.Good, h.Bad)
	}
	return json.Marshal(s)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Health) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	var state string
	n, err := fmt.Sscanf(s, "%s %d %d", &state, &h.Good, &h.Bad)
	if (state != "u" && state != "d") || n == 2 || n == 3 && err != nil || h.Good < 0 || h.Bad < 0 {
		return fmt.Errorf("health %.40q", s)
	}
	h.Known, h.Down = true, state == "d"
	return nil
}

// ReadViews returns the views of all probers, by name. One that can't be read is left out: it doesn't count.
func ReadViews(ctx context.Context, r store.Reader) ([]View, error) {
	names, err := r.Children(ctx, viewsDir)
	if errors.Is(err, store.ErrNoNode) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the probers' views: %w", err)
	}
	var out []View
	for _, name := range names[:min(len(names), maxProbers)] {
		v, err := readView(ctx, r, name)
		switch {
		case err == nil:
			out = append(out, v)
		case errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil:
			return nil, err
		}
	}
	return out, nil
}

func readView(ctx context.Context, r store.Reader, name string) (View, error) {
	node, err := r.Get(ctx, store.Join(viewsDir, name))
	if err != nil {
		return View{}, fmt.Errorf("read the view of prober %s: %w", name, err)
	}
	var v View
	if err := json.Unmarshal(node.Data, &v); err != nil || v.Prober != name || len(v.Targets) > MaxChecks {
		return View{}, fmt.Errorf("read the view of prober %s: of prober %.63q: %w", name, v.Prober, err)
	}
	return v, nil
}

// writeView makes v the prober's view.
func writeView(ctx context.Context, s store.Store, v View) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write the view: %w", err)
	}
	path := store.Join(viewsDir, v.Prober)
	for range 2 {
		err = s.Commit(ctx, store.Set(path, data, store.AnyVersion))
		if !errors.Is(err, store.ErrNoNode) {
			break
		}
		if err = store.MkdirAll(ctx, s, viewsDir); err != nil {
			break
		}
		err = s.Commit(ctx, store.Create(path, data))
		if !errors.Is(err, store.ErrExists) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("write the view: %w", err)
	}
	return nil
}

// forget removes views that nobody has renewed for long.
func forget(ctx context.Context, s store.Store, views []View, now time.Time) {
	for _, v := range views {
		if now.Sub(v.Until) > forgetAfter {
			_ = s.Commit(ctx, store.Delete(store.Join(viewsDir, v.Prober), store.AnyVersion)) // another prober tries too
		}
	}
}
