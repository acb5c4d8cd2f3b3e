package publish

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
)

// Op tells what happens to an item.
type Op string

// The operations of a plan. A change keeps the item's key.
const (
	Add    Op = "add"
	Delete Op = "delete"
	Modify Op = "change"
)

// A Change is what happens to one RRset variant.
type Change struct {
	Op  Op     `json:"op"`
	Old *RRset `json:"old,omitempty"`
	New *RRset `json:"new,omitempty"`
}

// A SteeringChange is what happens to the steering settings of one owner.
type SteeringChange struct {
	Owner string   `json:"owner"`
	Old   Steering `json:"old"`
	New   Steering `json:"new"`
}

// A Plan is what publishing a zone would change.
type Plan struct {
	Origin    string           `json:"origin"`
	OldSerial uint32           `json:"old_serial"` // 0 when the zone is new
	NewSerial uint32           `json:"new_serial"` // OldSerial when nothing changes
	IsNew     bool             `json:"is_new"`
	Added     int              `json:"added"` // RRset variants
	Deleted   int              `json:"deleted"`
	Changed   int              `json:"changed"`
	Changes   []Change         `json:"changes"` // in the zone's canonical order; empty in the Plan of a ZoneReceipt
	Steering  []SteeringChange `json:"steering"`
	Warnings  []string         `json:"warnings"`
	Refused   []string         `json:"refused"` // what the guards say, empty when nothing
}

// Empty reports whether publishing would change nothing.
func (p *Plan) Empty() bool {
	return p.Added+p.Deleted+p.Changed+len(p.Steering) == 0 && !p.IsNew
}

// Guard returns the *GuardError that publishing without Force would end with, nil when there is none.
func (p *Plan) Guard() error {
	if len(p.Refused) == 0 {
		return nil
	}
	return &GuardError{What: "zone " + p.Origin, Findings: p.Refused}
}

// diffZone plans the step from cur (nil: a new zone) to next. The SOA serial alone is no difference, since a commit sets it; unless the SOA is signed,
// which shows in its RRSIG. Changes are only counted; list fills them in.
func diffZone(cur, next *zone.Snapshot) (*Plan, zone.Delta) {
	p := &Plan{
		Origin: next.Origin().String(), IsNew: cur == nil,
		Changes: []Change{}, Steering: []SteeringChange{}, Warnings: []string{}, Refused: []string{},
	}
	if cur != nil {
		p.OldSerial = cur.Serial()
		next = next.WithSerial(cur.Serial()) // a signed SOA keeps its own
	}
	d := zone.Diff(cur, next)
	p.Deleted = len(d.Delete)
	for _, set := range d.Put {
		if cur == nil {
			p.Added++
		} else if _, ok := cur.Get(set.Key()); ok {
			p.Changed++
		} else {
			p.Added++
		}
	}
	for owner, s := range d.Steer {
		c := SteeringChange{Owner: owner.String(), New: ViewSteering(s)}
		if cur != nil {
			c.Old = ViewSteering(cur.Steering(owner))
		}
		p.Steering = append(p.Steering, c)
	}
	slices.SortFunc(p.Steering, func(a, b SteeringChange) int {
		return zone.MustParseName(a.Owner).Compare(zone.MustParseName(b.Owner))
	})
	return p, d
}

// list fills in Changes, which takes a few hundred bytes for each changed RRset.
func (p *Plan) list(cur, next *zone.Snapshot, d zone.Delta) error {
	keys := make([]zone.Key, 0, len(d.Delete)+len(d.Put))
	keys = append(keys, d.Delete...)
	for _, set := range d.Put {
		keys = append(keys, set.Key())
	}
	slices.SortFunc(keys, compareKeys)
	for _, k := range keys {
		c, err := change(cur, next, k)
		if err != nil {
			return fmt.Errorf("zone %s: compare: %w", p.Origin, err)
		}
		p.Changes = append(p.Changes, c)
	}
	return nil
}

func change(cur, next *zone.Snapshot, k zone.Key) (Change, error) {
	var c Change
	for _, side := range []struct {
		from *zone.Snapshot
		to   **RRset
	}{{cur, &c.Old}, {next, &c.New}} {
		if side.from == nil {
			continue
		}
		set, ok := side.from.Get(k)
		if !ok {
			continue
		}
		v, err := ViewRRset(set)
		if err != nil {
			return c, err
		}
		*side.to = &v
	}
	switch {
	case c.Old == nil:
		c.Op = Add
	case c.New == nil:
		c.Op = Delete
	default:
		c.Op = Modify
	}
	return c, nil
}

// compareKeys is a snapshot's order: owner, type with the SOA first, PoP.
func compareKeys(a, b zone.Key) int {
	order := func(typ uint16) uint16 {
		if typ == dns.TypeSOA {
			return 0
		}
		return typ
	}
	return cmp.Or(a.Owner.Compare(b.Owner), cmp.Compare(order(a.Type), order(b.Type)), cmp.Compare(a.PoP, b.PoP))
}

// Lines returns the plan for people: "+" before a record that comes, "-" before one that goes, "~" before a setting that changes.
func (p *Plan) Lines() []string {
	var out []string
	for _, c := range p.Changes {
		out = append(out, c.lines()...)
	}
	for _, s := range p.Steering {
		out = append(out, fmt.Sprintf("~ %s steering %s → %s", s.Owner, s.Old, s.New))
	}
	return out
}

func (c Change) lines() []string {
	var out []string
	if c.Op == Modify && c.Old.TTL != c.New.TTL {
		out = append(out, fmt.Sprintf("~ %s %s ttl %d→%d%s", c.New.Owner, c.New.Type, c.Old.TTL, c.New.TTL, mark(c.New.PoP, 0)))
	}
	if c.Old != nil {
		out = append(out, c.Old.linesUnlessIn("-", c.New)...)
	}
	if c.New != nil {
		out = append(out, c.New.linesUnlessIn("+", c.Old)...)
	}
	return out
}

// linesUnlessIn returns v's records that other does not have with the same weight.
func (v RRset) linesUnlessIn(sign string, other *RRset) []string {
	var out []string
	for i, line := range v.Lines() {
		if other != nil {
			if j := slices.Index(other.Rdata, v.Rdata[i]); j >= 0 && other.weight(j) == v.weight(i) {
				continue
			}
		}
		out = append(out, sign+" "+line)
	}
	return out
}

// Counts returns the plan in a few words: "+1 -0 ~2 RRsets".
func (p *Plan) Counts() string {
	s := fmt.Sprintf("+%d -%d ~%d RRsets", p.Added, p.Deleted, p.Changed)
	switch n := len(p.Steering); n {
	case 0:
	case 1:
		s += ", steering of " + p.Steering[0].Owner
	default:
		s += fmt.Sprintf(", steering of %d names", n)
	}
	return s
}
