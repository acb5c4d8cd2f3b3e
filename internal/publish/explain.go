package publish

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/pick"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

// An ExplainQuestion is a query whose steering is to be explained.
type ExplainQuestion struct {
	Map      string
	Resolver netip.Addr   // the query's source address
	ECS      netip.Prefix // the client subnet; the zero value is none
	Name     zone.Name    // the name asked for; "" explains the map alone
	Type     uint16       // with Name
	Zone     zone.Name    // the zone to look Name up in; "" for the longest published one
	Edge     string       // the edge that is asked, for a canary that goes by edges
}

// An ExplainText is an ExplainQuestion as the arguments of a command give it.
type ExplainText struct {
	Map, Address     string
	ECS              string // prefix or address; "" for none
	Name, Type, Zone string // Name and Zone may be ""
	Edge             string // may be ""
}

// Parse reads t.
func (t ExplainText) Parse() (ExplainQuestion, error) {
	q := ExplainQuestion{Map: t.Map, Edge: t.Edge}
	var err error
	if q.Resolver, err = netip.ParseAddr(t.Address); err != nil || q.Resolver.Zone() != "" {
		return q, fmt.Errorf("address %q is not an IP address, like 192.0.2.1 (a client subnet goes to --ecs)", t.Address)
	}
	if t.ECS != "" {
		if q.ECS, err = parseSubnet(t.ECS); err != nil {
			return q, err
		}
	}
	if t.Zone != "" {
		if q.Zone, err = zone.ParseName(t.Zone); err != nil {
			return q, fmt.Errorf("zone %q: %w", t.Zone, err)
		}
	}
	if t.Name == "" {
		return q, nil
	}
	if q.Name, err = zone.ParseName(t.Name); err != nil {
		return q, fmt.Errorf("name %q: %w", t.Name, err)
	}
	q.Type, err = ParseType(t.Type)
	return q, err
}

// parseSubnet reads a prefix, or an address as a prefix of its full length. Host bits are cleared, as they are not part of the option.
func parseSubnet(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("client subnet %q is not a prefix, like 198.51.100.0/24 or 2001:db8::/56", s)
	}
	return p.Masked(), nil
}

// An Explanation says where a client is sent, and why.
type Explanation struct {
	Map      string           `json:"map"`
	Serial   uint32           `json:"serial"`
	Resolver string           `json:"resolver"`
	ECS      string           `json:"ecs,omitempty"`
	Plane    string           `json:"plane"`  // resolver, ecs
	Block    string           `json:"block"`  // the addresses that are decided alike
	Scope    int              `json:"scope"`  // of the ECS option in the reply
	Reason   string           `json:"reason"` // which rule decided
	PoPs     []string         `json:"pops"`   // in order of preference
	Chosen   string           `json:"chosen"` // "" when every PoP was passed over
	Passed   []Passed         `json:"passed"` // the PoPs before it, and why they weren't chosen
	Answer   *Answer          `json:"answer,omitempty"`
	Canary   *CanaryExplained `json:"canary,omitempty"`
	Notes    []string         `json:"notes"`
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
	Variant string   `json:"variant"` // the PoP whose variant is answered, "" for the default one or an unsteered name
	Scope   int      `json:"scope"`   // 0 unless the name is steered
	Records []string `json:"records"` // the Answer section; the Authority section when that is empty
}

// Explain answers q from the datasets in the store as an edge would. With a Name the choice is among the PoPs that have a variant of it, without one every
// PoP counts as having one.
func Explain(ctx context.Context, r store.Reader, q ExplainQuestion) (*Explanation, error) {
	m, err := LoadMap(ctx, r, q.Map)
	if err != nil {
		return nil, err
	}
	pops, err := LoadPoPs(ctx, r)
	if err != nil {
		return nil, err
	}
	staged, err := LoadCanary(ctx, r, q.Map)
	if err != nil {
		return nil, err
	}
	client := steer.Client{Resolver: q.Resolver, ECS: q.ECS, HasECS: q.ECS.IsValid() && q.ECS.Bits() > 0}
	d := valueOf(staged).Decide(m.Value, q.Edge, client)
	e := &Explanation{
		Map: q.Map, Serial: m.Value.Serial(), Resolver: q.Resolver.String(),
		Plane: d.Plane.String(), Block: d.Block.String(), Scope: int(d.Scope), Reason: d.Reason.String(),
		PoPs: d.List, Passed: []Passed{}, Notes: []string{},
	}
	if staged != nil {
		e.Canary = explainCanary(staged, m.Value, client, d)
	}
	if q.ECS.IsValid() {
		e.ECS = q.ECS.String()
	}
	if pops == nil {
		e.Notes = append(e.Notes, "there is no PoP table: every PoP counts as up")
	}
	if q.Name == "" {
		e.choose(&d, pops, "", func(string) bool { return true })
		return e, nil
	}
	return e, e.answer(ctx, r, q, d, pops)
}

func (e *Explanation) choose(d *steer.Decision, pops *steer.PoPs, service string, has func(string) bool) {
	chosen, passed := d.Explain(pops, service, has)
	e.Chosen, e.Passed = chosen, make([]Passed, len(passed))
	for i, p := range passed {
		e.Passed[i] = Passed{PoP: p.PoP, Why: p.Why}
	}
}

// answer looks the name up with a picker that makes this one decision.
func (e *Explanation) answer(ctx context.Context, r store.Reader, q ExplainQuestion, d steer.Decision, pops *steer.PoPs) error {
	origin, err := zoneOf(ctx, r, q)
	if err != nil {
		return err
	}
	z, err := LoadZone(ctx, r, origin, 0)
	if err != nil {
		return err
	}
	if other := z.Value.Steering(q.Name).Map; other != "" && other != q.Map {
		e.Notes = append(e.Notes, fmt.Sprintf("%s is steered by map %s, not %s", q.Name, other, q.Map))
	}
	p := &explainPicker{e: e, d: &d, pops: pops}
	var res zone.Result
	z.Value.Lookup(zone.Question{Name: q.Name, Type: q.Type}, p, &res)
	var msg dns.Msg
	if err := res.Fill(&msg, q.Name, q.Name.String()); err != nil {
		return fmt.Errorf("answer for %s: %w", q.Name, err)
	}
	a := &Answer{
		Zone: origin.String(), Name: q.Name.String(), Type: TypeName(q.Type),
		Rcode: dns.RcodeToString[res.Rcode], Steered: res.Steered, Variant: p.variant, Records: []string{},
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

// explainPicker chooses as popmap does, and writes the first choice into an Explanation.
type explainPicker struct {
	e       *Explanation
	d       *steer.Decision
	pops    *steer.PoPs
	asked   bool
	variant string
}

// Pick implements zone.Picker.
func (p *explainPicker) Pick(s zone.Steering, v zone.Variants, hasDefault bool) zone.Choice {
	picked := pick.Pick(p.d, p.pops, &s, v, hasDefault)
	if !p.asked {
		p.asked, p.variant = true, picked.PoP
		p.e.choose(p.d, p.pops, s.Service, pick.Has(&s, v))
	}
	return picked.Choice
}

// zoneOf finds the published zone with the longest origin above the name.
func zoneOf(ctx context.Context, r store.Reader, q ExplainQuestion) (zone.Name, error) {
	if q.Zone != "" {
		if !q.Name.IsSubdomainOf(q.Zone) {
			return "", fmt.Errorf("name %s is outside zone %s", q.Name, q.Zone)
		}
		return q.Zone, nil
	}
	keys, err := dataset.ListDatasets(ctx, r, "zones")
	if err != nil {
		return "", fmt.Errorf("list the zones: %w", err)
	}
	var best zone.Name
	for _, key := range keys {
		origin, err := zone.ParseName(dataset.ZoneName(key))
		if err == nil && q.Name.IsSubdomainOf(origin) && (best == "" || origin.Labels() > best.Labels()) {
			best = origin
		}
	}
	if best == "" {
		return "", fmt.Errorf("no published zone holds %s: %w", q.Name, dataset.ErrNoDataset)
	}
	return best, nil
}
