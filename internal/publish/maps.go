package publish

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
)

// A RowChange is what happens to one row of a map.
type RowChange struct {
	Op     Op       `json:"op"`
	Plane  string   `json:"plane"`  // "default" for the default list
	Prefix string   `json:"prefix"` // "" for the default list
	Old    []string `json:"old,omitempty"`
	New    []string `json:"new,omitempty"`
}

// A MapPlan is what publishing a map would change.
type MapPlan struct {
	Map       string      `json:"map"`
	OldSerial uint32      `json:"old_serial"` // 0 when the map is new
	IsNew     bool        `json:"is_new"`
	Added     int         `json:"added"` // rows
	Deleted   int         `json:"deleted"`
	Changed   int         `json:"changed"`
	Changes   []RowChange `json:"changes"` // resolver plane, ecs plane; by address
	Moves     []Move      `json:"moves"`   // of the address space, greatest first
	Moved     []Moved     `json:"moved"`   // per plane and family
	Movers    []Mover     `json:"movers"`  // the greatest runs of addresses that move
	Weights   *Weighed    `json:"weights"` // what moves of the given weights, null without any
	Warnings  []string    `json:"warnings"`
	Refused   []string    `json:"refused"`
}

// Empty reports whether publishing would change nothing.
func (p *MapPlan) Empty() bool { return !p.IsNew && len(p.Changes) == 0 }

// Guard returns the *GuardError that publishing without Force would end with, nil when there is none.
func (p *MapPlan) Guard() error {
	if len(p.Refused) == 0 {
		return nil
	}
	return &GuardError{What: "map " + p.Map, Findings: p.Refused}
}

// Counts returns the plan in a few words: "+1 -0 ~2 rows".
func (p *MapPlan) Counts() string {
	return fmt.Sprintf("+%d -%d ~%d rows", p.Added, p.Deleted, p.Changed)
}

// Lines returns the plan for people: "+" before a row that comes, "-" before one that goes, "~" before one that changes, then the moves.
func (p *MapPlan) Lines() []string {
	var out []string
	for _, c := range p.Changes {
		where := c.Plane
		if c.Prefix != "" {
			where += " " + c.Prefix
		}
		before, after := strings.Join(c.Old, ","), strings.Join(c.New, ",")
		switch c.Op {
		case Add:
			out = append(out, fmt.Sprintf("+ %s %s", where, after))
		case Delete:
			out = append(out, fmt.Sprintf("- %s %s", where, before))
		default:
			out = append(out, fmt.Sprintf("~ %s %s → %s", where, before, after))
		}
	}
	return append(out, p.moveLines()...)
}

// Summary returns the plan in one line.
func (p *MapPlan) Summary() string {
	switch {
	case p.IsNew:
		return fmt.Sprintf("map %s: new, %s", p.Map, p.Counts())
	case p.Empty():
		return fmt.Sprintf("map %s: nothing would change, serial stays %d", p.Map, p.OldSerial)
	}
	return fmt.Sprintf("map %s: %s, serial %d → %d", p.Map, p.Counts(), p.OldSerial, p.OldSerial+1)
}

// A MapReceipt says what a change of a map did.
type MapReceipt struct {
	*dataset.Receipt
	Plan *MapPlan
}

// PublishMap makes next the content of the map of its name. Refused is that while a version is staged.
func (p *Publisher) PublishMap(ctx context.Context, next *steer.Map) (*MapReceipt, error) {
	staged, err := LoadCanary(ctx, p.s, next.Name())
	if err != nil {
		return nil, err
	}
	return p.commitMap(ctx, p.commit(), next, staged)
}

// commitMap commits next unless a guard refuses it or nothing changes. staged is what must not be left beside it, nil for nothing.
func (p *Publisher) commitMap(ctx context.Context, c dataset.Commit, next *steer.Map, staged *dataset.Version[*steer.Canary]) (*MapReceipt, error) {
	pops, err := LoadPoPs(ctx, p.s)
	if err != nil {
		return nil, err
	}
	var plan *MapPlan
	receipt, err := p.mapWriter(next.Name()).Commit(ctx, c, func(v *dataset.Version[*steer.Map]) (*steer.Map, error) {
		var err error
		if plan, err = p.planMap(valueOf(v), next, pops); err != nil {
			return nil, editError{err}
		}
		plan.besides(staged)
		if plan.Empty() {
			return v.Value, nil
		}
		if err := plan.Guard(); err != nil && !p.o.Force {
			return nil, err
		}
		return next, nil
	})
	if err != nil {
		return nil, cause(err)
	}
	return &MapReceipt{Receipt: receipt, Plan: plan}, nil
}

// PlanMap tells what PublishMap would do, without writing.
func (p *Publisher) PlanMap(ctx context.Context, next *steer.Map) (*MapPlan, error) {
	pops, err := LoadPoPs(ctx, p.s)
	if err != nil {
		return nil, err
	}
	cur, err := load(ctx, p.s, MapRef(next.Name()))
	if err != nil {
		return nil, err
	}
	staged, err := LoadCanary(ctx, p.s, next.Name())
	if err != nil {
		return nil, err
	}
	plan, err := p.planMap(valueOf(cur), next, pops)
	if err != nil {
		return nil, err
	}
	plan.besides(staged)
	return plan, writable(ctx, p.s, MapRef(next.Name()).Path)
}

// LoadMap reads a map.
func LoadMap(ctx context.Context, r store.Reader, name string) (*dataset.Version[*steer.Map], error) {
	v, err := dataset.Load(ctx, r, MapRef(name))
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", name, err)
	}
	return v, nil
}

// minGuardedRows is the size from which a map is guarded against shrinking: small maps are rewritten by hand.
const minGuardedRows = 10

func (p *Publisher) planMap(cur, next *steer.Map, pops *steer.PoPs) (*MapPlan, error) {
	plan := &MapPlan{
		Map: next.Name(), IsNew: cur == nil,
		Changes: []RowChange{}, Moves: []Move{}, Moved: []Moved{}, Movers: []Mover{}, Warnings: []string{}, Refused: []string{},
	}
	plan.compareRows(cur, next)
	if cur != nil {
		plan.OldSerial = cur.Serial()
		// Less what comes in: a new version of a GeoIP database cuts the same space into other rows.
		if f := shrinkFinding(max(0, plan.Deleted-plan.Added), cur.Len(), "rows"); f != "" && cur.Len() >= minGuardedRows {
			plan.Refused = append(plan.Refused, f)
		}
		if err := plan.move(cur, next, pops, p.o.Moves); err != nil {
			return nil, err
		}
	}
	if unknown := unknownPoPs(pops, mapPoPs(next)); len(unknown) > 0 {
		plan.Refused = append(plan.Refused, unknownPoPsMap+": "+listed(unknown))
	}
	if pops == nil {
		plan.Warnings = append(plan.Warnings, "there is no PoP table yet, so every PoP counts as up: publish one with popctl pop apply")
	}
	return plan, nil
}

// compareRows fills in the rows that differ.
func (p *MapPlan) compareRows(cur, next *steer.Map) {
	if cur != nil && !slices.Equal(cur.Default(), next.Default()) {
		p.Changes = append(p.Changes, RowChange{Op: Modify, Plane: "default", Old: cur.Default(), New: next.Default()})
	}
	row := func(op Op, r steer.Row, before, after []string) {
		p.Changes = append(p.Changes, RowChange{Op: op, Plane: r.Plane.String(), Prefix: r.Prefix.String(), Old: before, New: after})
	}
	for r := range next.Rows() {
		var before []string
		known := false
		if cur != nil {
			before, known = cur.Row(r.Plane, r.Prefix)
		}
		switch {
		case !known:
			p.Added++
			row(Add, r, nil, r.PoPs)
		case !slices.Equal(before, r.PoPs):
			p.Changed++
			row(Modify, r, before, r.PoPs)
		}
	}
	if cur == nil {
		return
	}
	for r := range cur.Rows() {
		if _, kept := next.Row(r.Plane, r.Prefix); !kept {
			p.Deleted++
			row(Delete, r, r.PoPs, nil)
		}
	}
}

// mapPoPs returns the PoPs that a map names, sorted.
func mapPoPs(m *steer.Map) []string {
	var names []string
	for list := range m.Lists() {
		for _, entry := range list {
			name, _ := steer.SplitEntry(entry)
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
