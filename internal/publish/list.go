package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/mapfile"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"
)

// Listed is one dataset of a list, as its head tells. Serial is 0 when the head can't be read, and Err says why.
type Listed struct {
	Name      string    `json:"name"`
	Serial    uint32    `json:"serial"`
	Items     int       `json:"items"`
	Published time.Time `json:"published,omitzero"`
	By        string    `json:"by"`
	Err       string    `json:"error,omitempty"`
	Canary    *Staged   `json:"canary,omitempty"` // what is staged beside a map
}

// ListZones lists the zones by the order of their keys in the store.
func ListZones(ctx context.Context, r store.Reader) ([]Listed, error) {
	return list(ctx, r, "zones", dataset.ZoneName)
}

// ListMaps lists the maps by name.
func ListMaps(ctx context.Context, r store.Reader) ([]Listed, error) {
	out, err := list(ctx, r, "maps", func(key string) string { return key })
	if err != nil {
		return nil, err
	}
	for i := range out {
		v, err := LoadCanary(ctx, r, out[i].Name)
		switch {
		case errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil:
			return nil, fmt.Errorf("list the maps: %w", err)
		case err != nil:
			out[i].Err = err.Error()
		case v != nil:
			out[i].Canary = ViewStaged(v)
		}
	}
	return out, nil
}

func list(ctx context.Context, r store.Reader, dir string, nameOf func(key string) string) ([]Listed, error) {
	keys, err := dataset.ListDatasets(ctx, r, dir)
	if err != nil {
		return nil, err
	}
	out := make([]Listed, len(keys))
	err = sideBySide(ctx, len(keys), listReaders, func(i int) error {
		l := Listed{Name: nameOf(keys[i])}
		node, err := r.Get(ctx, store.Join(dir, keys[i], "head"))
		if err == nil {
			var h dataset.Head
			if h, err = dataset.ParseHead(node.Data); err == nil {
				l.Serial, l.Items, l.Published, l.By = h.Serial, h.Items, h.Published, h.By
			}
		}
		if errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
			return fmt.Errorf("list the %s: %w", dir, err)
		}
		if err != nil {
			l.Err = err.Error()
		}
		out[i] = l
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// listReaders is how many heads are read at once.
const listReaders = 32

// A HistoryEntry is one version of a dataset, for JSON.
type HistoryEntry struct {
	Serial     uint32    `json:"serial"`
	Published  time.Time `json:"published"`
	By         string    `json:"by"`
	Message    string    `json:"message"`
	Items      int       `json:"items"`
	RollbackOf uint32    `json:"rollback_of,omitempty"`
	Forced     bool      `json:"forced"`
	Base       bool      `json:"base"` // a whole image was written with it
}

// ZoneHistory lists the versions of a zone that are still kept, newest first.
func ZoneHistory(ctx context.Context, r store.Reader, origin zone.Name) ([]HistoryEntry, error) {
	return history(ctx, r, ZoneRef(origin), "zone "+origin.String())
}

// MapHistory lists the versions of a map that are still kept, newest first.
func MapHistory(ctx context.Context, r store.Reader, name string) ([]HistoryEntry, error) {
	return history(ctx, r, MapRef(name), "map "+name)
}

func history[V any](ctx context.Context, r store.Reader, ref dataset.Ref[V], what string) ([]HistoryEntry, error) {
	entries, err := dataset.History(ctx, r, ref)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	out := make([]HistoryEntry, len(entries))
	for i, e := range entries {
		out[i] = HistoryEntry(e)
	}
	return out, nil
}

// A Filter selects RRsets of a zone; its zero value selects all.
type Filter struct {
	Owner zone.Name // "": all
	Type  uint16    // 0: all
}

func (f Filter) selects(set zone.RRset) bool {
	return (f.Owner == "" || set.Owner == f.Owner) && (f.Type == 0 || set.Type == f.Type)
}

// Check returns an error that wraps ErrNoVariant when f selects nothing of s.
func (f Filter) Check(s *zone.Snapshot) error {
	if f == (Filter{}) {
		return nil
	}
	for set := range s.RRsets() {
		if f.selects(set) {
			return nil
		}
	}
	what := "records"
	if f.Type != 0 {
		what = TypeName(f.Type) + " records"
	}
	return fmt.Errorf("%s has no %s: %w", f.Owner, what, ErrNoVariant)
}

// WriteZone writes the selected part of a zone as a zone file; the whole of it is read back to the same zone.
func WriteZone(w io.Writer, s *zone.Snapshot, f Filter) error {
	var opts []zonefile.WriteOption
	if f.Owner != "" {
		opts = append(opts, zonefile.OnlyName(f.Owner))
	}
	if f.Type != 0 {
		opts = append(opts, zonefile.OnlyType(f.Type))
	}
	return zonefile.Write(w, s, opts...)
}

// A ZoneView is a zone for JSON.
type ZoneView struct {
	Origin    string              `json:"origin"`
	Serial    uint32              `json:"serial"`
	Published time.Time           `json:"published"`
	By        string              `json:"by"`
	RRsets    []RRset             `json:"rrsets"` // in the zone's canonical order
	Steering  map[string]Steering `json:"steering"`
}

// ViewZone returns the selected part of a zone.
func ViewZone(v *dataset.Version[*zone.Snapshot], f Filter) (*ZoneView, error) {
	out := &ZoneView{
		Origin: v.Value.Origin().String(), Serial: v.Value.Serial(), Published: v.Head.Published, By: v.Head.By,
		RRsets: []RRset{}, Steering: map[string]Steering{},
	}
	for set := range v.Value.RRsets() {
		if !f.selects(set) {
			continue
		}
		view, err := ViewRRset(set)
		if err != nil {
			return nil, err
		}
		out.RRsets = append(out.RRsets, view)
	}
	for owner, s := range v.Value.Steerings() {
		if f.Owner == "" || f.Owner == owner {
			out.Steering[owner.String()] = ViewSteering(s)
		}
	}
	return out, nil
}

// A MapView is a map for JSON.
type MapView struct {
	Map       string    `json:"map"`
	Serial    uint32    `json:"serial"`
	Published time.Time `json:"published"`
	By        string    `json:"by"`
	Default   []string  `json:"default"`
	Rows      []MapRow  `json:"rows"`             // resolver plane, ecs plane; by address
	Canary    *Staged   `json:"canary,omitempty"` // what is staged beside it, or, of a staged version, its own
}

// A MapRow is one row of a map.
type MapRow struct {
	Plane  string   `json:"plane"`
	Prefix string   `json:"prefix"`
	PoPs   []string `json:"pops"`
}

// ViewMap returns a map's presentation form.
func ViewMap(v *dataset.Version[*steer.Map]) *MapView {
	out := &MapView{
		Map: v.Value.Name(), Serial: v.Value.Serial(), Published: v.Head.Published, By: v.Head.By,
		Default: v.Value.Default(), Rows: []MapRow{},
	}
	for r := range v.Value.Rows() {
		out.Rows = append(out.Rows, MapRow{Plane: r.Plane.String(), Prefix: r.Prefix.String(), PoPs: r.PoPs})
	}
	return out
}

// WriteMap writes a map as a map file that is read back to the same map.
func WriteMap(w io.Writer, m *steer.Map) error { return mapfile.WriteMap(w, m) }

// A PoPsView is the PoP table for JSON.
type PoPsView struct {
	Serial uint32    `json:"serial"` // 0: no table was ever published
	PoPs   []PoPView `json:"pops"`   // by name
}

// A PoPView is one PoP.
type PoPView struct {
	Name     string  `json:"name"`
	State    string  `json:"state"`
	Drain    int     `json:"drain"` // percent
	Lat      float64 `json:"lat"`
	Lon      float64 `json:"lon"`
	Capacity int64   `json:"capacity"`
	// Services are those that are down or drained.
	Services []ServiceView `json:"services,omitempty"`
	// Failing is what active checks found down: "pop" for the PoP itself, "service/NAME" for a service.
	Failing []string `json:"failing,omitempty"`
}

// A ServiceView is one service of a PoP.
type ServiceView struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Drain int    `json:"drain"` // percent
}

// ListPoPs reads the PoP table.
func ListPoPs(ctx context.Context, r store.Reader) (*PoPsView, error) {
	if _, err := dataset.ReadCluster(ctx, r); err != nil {
		return nil, err
	}
	t, err := LoadPoPs(ctx, r)
	if err != nil {
		return nil, err
	}
	out := &PoPsView{Serial: t.Serial(), PoPs: []PoPView{}}
	for p := range t.All() {
		v := PoPView{Name: p.Name, State: p.State.String(), Drain: p.Drain, Lat: p.Lat, Lon: p.Lon, Capacity: p.Capacity}
		for _, s := range p.Services {
			v.Services = append(v.Services, ServiceView{s.Name, s.State.String(), s.Drain})
		}
		for _, service := range p.Failing {
			if service == "" {
				v.Failing = append(v.Failing, "pop")
			} else {
				v.Failing = append(v.Failing, "service/"+service)
			}
		}
		out.PoPs = append(out.PoPs, v)
	}
	return out, nil
}
