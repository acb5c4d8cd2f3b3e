// Package pick chooses a steered name's variant from a client's decision, the states of the PoPs and the name's own settings. The edge
// answers by it and the tools explain by it, so they cannot differ.
package pick

import (
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"
)

// Reason says what a pick came from. It is a bounded set, fit for a metric label.
type Reason uint8

// The reasons.
const (
	Healthy    Reason = iota // a PoP of the client's list that can serve
	Uncovered                // no PoP of the list has a variant: the default variant, or without one any
	LastResort               // all PoPs of the list with a variant are away: the default variant
	AsIfUp                   // all are away: the variant that would be chosen if they were up
	None                     // all are away, and the name gives none of them then
)

// String returns "healthy", "uncovered", "last-resort", "as-if-up" or "none".
func (r Reason) String() string {
	return [...]string{"healthy", "uncovered", "last-resort", "as-if-up", "none"}[r]
}

// A Picked is a choice and how it came about.
type Picked struct {
	zone.Choice
	PoP    string // "" for the default variant, or none
	Reason Reason
}

// Pick chooses among the variants v of a name with the settings st. It allocates nothing.
func Pick(d *steer.Decision, pops *steer.PoPs, st *zone.Steering, v zone.Variants, hasDefault bool) Picked {
	var p Picked
	if st.Choose == zone.ChooseSticky {
		p.Seed = d.Sticky()
	}
	if v.Len() == 0 {
		p.Variant = zone.Default
		return p
	}
	has := Has(st, v)
	c := d.Choose(pops, st.Service, has)
	if c.Away {
		p.MaxTTL = st.DownTTL
	}
	switch {
	case c.PoP != "":
		p.PoP = c.PoP
	case !c.Away:
		p.Reason = Uncovered
		if !hasDefault {
			p.PoP = first(st, v)
		}
	case st.AllDown == zone.AllDownAll:
		p.Reason, p.PoP = AsIfUp, d.Choose(nil, "", has).PoP
	case hasDefault:
		p.Reason = LastResort
	case st.AllDown == zone.AllDownNone:
		p.Reason, p.Variant = None, zone.Nothing
		return p
	default:
		p.Reason, p.PoP = AsIfUp, d.Choose(nil, "", has).PoP
	}
	p.Variant = zone.Default
	if p.PoP != "" {
		p.Variant = v.Index(p.PoP)
	}
	return p
}

// Has tells which PoPs can answer for the name at all: those that have a variant and that its settings allow.
func Has(st *zone.Steering, v zone.Variants) func(pop string) bool {
	return func(pop string) bool { return st.Allows(pop) && v.Index(pop) >= 0 }
}

// first is the first PoP that the settings allow, or without one the first: any answer beats an empty one.
func first(st *zone.Steering, v zone.Variants) string {
	for i := range v.Len() {
		if pop := v.PoP(i); st.Allows(pop) {
			return pop
		}
	}
	return v.PoP(0)
}
