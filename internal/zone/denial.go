package zone

import (
	"github.com/miekg/dns"
)

// What a signed zone adds to an answer to prove what it does not have, if the client asks for it: NSEC (RFC 4035 3.1.3) or NSEC3 (RFC 5155 7.2).
// A zone that has neither adds nothing. The proofs are the zone's own records; what a signer left out is not made up for.

// denial is the way in which a zone proves what it does not have.
type denial struct {
	by     chain  // chains: it has none
	params string // the rdata of the NSEC3PARAM whose chain is used
}

// denial tells the way, which the apex shows. NSEC3 comes first: a zone that changes from the one to the other has a complete NSEC3 chain as
// long as it has the NSEC3PARAM (RFC 5155 10.4 and 10.5), and an NSEC chain that may not be complete.
func (a *answering) denial() denial {
	if !a.q.DO {
		return denial{by: chains}
	}
	if params := a.apex.sets().ofType(dns.TypeNSEC3PARAM); params != "" {
		for rd := range params.each {
			if usable(rd.Wire) {
				return denial{chainNSEC3, rd.Wire}
			}
		}
	}
	if a.apex.has(flagNSEC) {
		return denial{by: chainNSEC}
	}
	return denial{by: chains}
}

// denyName proves that neither a name nor a wildcard for it exists (RFC 4035 3.1.3.2, RFC 5155 7.2.2).
func (a *answering) denyName(f *found) {
	switch d := a.denial(); d.by {
	case chainNSEC:
		a.showBefore(f.closer)
		a.showBefore(f.encloser.name().Prepend("*"))
	case chainNSEC3:
		encloser := a.denyCloser(d, f.encloser.name(), f.closer)
		a.show(a.covering(d, encloser.Prepend("*")), dns.TypeNSEC3)
	}
}

// denyType proves that the name, or the wildcard that stands for it, does not have the type (RFC 4035 3.1.3.1 and 3.1.3.4, RFC 5155 7.2.3 to 7.2.5).
func (a *answering) denyType(name Name, f *found) {
	d := a.denial()
	switch {
	case d.by == chainNSEC && f.closer == "":
		a.showBefore(name) // an empty non-terminal has none of its own: what is before it ends behind it
	case d.by == chainNSEC:
		a.showBefore(f.closer)
		a.showBefore(f.node.name())
	case d.by == chainNSEC3 && f.closer == "":
		a.matchOrDeny(d, name)
	case d.by == chainNSEC3:
		a.denyCloser(d, f.encloser.name(), f.closer)
		a.show(a.matching(d, f.node.name()), dns.TypeNSEC3)
	}
}

// denyExact proves, beside what a wildcard gave, that the name itself does not exist (RFC 4035 3.1.3.3, RFC 5155 7.2.6).
func (a *answering) denyExact(f *found) {
	if f.closer == "" {
		return
	}
	switch d := a.denial(); d.by {
	case chainNSEC:
		a.showBefore(f.closer)
	case chainNSEC3:
		a.show(a.covering(d, f.closer), dns.TypeNSEC3)
	}
}

// denyDS proves that the child is not signed (RFC 4035 3.1.4.1, RFC 5155 7.2.7).
func (a *answering) denyDS(cut node) {
	switch d := a.denial(); d.by {
	case chainNSEC:
		if cut.has(flagNSEC) {
			a.show(cut, dns.TypeNSEC)
		}
	case chainNSEC3:
		a.matchOrDeny(d, cut.name())
	}
}

// showBefore adds the NSEC at or before the name: it shows what the name has, or that it is not there.
func (a *answering) showBefore(name Name) {
	a.show(a.before(chainNSEC, name, func(node) bool { return true }), dns.TypeNSEC)
}

// show adds a node's NSEC or NSEC3 to the authority section, unless it is there already.
func (a *answering) show(n node, typ uint16) {
	if n == "" || has(a.res.Authority, n.name(), typ) {
		return
	}
	sets := n.sets()
	set := sets.ofType(typ).first()
	a.res.Authority = append(a.res.Authority, Set{Owner: n.name(), Type: typ, TTL: set.ttl(), set: set})
	if signed(sets, typ, "") {
		a.res.Authority = append(a.res.Authority, signatures(n.name(), sets, set))
	}
}
