// Package simulate works out where a stream of queries is sent by a map, without asking anybody.
//
// A [World] is what decides: a map, the states of the PoPs, and the zones if names count. [World.Ask] decides for one query as an edge does, and
// [Shares] adds up what it says of many.
package simulate

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/pick"
	"github.com/popdns/popdns/internal/querylog"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"
)

// World is what decides. It must not be used concurrently.
type World struct {
	Map    *steer.Map
	Canary *steer.Canary // staged beside Map, nil for none
	Edge   string        // the edge that is asked, for a canary that goes by edges
	PoPs   *steer.PoPs   // nil: every PoP counts as up
	// Zone returns the zone that holds a name, nil for none. Names outside all zones, and queries without a name, count as if every PoP had a variant;
	// so do all if Zone is nil.
	Zone func(name zone.Name) (*zone.Snapshot, error)

	res zone.Result
}

// What stands in the place of a PoP.
const (
	Default   = "(default)"   // the name's default variant
	Nobody    = "(none)"      // no PoP of the list can serve: without a name nobody knows what would be answered
	Unsteered = "(unsteered)" // the name is not steered: everybody gets the same
	OtherMap  = "(other map)" // another map steers the name
)

// An Outcome is where a query is sent, and why.
type Outcome struct {
	PoP    string // or one of the above
	Reason string // which rule of the map decided, see steer.Reason; "" if none did
	Choice string // how the PoP was chosen, see pick.Reason; "" if none was
}

// Ask decides. A name or type that can't be read is an error of the query; one from Zone is returned as it is.
func (w *World) Ask(q *querylog.Query) (Outcome, error) {
	d := w.Canary.Decide(w.Map, w.Edge, steer.Client{Resolver: q.Resolver, ECS: q.ECS, HasECS: q.ECS.IsValid() && q.ECS.Bits() > 0})
	if q.Name != "" && w.Zone != nil {
		name, err := zone.ParseName(q.Name)
		if err != nil {
			return Outcome{}, &QueryError{fmt.Errorf("name %q: %w", q.Name, err)}
		}
		typ, err := typeOf(q.Type)
		if err != nil {
			return Outcome{}, err
		}
		z, err := w.Zone(name)
		if err != nil {
			return Outcome{}, err
		}
		if z != nil {
			return w.answer(z, zone.Question{Name: name, Type: typ}, d), nil
		}
	}
	o := Outcome{Reason: d.Reason.String(), Choice: pick.Healthy.String()}
	if o.PoP = d.Choose(w.PoPs, "", func(string) bool { return true }).PoP; o.PoP == "" {
		o.PoP, o.Choice = Nobody, ""
	}
	return o, nil
}

// A QueryError is a query that can't be asked.
type QueryError struct{ error }

// Unwrap returns what is wrong.
func (e *QueryError) Unwrap() error { return e.error }

func typeOf(s string) (uint16, error) {
	if s == "" {
		return dns.TypeA, nil
	}
	typ, ok := dns.StringToType[strings.ToUpper(s)]
	if !ok {
		return 0, &QueryError{fmt.Errorf("unknown record type %q", s)}
	}
	return typ, nil
}

// answer looks the name up as an edge does.
func (w *World) answer(z *zone.Snapshot, q zone.Question, d steer.Decision) Outcome {
	p := picker{world: w, d: &d}
	z.Lookup(q, &p, &w.res)
	switch {
	case !p.asked:
		return Outcome{PoP: Unsteered}
	case p.other:
		return Outcome{PoP: OtherMap}
	}
	o := Outcome{PoP: p.picked.PoP, Reason: d.Reason.String(), Choice: p.picked.Reason.String()}
	switch {
	case p.picked.Reason == pick.None:
		o.PoP = Nobody
	case o.PoP == "":
		o.PoP = Default
	}
	return o
}

// picker makes one decision and keeps what the last steered RRset of the answer got.
type picker struct {
	world        *World
	d            *steer.Decision
	picked       pick.Picked
	asked, other bool
}

// Pick implements zone.Picker.
func (p *picker) Pick(st zone.Steering, v zone.Variants, hasDefault bool) zone.Choice {
	p.asked, p.other = true, st.Map != "" && st.Map != p.world.Map.Name()
	p.picked = pick.Pick(p.d, p.world.PoPs, &st, v, hasDefault)
	return p.picked.Choice
}
