package test

import (
	"slices"
	"testing"

	"github.com/popdns/popdns/internal/zone"

	"github.com/miekg/dns"
)

// checkProof takes a reply from a zone with NSEC as a validator does (RFC 4035 5.4):
// what is not there must be proven, and every NSEC must serve for that.
func checkProof(t *testing.T, m *dns.Msg) {
	t.Helper()
	if opt := m.IsEdns0(); opt == nil || !opt.Do() {
		return
	}
	p := proof{used: map[string]bool{}}
	var soa, ds bool
	cut := ""
	for _, rr := range m.Ns {
		switch rr := rr.(type) {
		case *dns.NSEC:
			p.nsecs = append(p.nsecs, rr)
		case *dns.SOA:
			soa = true
		case *dns.DS:
			ds = true
		case *dns.NS:
			cut = rr.Hdr.Name
		}
	}
	last, typ := zone.MustParseName(lastName(m)), m.Question[0].Qtype
	ok := true
	switch {
	case m.Rcode == dns.RcodeNameError:
		encloser, covered := p.covers(last)
		ok = soa && covered
		if ok {
			_, ok = p.covers(encloser.Prepend("*"))
		}
	case m.Rcode == dns.RcodeSuccess && soa:
		if ok = p.lacks(last, typ); !ok {
			var encloser zone.Name
			if encloser, ok = p.covers(last); ok {
				ok = p.lacks(encloser.Prepend("*"), typ)
			}
		}
	case cut != "" && !ds:
		ok = p.lacks(zone.MustParseName(cut), dns.TypeDS)
	}
	for _, rr := range m.Answer {
		sig, signature := rr.(*dns.RRSIG)
		if !signature || !ok || typ == dns.TypeRRSIG {
			continue
		}
		owner := zone.MustParseName(sig.Hdr.Name)
		labels := owner.Labels()
		if owner.IsWildcard() {
			labels-- // RFC 4034 3.1.3
		}
		if labels > int(sig.Labels) {
			_, ok = p.covers(owner)
		}
	}
	if !ok {
		t.Fatalf("not proven:\n%s", m)
	}
	for _, nsec := range p.nsecs {
		if !p.used[nsec.Hdr.Name] {
			t.Fatalf("the NSEC of %s proves nothing in\n%s", nsec.Hdr.Name, m)
		}
	}
}

// proof is the NSECs of a reply, and which of them were needed.
type proof struct {
	nsecs []*dns.NSEC
	used  map[string]bool
}

// covers tells whether the name is shown not to exist, and what its closest
// encloser then is.
func (p *proof) covers(name zone.Name) (encloser zone.Name, ok bool) {
	for _, nsec := range p.nsecs {
		owner, next := zone.MustParseName(nsec.Hdr.Name), zone.MustParseName(nsec.NextDomain)
		if owner.Compare(name) >= 0 || next.Compare(name) <= 0 && next.Compare(owner) > 0 || next.IsSubdomainOf(name) {
			continue
		}
		if name.IsSubdomainOf(owner) && (hasType(nsec, dns.TypeNS) && !hasType(nsec, dns.TypeSOA) || hasType(nsec, dns.TypeDNAME)) {
			continue // RFC 6840 4.1: it says nothing of what is below
		}
		for encloser = name; !owner.IsSubdomainOf(encloser) && !next.IsSubdomainOf(encloser); {
			encloser = encloser.Parent()
		}
		p.used[nsec.Hdr.Name] = true
		return encloser, true
	}
	return "", false
}

// lacks tells whether the name is shown to exist without the type.
func (p *proof) lacks(name zone.Name, typ uint16) bool {
	for _, nsec := range p.nsecs {
		owner, next := zone.MustParseName(nsec.Hdr.Name), zone.MustParseName(nsec.NextDomain)
		exact := owner == name && !hasType(nsec, typ) && !hasType(nsec, dns.TypeCNAME)
		empty := owner.Compare(name) < 0 && next != name && next.IsSubdomainOf(name) // an empty non-terminal
		if exact || empty {
			p.used[nsec.Hdr.Name] = true
			return true
		}
	}
	return false
}

func hasType(nsec *dns.NSEC, typ uint16) bool { return slices.Contains(nsec.TypeBitMap, typ) }
