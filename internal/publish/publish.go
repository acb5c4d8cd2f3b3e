// Package publish holds what popctl's writing verbs do: it works out what a change would do to a dataset, refuses what is most likely a mistake, and
// commits the rest.
//
// Make a [Publisher] over a store and call one method per verb. A change that a guard refuses is a *[GuardError]; what the store or its state refuses
// (another writer, a frozen store, a serial that is not newer) are dataset's and store's errors, wrapped. Nothing is written in any of these cases.
// The Plan methods, [Explain] and the reading functions never write.
package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

// Options says who publishes and how.
type Options struct {
	By       string                // who: user@host; kept in the history
	Message  string                // why; kept in the history
	Force    bool                  // overrides the guards, and is recorded
	Now      func() time.Time      // the source time; nil means time.Now
	Progress func(done, total int) // called while long work goes on; nil for none
	Keys     dataset.Keys          // what is committed is signed with, and what it is built on must be
	SignZone Signer                // DNSSEC; nil leaves zones as they come
	Moves    MoveBudget            // how much a new version of a map may move
}

// A Signer signs a version of a zone before it is committed: next is the content, cur the present version, nil for a new zone. It returns cur when nothing
// has to change.
type Signer func(next, cur *zone.Snapshot) (*zone.Snapshot, error)

// A Publisher changes the datasets of one store. Its methods may not be called concurrently: it keeps one writer per dataset, so that a run of changes
// does not read the whole dataset each time.
type Publisher struct {
	s        store.Store
	o        Options
	zones    map[zone.Name]*dataset.Writer[*zone.Snapshot]
	maps     map[string]*dataset.Writer[*steer.Map]
	canaries map[string]*dataset.Writer[*steer.Canary]
	pops     *dataset.Writer[*steer.PoPs]
}

// New returns a Publisher over s, which stays the caller's to close.
func New(s store.Store, o Options) *Publisher {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Publisher{
		s: s, o: o,
		zones:    map[zone.Name]*dataset.Writer[*zone.Snapshot]{},
		maps:     map[string]*dataset.Writer[*steer.Map]{},
		canaries: map[string]*dataset.Writer[*steer.Canary]{},
		pops:     writer(s, PoPsRef(), o),
	}
}

// Store returns the store that p writes to.
func (p *Publisher) Store() store.Store { return p.s }

// ZoneRef is the reference of a zone's dataset.
func ZoneRef(origin zone.Name) dataset.Ref[*zone.Snapshot] {
	return dataset.Ref[*zone.Snapshot]{Path: dataset.ZonePath(origin.String()), Codec: zone.Codec{Origin: origin}}
}

// MapRef is the reference of a map's dataset.
func MapRef(name string) dataset.Ref[*steer.Map] {
	return dataset.Ref[*steer.Map]{Path: dataset.MapPath(name), Codec: steer.MapCodec{Name: name}}
}

// CanaryRef is the reference of the dataset of what is staged beside a map.
func CanaryRef(name string) dataset.Ref[*steer.Canary] {
	return dataset.Ref[*steer.Canary]{Path: dataset.CanaryPath(name), Codec: steer.CanaryCodec{Name: name}}
}

// PoPsRef is the reference of the PoP table's dataset.
func PoPsRef() dataset.Ref[*steer.PoPs] {
	return dataset.Ref[*steer.PoPs]{Path: dataset.PoPsPath, Codec: steer.PoPsCodec{}}
}

func writer[V any](s store.Store, ref dataset.Ref[V], o Options) *dataset.Writer[V] {
	ref.Keys = o.Keys
	return dataset.NewWriter(s, ref)
}

// zoneRef is the zone's reference with the Publisher's keys: what is built on or brought back must be signed by them.
func (p *Publisher) zoneRef(origin zone.Name) dataset.Ref[*zone.Snapshot] {
	ref := ZoneRef(origin)
	ref.Keys = p.o.Keys
	return ref
}

func (p *Publisher) zoneWriter(origin zone.Name) *dataset.Writer[*zone.Snapshot] {
	w := p.zones[origin]
	if w == nil {
		w = dataset.NewWriter(p.s, p.zoneRef(origin))
		p.zones[origin] = w
	}
	return w
}

func (p *Publisher) mapWriter(name string) *dataset.Writer[*steer.Map] {
	w := p.maps[name]
	if w == nil {
		w = writer(p.s, MapRef(name), p.o)
		p.maps[name] = w
	}
	return w
}

func (p *Publisher) canaryWriter(name string) *dataset.Writer[*steer.Canary] {
	w := p.canaries[name]
	if w == nil {
		w = writer(p.s, CanaryRef(name), p.o)
		p.canaries[name] = w
	}
	return w
}

// signZone is Options.SignZone, which may be nil.
func (p *Publisher) signZone(next, cur *zone.Snapshot) (*zone.Snapshot, error) {
	if p.o.SignZone == nil {
		return next, nil
	}
	signed, err := p.o.SignZone(next, cur)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return signed, nil
}

// commit is the part of a dataset.Commit that all verbs share.
func (p *Publisher) commit() dataset.Commit {
	return dataset.Commit{By: p.o.By, Message: p.o.Message, Force: p.o.Force, SourceTime: p.o.Now(), Progress: p.o.Progress}
}

// LoadPoPs returns the PoP table, nil when none was ever published.
func LoadPoPs(ctx context.Context, r store.Reader) (*steer.PoPs, error) {
	v, err := load(ctx, r, PoPsRef())
	if v == nil {
		return nil, err
	}
	return v.Value, nil
}

// load is dataset.Load with nil for a dataset that does not exist.
func load[V any](ctx context.Context, r store.Reader, ref dataset.Ref[V]) (*dataset.Version[V], error) {
	v, err := dataset.Load(ctx, r, ref)
	if errors.Is(err, dataset.ErrNoDataset) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ref.Path, err)
	}
	return v, nil
}

// An editError is an error of our own edit, which the dataset's Writer wraps into what it was doing.
type editError struct{ error }

func (e editError) Unwrap() error { return e.error }

// cause strips from the error of a Writer what it adds to our own edit's errors, which say themselves where they belong.
func cause(err error) error {
	if refused, ok := errors.AsType[*GuardError](err); ok {
		return refused
	}
	if own, ok := errors.AsType[editError](err); ok {
		return own.error
	}
	return err
}

// writable returns the error that a commit to the dataset at path would end with, whatever it changes.
func writable(ctx context.Context, r store.Reader, path string) error {
	if _, err := dataset.ReadCluster(ctx, r); err != nil {
		return err
	}
	spec, err := dataset.ReadSpec(ctx, r, path)
	if err != nil {
		return err
	}
	if spec.Mode == dataset.ModePresented {
		return fmt.Errorf("%s: %w", path, dataset.ErrPresented)
	}
	if err := checkFreeze(ctx, r); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// freezePath is the node that keeps everybody from committing while it exists.
const freezePath = "freeze"

// checkFreeze returns an error that wraps dataset.ErrFrozen while the store is frozen.
func checkFreeze(ctx context.Context, r store.Reader) error {
	_, err := r.Get(ctx, freezePath)
	switch {
	case err == nil:
		return dataset.ErrFrozen
	case errors.Is(err, store.ErrNoNode):
		return nil
	}
	return err
}
