package publish

import (
	"context"
	"fmt"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

// A ZoneReceipt says what a change of a zone did.
type ZoneReceipt struct {
	*dataset.Receipt
	Plan *Plan
}

// PublishZone makes next the zone's content. Its SOA serial is used when it is newer (RFC 1982) than the present one, otherwise the present one plus 1;
// a zone with a signed SOA must bring a newer one, or the error wraps dataset.ErrSerial. When nothing changes the receipt says so and no serial is used up.
func (p *Publisher) PublishZone(ctx context.Context, next *zone.Snapshot) (*ZoneReceipt, error) {
	c := p.commit()
	c.MinSerial = next.Serial()
	return p.commitZone(ctx, next.Origin(), c, guardZone, func(*zone.Snapshot) (*zone.Snapshot, error) { return next, nil })
}

// SignZone signs the present content with Options.SignZone: for the first time, or what is due. No guard looks at it, since the content stays. The
// error wraps dataset.ErrNoDataset when the zone does not exist.
func (p *Publisher) SignZone(ctx context.Context, origin zone.Name) (*ZoneReceipt, error) {
	unguarded := func(*Plan, *zone.Snapshot, *zone.Snapshot, surroundings) {}
	return p.commitZone(ctx, origin, p.commit(), unguarded, func(cur *zone.Snapshot) (*zone.Snapshot, error) {
		if cur == nil {
			return nil, fmt.Errorf("%w: publish the zone first", dataset.ErrNoDataset)
		}
		return cur, nil
	})
}

// PlanZone tells what PublishZone would do, without writing. What a guard would refuse is in the Plan; what else would make publishing fail is the error,
// and the Plan is given with it as far as it could be made.
func (p *Publisher) PlanZone(ctx context.Context, next *zone.Snapshot) (*Plan, error) {
	around, err := readSurroundings(ctx, p.s)
	if err != nil {
		return nil, err
	}
	cur, err := load(ctx, p.s, ZoneRef(next.Origin()))
	if err != nil {
		return nil, err
	}
	if next, err = p.signZone(next, valueOf(cur)); err != nil {
		return nil, fmt.Errorf("zone %s: %w", next.Origin(), err)
	}
	plan, delta := diffZone(valueOf(cur), next)
	guardZone(plan, valueOf(cur), next, around)
	serialErr := plan.setSerial(valueOf(cur), next)
	if err := plan.list(valueOf(cur), next.WithSerial(plan.NewSerial), delta); err != nil {
		return nil, err
	}
	if serialErr != nil {
		return plan, serialErr
	}
	return plan, writable(ctx, p.s, ZoneRef(next.Origin()).Path)
}

// RollbackZone makes the content of an earlier serial the present one, under a new serial. The guards apply as they do to PublishZone. The error wraps
// dataset.ErrNotInHistory when that version is not kept any more.
func (p *Publisher) RollbackZone(ctx context.Context, origin zone.Name, serial uint32) (*ZoneReceipt, error) {
	old, err := dataset.LoadSerial(ctx, p.s, p.zoneRef(origin), serial)
	if err != nil {
		return nil, fmt.Errorf("zone %s: roll back to serial %d: %w", origin, serial, err)
	}
	c := p.commit()
	c.RollbackOf = serial
	return p.commitZone(ctx, origin, c, guardZone, func(cur *zone.Snapshot) (*zone.Snapshot, error) {
		if cur == nil {
			return nil, dataset.ErrNoDataset
		}
		return old.Value, nil
	})
}

// commitZone commits what edit makes of the present content, unless a guard refuses it or nothing changes. edit gets nil for a zone that does not
// exist yet.
func (p *Publisher) commitZone(ctx context.Context, origin zone.Name, c dataset.Commit, g guard, edit func(*zone.Snapshot) (*zone.Snapshot, error)) (*ZoneReceipt, error) {
	around, err := readSurroundings(ctx, p.s)
	if err != nil {
		return nil, err
	}
	var plan *Plan
	receipt, err := p.zoneWriter(origin).Commit(ctx, c, func(v *dataset.Version[*zone.Snapshot]) (*zone.Snapshot, error) {
		cur := valueOf(v)
		next, err := edit(cur)
		if err == nil {
			next, err = p.signZone(next, cur)
		}
		if err != nil {
			return nil, editError{fmt.Errorf("zone %s: %w", origin, err)}
		}
		plan, _ = diffZone(cur, next)
		g(plan, cur, next, around)
		if plan.Empty() {
			return cur, nil
		}
		if err := plan.Guard(); err != nil && !p.o.Force {
			return nil, err
		}
		return next, nil
	})
	if err != nil {
		return nil, cause(err)
	}
	plan.OldSerial, plan.NewSerial = receipt.Old, receipt.New
	return &ZoneReceipt{Receipt: receipt, Plan: plan}, nil
}

// setSerial foretells the serial that a commit will use.
func (p *Plan) setSerial(cur, next *zone.Snapshot) error {
	serial := next.Serial()
	switch {
	case p.Empty():
		p.NewSerial = p.OldSerial
	case cur == nil:
		p.NewSerial = max(serial, 1)
	case next.SerialFrozen() && !zone.SerialNewer(serial, cur.Serial()):
		p.NewSerial = serial
		return fmt.Errorf("zone %s: the SOA is signed with serial %d, which is not newer than %d: raise it and sign again: %w",
			p.Origin, serial, cur.Serial(), dataset.ErrSerial)
	case next.SerialFrozen():
		p.NewSerial = serial
	default:
		p.NewSerial = max(cur.Serial()+1, 1) // 0 means none
		if serial != 0 && zone.SerialNewer(serial, p.NewSerial) {
			p.NewSerial = serial
		}
	}
	return nil
}

// valueOf returns the version's value, the zero value for no version.
func valueOf[V any](v *dataset.Version[V]) V {
	if v == nil {
		var none V
		return none
	}
	return v.Value
}

// LoadZone reads a zone: its present version, or with a serial other than 0 that version if it is still kept.
func LoadZone(ctx context.Context, r store.Reader, origin zone.Name, serial uint32) (*dataset.Version[*zone.Snapshot], error) {
	var v *dataset.Version[*zone.Snapshot]
	var err error
	if serial == 0 {
		v, err = dataset.Load(ctx, r, ZoneRef(origin))
	} else {
		v, err = dataset.LoadSerial(ctx, r, ZoneRef(origin), serial)
	}
	if err != nil {
		return nil, fmt.Errorf("zone %s: %w", origin, err)
	}
	return v, nil
}
