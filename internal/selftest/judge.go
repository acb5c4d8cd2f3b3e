package selftest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/ecs"
	"github.com/popdns/popdns/internal/pick"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"
)

// judge knows what is right. It serves one goroutine.
type judge struct {
	test     *Test
	variants []variant
	whole    bool // every record of a variant is answered
	res      zone.Result
}

// variant is the rdata of one of the name's variants.
type variant struct {
	pop   string // "" for the default variant
	rdata []string
}

func newJudge(t *Test) (*judge, error) {
	j := &judge{test: t}
	d := t.decide(steer.Client{Resolver: netip.IPv4Unspecified()})
	p := picker{judge: j, d: &d}
	t.Zone.Lookup(zone.Question{Name: t.Name, Type: t.Type}, &p, &j.res)
	typ := dns.Type(t.Type).String()
	switch {
	case !p.asked:
		return nil, fmt.Errorf("%s %s is not steered, so every block gets the same: give a name with variants", t.Name, typ)
	case p.steering.Map != "" && p.steering.Map != t.Map.Name():
		return nil, fmt.Errorf("%s is steered by map %s, not %s", t.Name, p.steering.Map, t.Map.Name())
	}
	j.whole = p.steering.Answers == 0 && p.steering.Choose == zone.ChooseAll
	owner := ownerOf(t.Zone, t.Name)
	for _, pop := range append(p.pops, "") {
		set, ok := t.Zone.Get(zone.Key{Owner: owner, Type: t.Type, PoP: pop})
		if !ok {
			set, ok = t.Zone.Get(zone.Key{Owner: owner, Type: dns.TypeCNAME, PoP: pop})
		}
		if !ok && pop == "" {
			continue // there need be no default variant
		}
		if !ok {
			return nil, fmt.Errorf("%s %s leads to another steered name: give that", t.Name, typ)
		}
		rrs, err := set.RRs()
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", t.Name, typ, err)
		}
		j.variants = append(j.variants, variant{pop, rdataOf(rrs)})
	}
	return j, nil
}

// ownerOf is the name itself, or the wildcard that stands for it (RFC 4592).
func ownerOf(z *zone.Snapshot, name zone.Name) zone.Name {
	if z.Has(name) {
		return name
	}
	for encloser := name; encloser != z.Origin(); {
		encloser = encloser[1+encloser[0]:]
		if wildcard := "\x01*" + encloser; z.Has(encloser) { // the closest encloser: wildcards above it stand for nothing below
			if z.Has(wildcard) {
				return wildcard
			}
			break
		}
	}
	return name
}

// rdataOf is the records in presentation form without their owners and TTLs.
func rdataOf(rrs []dns.RR) []string {
	out := make([]string, len(rrs))
	for i, rr := range rrs {
		out[i] = strings.TrimPrefix(rr.String(), rr.Header().String())
	}
	return out
}

// query asks for the name, from a subnet if there is one.
func (j *judge) query(subnet netip.Prefix) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(j.test.Name.String(), j.test.Type)
	m.RecursionDesired = false
	m.SetEdns0(1232, false)
	if subnet.IsValid() {
		opt := ecs.Option{Family: ecs.FamilyIPv4, Source: uint8(subnet.Bits()), Addr: subnet.Addr()} //nolint:gosec // at most 128
		if subnet.Addr().Is6() {
			opt.Family = ecs.FamilyIPv6
		}
		o := m.IsEdns0()
		o.Option = append(o.Option, opt.Reply(0))
	}
	return m
}

// judge says what is wrong with a reply to a client about whom the map decides d; "" for nothing.
func (j *judge) judge(d *steer.Decision, subnet netip.Prefix, reply *dns.Msg) string {
	p := picker{judge: j, d: d}
	t := j.test
	t.Zone.Lookup(zone.Question{Name: t.Name, Type: t.Type}, &p, &j.res)
	if reply.Rcode != j.res.Rcode {
		return fmt.Sprintf("rcode %s, want %s", dns.RcodeToString[reply.Rcode], dns.RcodeToString[j.res.Rcode])
	}
	if subnet.IsValid() {
		if what := wrongOption(reply, subnet, d.Scope); what != "" {
			return what
		}
	} else if optionOf(reply) != nil {
		return "a Client Subnet option that nobody asked for"
	}
	if p.picked.Reason == pick.None {
		return ""
	}
	return j.wrongAnswer(p.picked.PoP, reply)
}

func optionOf(m *dns.Msg) *dns.EDNS0_SUBNET {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_SUBNET); ok {
				return e
			}
		}
	}
	return nil
}

func wrongOption(reply *dns.Msg, subnet netip.Prefix, scope uint8) string {
	o := optionOf(reply)
	if o == nil {
		return "no Client Subnet option in the reply"
	}
	if a, ok := netip.AddrFromSlice(o.Address); !ok || a.Unmap() != subnet.Addr().Unmap() || int(o.SourceNetmask) != subnet.Bits() {
		return fmt.Sprintf("Client Subnet %s/%d, want %s as it was sent", o.Address, o.SourceNetmask, subnet)
	}
	if o.SourceScope != scope {
		return fmt.Sprintf("scope %d, want %d", o.SourceScope, scope)
	}
	return ""
}

// wrongAnswer compares the records with those of the PoP that should answer.
func (j *judge) wrongAnswer(pop string, reply *dns.Msg) string {
	var own []dns.RR
	for _, rr := range reply.Answer {
		if typ := rr.Header().Rrtype; strings.EqualFold(rr.Header().Name, j.test.Name.String()) && typ != dns.TypeRRSIG {
			own = append(own, rr)
		}
	}
	got := rdataOf(own)
	var from []string
	for _, v := range j.variants {
		if len(got) == 0 || !slices.ContainsFunc(got, func(r string) bool { return !slices.Contains(v.rdata, r) }) {
			if v.pop == pop && len(got) > 0 && (!j.whole || len(got) == len(v.rdata)) {
				return ""
			}
			from = append(from, nameOf(v.pop))
		}
	}
	switch {
	case len(got) == 0:
		return "no records, want those of " + nameOf(pop)
	case len(from) == 0:
		return fmt.Sprintf("records of no variant (%s), want those of %s", strings.Join(got, " "), nameOf(pop))
	case slices.Contains(from, nameOf(pop)):
		return fmt.Sprintf("%d records of %s, want all", len(got), nameOf(pop))
	}
	return fmt.Sprintf("the answer of %s (%s), want that of %s", strings.Join(from, " or "), strings.Join(got, " "), nameOf(pop))
}

func nameOf(pop string) string {
	if pop == "" {
		return "the default variant"
	}
	return pop
}

// picker makes one decision, and keeps what it picked for the name itself.
type picker struct {
	judge    *judge
	d        *steer.Decision
	asked    bool
	steering zone.Steering
	pops     []string
	picked   pick.Picked
}

// Pick implements zone.Picker.
func (p *picker) Pick(s zone.Steering, v zone.Variants, hasDefault bool) zone.Choice {
	picked := pick.Pick(p.d, p.judge.test.PoPs, &s, v, hasDefault)
	if !p.asked {
		p.asked, p.steering, p.picked = true, s, picked
		for i := range v.Len() {
			p.pops = append(p.pops, v.PoP(i))
		}
	}
	return picked.Choice
}
