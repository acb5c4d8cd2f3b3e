package popmap

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/popdns/popdns/internal/explain"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/coredns/request"

	"github.com/miekg/dns"
)

// explainer answers TXT queries for a steered name in front of its own with
// why the asking client gets which answer.
type explainer struct {
	names []string // absolute, lower case
	allow []netip.Prefix
}

// subject returns the name to be explained if qname is or lies below one of
// ours: "www.example.org." of "www.example.org._explain.example.org.", "" of our
// own name. qname is in lower case.
func (e *explainer) subject(qname string) (subject string, ok bool) {
	for _, name := range e.names {
		if front, found := strings.CutSuffix(qname, name); found && (front == "" || strings.HasSuffix(front, ".")) {
			return front, true
		}
	}
	return "", false
}

func (e *explainer) allows(a netip.Addr) bool {
	return slices.ContainsFunc(e.allow, func(p netip.Prefix) bool { return p.Contains(a) })
}

// serve explains. The answer holds for nobody but this client and this moment:
// TTL 0, and the scope of what is explained.
func (e *explainer) serve(k *picker, subject string, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if !e.allows(k.client.Resolver) {
		return dns.RcodeRefused, nil
	}
	state := request.Request{W: w, Req: r}
	m := new(dns.Msg)
	m.SetReply(r)
	m.Authoritative = true
	switch state.QType() {
	case dns.TypeTXT, dns.TypeANY:
		x, err := k.popmap.explain(k, subject)
		if err != nil {
			return dns.RcodeServerFailure, fmt.Errorf("explain %s: %w", subject, err)
		}
		k.scope = uint8(x.Scope) //nolint:gosec // at most 128
		m.Answer = []dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: state.QName(), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 0},
			Txt: escaped(x.Strings()),
		}}
	default:
		soa, err := k.popmap.soaOf(state.Name())
		if err != nil {
			return dns.RcodeServerFailure, err
		}
		m.Ns = soa
	}
	if err := w.WriteMsg(m); err != nil {
		return dns.RcodeServerFailure, err
	}
	return dns.RcodeSuccess, nil
}

// escaped makes strings what the library unescapes when it packs them.
func escaped(list []string) []string {
	for i, s := range list {
		list[i] = strings.ReplaceAll(s, `\`, `\\`)
	}
	return list
}

// soaOf returns the authority section of a negative answer; its TTL is 0, like
// that of the explanation itself.
func (p *PopMap) soaOf(qname string) ([]dns.RR, error) {
	name, err := zone.ParseName(qname)
	if err != nil {
		return nil, err
	}
	z := p.zoneOf(name)
	if z == nil {
		return nil, fmt.Errorf("no zone with data holds %s", qname)
	}
	set, _ := z.Get(zone.Key{Owner: z.Origin(), Type: dns.TypeSOA})
	rrs, err := set.RRs()
	for _, rr := range rrs {
		rr.Header().Ttl = 0
	}
	return rrs, err
}

// explainedTypes are tried in turn: the first that the name has is explained.
var explainedTypes = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeSVCB, dns.TypeMX, dns.TypeSRV, dns.TypeTXT}

// explain explains the client's answer for a name, or with "" the block's map
// alone, from the data that queries are answered from.
func (p *PopMap) explain(k *picker, subject string) (*explain.Explanation, error) {
	q := explain.Question{Map: p.mapName, Resolver: k.client.Resolver, ECS: k.client.ECS, Edge: p.edge}
	data := explain.Data{Fallback: p.fallback, PoPs: p.pops()}
	var note string
	if subject != "" {
		name, err := zone.ParseName(subject)
		if err != nil {
			return nil, err
		}
		if data.Zone = p.zoneOf(name); data.Zone != nil {
			q.Name, q.Type = name, typeOf(data.Zone, name)
			if m := explain.MapOf(data.Zone, name, q.Type); m != "" {
				q.Map = m
			}
		} else {
			note = "no zone here holds " + subject
		}
	}
	data.Map, data.Canary = p.steering(q.Map)
	x, err := explain.Explain(data, q)
	if err != nil {
		return nil, err
	}
	if note != "" {
		x.Notes = append(x.Notes, note)
	}
	return x, nil
}

func typeOf(z *zone.Snapshot, name zone.Name) uint16 {
	var res zone.Result
	for _, typ := range explainedTypes {
		if z.Lookup(zone.Question{Name: name, Type: typ}, nil, &res); res.Kind == zone.Success {
			return typ
		}
	}
	return explainedTypes[0]
}
