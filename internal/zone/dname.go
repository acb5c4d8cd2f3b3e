package zone

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// redirect answers for a name below a DNAME (RFC 6672 3.2 step 3C): with the DNAME, and with the CNAME that it means for this name. It gives
// the next name of the chain as follow does.
func (a *answering) redirect(name Name, owner node) (next Name) {
	a.positive()
	dname := owner.sets().ofType(dns.TypeDNAME)
	a.addAnswer(owner.name(), owner, dname)
	cname := synthesise(name, owner.name(), dname)
	if cname == "" {
		a.res.Rcode, a.res.Kind = dns.RcodeYXDomain, YXDomain
		return ""
	}
	a.res.Answer = append(a.res.Answer, Set{Owner: name, Type: dns.TypeCNAME, TTL: cname.ttl(), set: cname})
	if a.q.Type == dns.TypeCNAME {
		return "" // this is what was asked for
	}
	return a.follow(cname)
}

// synthesise is the CNAME of a name below the owner of a DNAME, with the DNAME's TTL (RFC 6672 3.1), "" if its target is longer than a name may be.
func synthesise(name, owner Name, dname rrsets) rrsets {
	prefix, target := name[:len(name)-len(owner)], dname.at(0).Wire
	size := len(prefix) + len(target)
	if size > maxName {
		return ""
	}
	b := make([]byte, 0, setHeader+size)
	b = binary.BigEndian.AppendUint16(b, dns.TypeCNAME)
	b = append(b, setUniform, 0)
	b = binary.BigEndian.AppendUint32(b, dname.ttl())
	b = binary.BigEndian.AppendUint16(b, 1)
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	b = append(b, prefix...)
	b = append(b, target...)
	return rrsets(frozen(b))
}
