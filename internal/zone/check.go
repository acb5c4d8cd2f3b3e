package zone

import (
	"fmt"

	"github.com/miekg/dns"
)

// maxNode is the most octets of all that one name owns: 16,000 addresses per PoP for a thousand PoPs is far below.
const maxNode = 1 << 28

// checkNode checks what must hold within one name. Whatever makes nodes calls it.
func checkNode(origin Name, n node) error {
	name := n.name()
	wrong := func(typ uint16, msg string) error { return &Error{name, typ, msg} }
	switch {
	case n.size() > maxNode:
		return wrong(0, fmt.Sprintf("more than %d octets of records", maxNode))
	case n.sets() == "" && n.has(flagSettings):
		return wrong(0, "steering settings for a name without records")
	case name.IsWildcard() && n.has(flagNS): // RFC 4592 4.2 leaves the meaning undefined
		return wrong(dns.TypeNS, "a wildcard cannot be delegated")
	case name.IsWildcard() && n.has(flagDNAME): // RFC 4592 4.4
		return wrong(dns.TypeDNAME, "a wildcard cannot own DNAME")
	case name != origin && n.has(flagDNAME) && n.has(flagNS): // RFC 6672 2.3: the child's apex may have it, not the parent's cut
		return wrong(dns.TypeDNAME, "stands at a zone cut, where only the child can have it (RFC 6672 2.3)")
	}
	for s := n.sets(); s != ""; s = s.rest() {
		switch typ := s.typ(); {
		case typ == dns.TypeSOA && name != origin:
			return wrong(typ, "SOA below the apex")
		case n.has(flagCNAME) && !besideCNAME(typ):
			return wrong(typ, "stands beside a CNAME, which must be alone (RFC 1034 3.6.2)")
		}
	}
	return nil
}

// besideCNAME lists what may share its owner (RFC 2181 10.1, RFC 4034 3 and 4).
func besideCNAME(typ uint16) bool {
	switch typ {
	case dns.TypeCNAME, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeKEY, dns.TypeSIG, dns.TypeNXT:
		return true
	}
	return false
}

// checkApex checks that the zone is one, with a SOA and name servers, and can be served with its proofs.
func checkApex(origin Name, apex node) error {
	switch {
	case apex == "" || !apex.sets().is(dns.TypeSOA):
		return &Error{origin, dns.TypeSOA, "the zone has no SOA at its apex"}
	case !apex.has(flagNS):
		return &Error{origin, dns.TypeNS, "the zone has no NS at its apex"}
	}
	return checkIterations(origin, apex)
}
