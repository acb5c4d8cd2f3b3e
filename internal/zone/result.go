package zone

import (
	"fmt"
	"net"
	"slices"
	"unsafe"

	"github.com/miekg/dns"
)

// Kind says in one word what an answer is.
type Kind uint8

// What an answer is. A CNAME chain counts as what its last name inside the zone gives.
const (
	Success     Kind = iota // records, or a CNAME chain that leaves the zone or does not end
	NoData                  // the name exists, the type does not
	NXDomain                // the name does not exist
	Delegation              // a referral to the name servers of a child zone
	Outside                 // the question's name is not in this zone: REFUSED
	YXDomain                // a DNAME leads to a name of more than 255 octets (RFC 6672 2.2)
	Unavailable             // a Picker let no variant be handed out: SERVFAIL
)

func (k Kind) String() string {
	if names := [...]string{"success", "nodata", "nxdomain", "delegation", "outside", "yxdomain", "unavailable"}; int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Result is an answer, as views into the snapshot it came from (a CNAME that a DNAME gave is the one set that is not). One Result serves one goroutine
// for many lookups: Lookup resets it and uses its slices again, so whoever keeps a Set keeps a copy of it and is done with it before the next Lookup.
type Result struct {
	Rcode         int  // dns.RcodeSuccess, RcodeNameError, RcodeRefused, RcodeYXDomain or RcodeServerFailure
	Authoritative bool // the AA bit
	// Steered tells that a steered RRset was chosen from, so that the answer holds for the client's block only.
	Steered                       bool
	Kind                          Kind
	Answer, Authority, Additional []Set
	// Outside is the last CNAME target if it is not in this zone, "" otherwise.
	Outside Name

	picks []uint16  // room for the picks of sets
	draw  []drawing // room for a weighted draw
}

// Reset makes the result empty and keeps its room.
func (r *Result) Reset() {
	*r = Result{
		Answer:     r.Answer[:0],
		Authority:  r.Authority[:0],
		Additional: r.Additional[:0],
		picks:      r.picks[:0],
		draw:       r.draw[:0],
	}
}

// Set is a view of one RRset of an answer.
type Set struct {
	Owner Name // the question's name where a wildcard gave the records
	Type  uint16
	TTL   uint32 // seconds

	set    rrsets
	picks  []uint16 // the records that are answered; nil for all
	covers uint16   // of an RRSIG RRset, only the signatures over this type; 0 for all
}

// PoP is the PoP of the variant, "" for the default variant.
func (s *Set) PoP() string { return s.set.pop() }

// Len counts the records. It is above 0 in every Set of a Result.
func (s *Set) Len() int {
	switch {
	case s.picks != nil:
		return len(s.picks)
	case s.covers == 0:
		return s.set.count()
	}
	n := 0
	for range s.Rdata {
		n++
	}
	return n
}

// Rdata calls yield for the uncompressed rdata of the records in the order in which they are to be answered; use it in a range clause. The
// strings are views into the snapshot.
func (s *Set) Rdata(yield func(string) bool) {
	if s.picks != nil {
		for _, i := range s.picks {
			if !yield(s.set.at(int(i)).Wire) {
				return
			}
		}
		return
	}
	for rd := range s.set.each {
		if (s.covers == 0 || u16(rd.Wire, 0) == s.covers) && !yield(rd.Wire) {
			return
		}
	}
}

// Fill makes the slow path's message of the result: it sets the rcode and the AA bit and appends the records to m's sections. question is the
// question's name and qname the same as it came; records it owns get it with its letters' case. The sections' slices end with no spare
// capacity, because CoreDNS appends to them while others read.
func (r *Result) Fill(m *dns.Msg, question Name, qname string) (err error) {
	m.Rcode, m.Authoritative = r.Rcode, r.Authoritative
	if m.Answer, err = fill(m.Answer, r.Answer, question, qname); err != nil {
		return err
	}
	if m.Ns, err = fill(m.Ns, r.Authority, question, qname); err != nil {
		return err
	}
	m.Extra, err = fill(m.Extra, r.Additional, question, qname)
	return err
}

func fill(rrs []dns.RR, sets []Set, question Name, qname string) ([]dns.RR, error) {
	n := len(rrs)
	for i := range sets {
		n += sets[i].Len()
	}
	if n == 0 {
		return nil, nil
	}
	rrs = append(make([]dns.RR, 0, n), rrs...)
	for i := range sets {
		s := &sets[i]
		owner := qname
		if s.Owner != question {
			owner = s.Owner.String()
		}
		if s.Type == dns.TypeA {
			rrs = fillA(rrs, s, owner)
			continue
		}
		for wire := range s.Rdata {
			rr, err := unpackRR(owner, s.Type, s.TTL, readable(s.Type, wire))
			if err != nil {
				return nil, &Error{s.Owner, s.Type, err.Error()}
			}
			rrs = append(rrs, rr)
		}
	}
	return slices.Clip(rrs), nil
}

// fillA is what unpackRR does for the commonest type, in one allocation for all of a set and one for their addresses.
func fillA(rrs []dns.RR, s *Set, owner string) []dns.RR {
	n := s.Len()
	records, addrs := make([]dns.A, 0, n), make([]byte, 0, n*net.IPv4len)
	for wire := range s.Rdata {
		addrs = append(addrs, wire...)
		ip := addrs[len(addrs)-net.IPv4len : len(addrs) : len(addrs)]
		records = append(records, dns.A{Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: s.TTL, Rdlength: net.IPv4len}, A: ip})
		rrs = append(rrs, &records[len(records)-1])
	}
	return rrs
}

// readable is rdata as octets for miekg/dns to unpack. For the types that it makes strings and numbers of, these are the zone's own; the others get a
// copy, because it may keep views.
func readable(typ uint16, wire string) []byte {
	switch typ {
	case dns.TypeAAAA, dns.TypeNS, dns.TypeCNAME, dns.TypeSOA, dns.TypePTR, dns.TypeMX, dns.TypeTXT, dns.TypeSRV, dns.TypeRRSIG, dns.TypeNSEC:
		return unsafe.Slice(unsafe.StringData(wire), len(wire))
	}
	return []byte(wire)
}

// Octets is the size of all records in wire form without compression.
func (r *Result) Octets() int {
	n := 0
	for _, section := range [...][]Set{r.Answer, r.Authority, r.Additional} {
		for i := range section {
			s := &section[i]
			n += s.Len() * (len(s.Owner) + wireHeader)
			for wire := range s.Rdata {
				n += len(wire)
			}
		}
	}
	return n
}
