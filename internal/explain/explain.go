// Package explain says to which PoP a client is sent, and why: the same for popctl, from the store, and for an edge, from what it serves.
package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/pick"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"
)

// A Question is a query whose steering is to be explained.
type Question struct {
	Map      string
	Resolver netip.Addr   // the query's source address
	ECS      netip.Prefix // the client subnet; the zero value is none
	Name     zone.Name    // the name asked for; "" explains the map alone
	Type     uint16       // with Name
	Edge     string       // the edge that is asked, for a canary that goes by edges
}

// Client is who asks.
func (q *Question) Client() steer.Client {
	return steer.Client{Resolver: q.Resolver, ECS: q.ECS, HasECS: q.ECS.IsValid() && q.ECS.Bits() > 0}
}

// Data is what decides.
type Data struct {
	Map      *steer.Map     // nil while there is none: then Fallback decides
	Canary   *steer.Canary  // staged beside Map, nil for none
	Fallback []string       // PoPs in order of preference
	PoPs     *steer.PoPs    // nil: every PoP counts as up
	Zone     *zone.Snapshot // that holds the question's name; not needed without a name
}

// NoMap is the reason of a decision without a map.
const NoMap = "no-map"

// An Explanation says where a client is sent, and why.
type Explanation struct {
	Map      string   `json:"map"`
	Serial   uint32   `json:"serial"`
	Resolver string   `json:"resolver"`
	ECS      string   `json:"ecs,omitempty"`
	Plane    string   `json:"plane"`          // resolver, ecs
	Block    string   `json:"block"`          // the addresses that are decided alike
	Row      string   `json:"row"`            // the longest prefix of the map around the client, "" where only the default list holds
	Rule     string   `json:"rule,omitempty"` // what in a map file made that row, where one is explained: "country=NL"
	Scope    int      `json:"scope"`          // of the ECS option in the reply
	Reason   string   `json:"reason"`         // which rule decided
	PoPs     []string `json:"pops"`           // in order of preference
	Chosen   string   `json:"chosen"`         // "" when every PoP was passed over
	Passed   []Passed `json:"passed"`         // the PoPs before it, and why they weren't chosen
	Answer   *Answer  `json:"answer,omitempty"`
	Canary   *Canary  `json:"canary,omitempty"` // while one is staged
	Notes    []string `json:"notes"`
}

// Passed is a PoP that was passed over.
type Passed struct {
	PoP string `json:"pop"`
	Why string `json:"why"`
}

// An Answer is what the edge answers for a name.
type Answer struct {
	Zone    string   `json:"zone"`
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	Rcode   string   `json:"rcode"`
	Steered bool     `json:"steered"`
	Variant string   `json:"variant"`          // the PoP whose variant is answered, "" for the default one or an unsteered name
	Choice  string   `json:"choice,omitempty"` // how that was chosen: healthy, uncovered, last-resort, as-if-up or none
	Scope   int      `json:"scope"`            // 0 unless the name is steered
	Records []string `json:"records"`          // the Answer section; the Authority section when that is empty
}

// Explain decides as an edge would. With a Name the choice is among the PoPs that have a variant of it, without one every PoP counts as having one.
func Explain(data Data, q Question) (*Explanation, error) {
	d := steer.Decision{List: data.Fallback}
	e := &Explanation{Map: q.Map, Resolver: q.Resolver.String(), Reason: NoMap, Passed: []Passed{}, Notes: []string{}}
	if m := data.Map; m != nil {
		d = data.Canary.Decide(m, q.Edge, q.Client())
		decided := m
		if d.Canary {
			decided = data.Canary.Map()
		}
		e.Serial, e.Block, e.Reason, e.Row = m.Serial(), d.Block.String(), d.Reason.String(), rowOf(decided, &d, q)
		e.Canary = explainCanary(data.Canary, m, q, &d)
	}
	e.Plane, e.Scope, e.PoPs = d.Plane.String(), int(d.Scope), d.List
	if q.ECS.IsValid() {
		e.ECS = q.ECS.String()
	}
	if data.PoPs == nil {
		e.Notes = append(e.Notes, "there is no PoP table: every PoP counts as up")
	}
	if q.Name == "" {
		e.choose(&d, data.PoPs, "", func(string) bool { return true })
		return e, nil
	}
	return e, e.answer(data, q, &d)
}

// A Canary says which version of the map a client has while one is staged.
type Canary struct {
	Serial uint32   `json:"serial"` // the canary's own
	For    string   `json:"for"`    // "5 % of client blocks"
	Used   bool     `json:"used"`   // the staged version decided
	Now    []string `json:"now"`    // the list of the published version
	Then   []string `json:"then"`   // the list of the staged one
}

func explainCanary(c *steer.Canary, m *steer.Map, q Question, d *steer.Decision) *Canary {
	if c.Map() == nil {
		return nil
	}
	return &Canary{
		Serial: c.Serial(), For: c.Rule().String(), Used: d.Canary,
		Now: m.Decide(q.Client()).List, Then: c.Map().Decide(q.Client()).List,
	}
}

// String returns a line for people.
func (c *Canary) String() string {
	s := fmt.Sprintf("staged serial %d for %s: ", c.Serial, c.For)
	switch {
	case slices.Equal(c.Now, c.Then):
		return s + "both versions have the same list here"
	case c.Used:
		return s + "it decides here; the published version has " + strings.Join(c.Now, ", ")
	}
	return s + "not here; it has " + strings.Join(c.Then, ", ")
}

// rowOf names the row that the deciding plane has for the client.
func rowOf(m *steer.Map, d *steer.Decision, q Question) string {
	a := q.Resolver.Unmap().WithZone("")
	if d.Plane == steer.ECS {
		a = q.ECS.Masked().Addr()
	}
	if row, ok := m.Match(d.Plane, a); ok {
		return row.String()
	}
	return ""
}

func (e *Explanation) choose(d *steer.Decision, pops *steer.PoPs, service string, has func(string) bool) {
	chosen, passed := d.Explain(pops, service, has)
	e.Chosen, e.Passed = chosen, make([]Passed, len(passed))
	for i, p := range passed {
		e.Passed[i] = Passed{PoP: p.PoP, Why: p.Why}
	}
}

// answer looks the name up with a picker that makes this one decision.
func (e *Explanation) answer(data Data, q Question, d *steer.Decision) error {
	p := &picker{e: e, d: d, pops: data.PoPs}
	var res zone.Result
	data.Zone.Lookup(zone.Question{Name: q.Name, Type: q.Type}, p, &res)
	var msg dns.Msg
	if err := res.Fill(&msg, q.Name, q.Name.String()); err != nil {
		return fmt.Errorf("answer for %s: %w", q.Name, err)
	}
	if p.asked && p.mapName != "" && p.mapName != q.Map {
		e.Notes = append(e.Notes, fmt.Sprintf("%s is steered by map %s, not %s", q.Name, p.mapName, q.Map))
	}
	a := &Answer{
		Zone: data.Zone.Origin().String(), Name: q.Name.String(), Type: dns.Type(q.Type).String(),
		Rcode: dns.RcodeToString[res.Rcode], Steered: res.Steered, Records: []string{},
	}
	if p.asked {
		a.Variant, a.Choice = p.picked.PoP, p.picked.Reason.String()
	}
	if res.Steered {
		a.Scope = int(d.Scope)
	}
	section := msg.Answer
	if len(section) == 0 {
		section = msg.Ns
	}
	for _, rr := range section {
		a.Records = append(a.Records, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	e.Answer = a
	return nil
}

// picker chooses as popmap does, and writes the first choice into an Explanation.
type picker struct {
	e       *Explanation
	d       *steer.Decision
	pops    *steer.PoPs
	asked   bool
	mapName string
	picked  pick.Picked
}

// Pick implements zone.Picker.
func (p *picker) Pick(s zone.Steering, v zone.Variants, hasDefault bool) zone.Choice {
	picked := pick.Pick(p.d, p.pops, &s, v, hasDefault)
	if !p.asked {
		p.asked, p.picked, p.mapName = true, picked, s.Map
		p.e.choose(p.d, p.pops, s.Service, pick.Has(&s, v))
	}
	return picked.Choice
}

// MapOf returns the map that steers a name, "" if the name is not steered or leaves it to the server.
func MapOf(z *zone.Snapshot, name zone.Name, typ uint16) string {
	var p mapFinder
	var res zone.Result
	z.Lookup(zone.Question{Name: name, Type: typ}, &p, &res)
	return p.name
}

// mapFinder remembers the first map that a lookup names.
type mapFinder struct{ name string }

// Pick implements zone.Picker.
func (p *mapFinder) Pick(s zone.Steering, _ zone.Variants, _ bool) zone.Choice {
	if p.name == "" {
		p.name = s.Map
	}
	return zone.Choice{Variant: zone.Default}
}
