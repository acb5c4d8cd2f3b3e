package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
)

// ErrNotStaged: the map has no staged version to be changed, promoted or taken back.
var ErrNotStaged = errors.New("nothing is staged")

// ErrNoEarlier: the map has no version before the present one that is still kept.
var ErrNoEarlier = errors.New("no earlier version is kept")

// Staged tells what stands beside a map, and for whom.
type Staged struct {
	Serial    uint32    `json:"serial"` // the canary's own
	Share     float64   `json:"share"`  // percent of client blocks
	Edges     []string  `json:"edges"`  // names and patterns
	Published time.Time `json:"published"`
	By        string    `json:"by"`

	rule steer.CanaryRule
}

// ViewStaged returns a canary's presentation form.
func ViewStaged(v *dataset.Version[*steer.Canary]) *Staged {
	rule := v.Value.Rule()
	return &Staged{
		Serial: v.Head.Serial, Share: float64(rule.Share) / 100, Edges: append([]string{}, rule.Edges...),
		Published: v.Head.Published, By: v.Head.By, rule: rule,
	}
}

// String returns "serial 3 for 5 % of client blocks".
func (s *Staged) String() string { return fmt.Sprintf("serial %d for %s", s.Serial, s.rule) }

// LoadCanary returns what is staged beside a map, nil when nothing is.
func LoadCanary(ctx context.Context, r store.Reader, name string) (*dataset.Version[*steer.Canary], error) {
	v, err := load(ctx, r, CanaryRef(name))
	if err != nil || v == nil || v.Value.Map() == nil {
		return nil, err
	}
	return v, nil
}

// ViewCanary is ViewMap for a staged version.
func ViewCanary(v *dataset.Version[*steer.Canary]) *MapView {
	out := ViewMap(&dataset.Version[*steer.Map]{Value: v.Value.Map(), Head: v.Head})
	out.Canary = ViewStaged(v)
	return out
}

// besides refuses a plan that would change a map under its canary: the two would no longer be compared with what they were.
func (p *MapPlan) besides(staged *dataset.Version[*steer.Canary]) {
	if staged != nil && !p.Empty() {
		p.Refused = append(p.Refused, fmt.Sprintf("would change the map under a staged version (%s): promote that or roll it back first", ViewStaged(staged)))
	}
}

// StageMap puts next beside the published map of its name, for whom the rule says, in place of what was staged there. The guards are those of
// PublishMap. Without a change against the published map nothing is staged.
func (p *Publisher) StageMap(ctx context.Context, next *steer.Map, rule steer.CanaryRule) (*MapReceipt, error) {
	name := next.Name()
	canary, err := steer.NewCanary(next, rule)
	if err != nil {
		return nil, err
	}
	pops, err := LoadPoPs(ctx, p.s)
	if err != nil {
		return nil, err
	}
	cur, err := LoadMap(ctx, p.s, name)
	if errors.Is(err, dataset.ErrNoDataset) {
		return nil, fmt.Errorf("%w: a canary needs a published version beside it, so publish the first one without", err)
	}
	if err != nil {
		return nil, err
	}
	plan, err := p.planMap(cur.Value, next, pops)
	if err != nil {
		return nil, err
	}
	if err := plan.Guard(); err != nil && !p.o.Force {
		return nil, err
	}
	if plan.Empty() {
		return &MapReceipt{Receipt: &dataset.Receipt{Old: cur.Head.Serial, New: cur.Head.Serial, Items: cur.Head.Items}, Plan: plan}, nil
	}
	receipt, err := p.commitCanary(ctx, p.commit(), name, func(*dataset.Version[*steer.Canary]) (*steer.Canary, error) { return canary, nil })
	if err != nil {
		return nil, err
	}
	return &MapReceipt{Receipt: receipt, Plan: plan}, nil
}

// A CanaryReceipt says what a change of a canary did.
type CanaryReceipt struct {
	*dataset.Receipt
	Before, After steer.CanaryRule
}

// SetCanary changes who gets the staged version: edit gets the present rule.
func (p *Publisher) SetCanary(ctx context.Context, name string, edit func(steer.CanaryRule) steer.CanaryRule) (*CanaryReceipt, error) {
	out := &CanaryReceipt{}
	receipt, err := p.commitStaged(ctx, name, func(v *dataset.Version[*steer.Canary]) (*steer.Canary, error) {
		out.Before = v.Value.Rule()
		out.After = edit(out.Before)
		return steer.NewCanary(v.Value.Map(), out.After)
	})
	out.Receipt = receipt
	return out, err
}

// WithdrawMap takes the staged version back: everybody has the published one again.
func (p *Publisher) WithdrawMap(ctx context.Context, name string) (*CanaryReceipt, error) {
	out := &CanaryReceipt{}
	receipt, err := p.commitStaged(ctx, name, func(v *dataset.Version[*steer.Canary]) (*steer.Canary, error) {
		out.Before = v.Value.Rule()
		return steer.EndedCanary(0), nil
	})
	out.Receipt = receipt
	return out, err
}

// PromoteMap makes the staged version the published one, for everybody, and ends the canary. The guards of PublishMap apply. If it fails
// in between, both are the same content, so no client notices, and doing it again ends it.
func (p *Publisher) PromoteMap(ctx context.Context, name string) (*MapReceipt, error) {
	staged, err := p.canary(ctx, name)
	if err != nil {
		return nil, err
	}
	c := p.commit()
	if c.Message == "" {
		c.Message = fmt.Sprintf("promoted: staged %s by %s", ViewStaged(staged), staged.Head.By)
		c.Message = c.Message[:min(len(c.Message), 1000)] // of 1024
	}
	receipt, err := p.commitMap(ctx, c, staged.Value.Map().WithName(name), nil)
	if err != nil {
		return nil, err
	}
	_, err = p.commitStaged(ctx, name, func(v *dataset.Version[*steer.Canary]) (*steer.Canary, error) {
		if v.Head.Serial != staged.Head.Serial {
			return nil, fmt.Errorf("serial %d is published as %d, and %d was staged in the meantime, which stays: %w",
				staged.Head.Serial, receipt.New, v.Head.Serial, dataset.ErrConflict)
		}
		return steer.EndedCanary(receipt.New), nil
	})
	if err != nil {
		return nil, fmt.Errorf("published as serial %d, but the canary is not ended yet, so promote once more: %w", receipt.New, err)
	}
	return receipt, nil
}

// RollbackMap makes the content of an earlier serial the published one again, under a new serial; 0 is the version before the present one. The
// guards of PublishMap apply, but a staged version stays staged. The error wraps dataset.ErrNotInHistory when that version is not kept any more.
func (p *Publisher) RollbackMap(ctx context.Context, name string, serial uint32) (*MapReceipt, error) {
	if serial == 0 {
		h, err := MapHistory(ctx, p.s, name)
		if err == nil && len(h) < 2 {
			err = fmt.Errorf("map %s: %w", name, ErrNoEarlier)
		}
		if err != nil {
			return nil, err
		}
		serial = h[1].Serial
	}
	ref := MapRef(name)
	ref.Keys = p.o.Keys
	old, err := dataset.LoadSerial(ctx, p.s, ref, serial)
	if err != nil {
		return nil, fmt.Errorf("map %s: roll back to serial %d: %w", name, serial, err)
	}
	c := p.commit()
	c.RollbackOf = serial
	return p.commitMap(ctx, c, old.Value, nil)
}

// canary is LoadCanary with the Publisher's keys, for what is to be built on; ErrNotStaged when nothing is staged.
func (p *Publisher) canary(ctx context.Context, name string) (*dataset.Version[*steer.Canary], error) {
	ref := CanaryRef(name)
	ref.Keys = p.o.Keys
	v, err := load(ctx, p.s, ref)
	if err == nil && (v == nil || v.Value.Map() == nil) {
		err = ErrNotStaged
	}
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", name, err)
	}
	return v, nil
}

// commitStaged is commitCanary for what needs a staged version.
func (p *Publisher) commitStaged(ctx context.Context, name string, edit func(*dataset.Version[*steer.Canary]) (*steer.Canary, error)) (*dataset.Receipt, error) {
	// Looked at first: a commit would make a dataset for a map that never had a canary.
	if _, err := p.canary(ctx, name); err != nil {
		return nil, err
	}
	return p.commitCanary(ctx, p.commit(), name, func(v *dataset.Version[*steer.Canary]) (*steer.Canary, error) {
		if v == nil || v.Value.Map() == nil {
			return nil, ErrNotStaged
		}
		return edit(v)
	})
}

func (p *Publisher) commitCanary(ctx context.Context, c dataset.Commit, name string, edit func(*dataset.Version[*steer.Canary]) (*steer.Canary, error)) (*dataset.Receipt, error) {
	receipt, err := p.canaryWriter(name).Commit(ctx, c, func(v *dataset.Version[*steer.Canary]) (*steer.Canary, error) {
		next, err := edit(v)
		if err != nil {
			return nil, editError{fmt.Errorf("map %s: %w", name, err)}
		}
		return next, nil
	})
	if err != nil {
		return nil, cause(err)
	}
	return receipt, nil
}

// ParseCanaryEdges reads names and patterns of edges, which may be separated by commas.
func ParseCanaryEdges(names []string) []string {
	var out []string
	for _, n := range names {
		for name := range strings.SplitSeq(n, ",") {
			if name = strings.TrimSpace(name); name != "" {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
