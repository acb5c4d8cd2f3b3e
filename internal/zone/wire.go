package zone

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// Wire is the size of a result that was appended to a message.
type Wire struct {
	Answer, Authority, Additional uint16 // records in each section
	// Excess is the most octets by which dns.Msg.Len takes the same message, made by Fill, for larger than it is: whoever must decide as the
	// library does whether it fits has to leave that much room.
	Excess int
}

// AppendWire appends the records of all sections to b, in wire form and without compression: octet for octet what Fill's message packs to. question
// is the question's name, and qname the same as it came, in wire form. b grows by no more than room octets: if that is not enough, or a record
// cannot be packed, ok is false and out is b with anything behind it. It allocates nothing if b's capacity has the room.
func (r *Result) AppendWire(b []byte, question Name, qname []byte, room int) (out []byte, w Wire, ok bool) {
	a := appender{out: b, limit: len(b) + room, question: question, qname: qname}
	if w.Answer, ok = a.section(r.Answer); !ok {
		return b, Wire{}, false
	}
	if w.Authority, ok = a.section(r.Authority); !ok {
		return b, Wire{}, false
	}
	if w.Additional, ok = a.section(r.Additional); !ok {
		return b, Wire{}, false
	}
	w.Excess = a.excess
	return a.out, w, true
}

type appender struct {
	out      []byte
	limit    int
	question Name
	qname    []byte
	excess   int
}

func (a *appender) section(sets []Set) (records uint16, ok bool) {
	for i := range sets {
		s := &sets[i]
		n, ok := a.set(s)
		if !ok {
			return 0, false
		}
		records += n
	}
	return records, true
}

// set appends the records in the order of Set.Rdata. It has loops of its own for the commonest forms: a range over Rdata calls a function for
// every record.
func (a *appender) set(s *Set) (records uint16, ok bool) {
	switch {
	case s.picks != nil:
		for _, i := range s.picks {
			if !a.record(s, s.set.at(int(i)).Wire) {
				return 0, false
			}
			records++
		}
	case s.covers == 0 && s.set[2]&setUniform != 0:
		for i := range s.set.count() {
			if !a.record(s, s.set.at(i).Wire) {
				return 0, false
			}
			records++
		}
	default:
		for wire := range s.Rdata {
			if !a.record(s, wire) {
				return 0, false
			}
			records++
		}
	}
	return records, true
}

func (a *appender) record(s *Set, rdata string) bool {
	if len(a.out)+len(s.Owner)+wireHeader+len(rdata) > a.limit || rdata == "" { // Fill refuses empty rdata, see unpackRR
		return false
	}
	if s.Owner == a.question {
		a.out = append(a.out, a.qname...)
	} else {
		a.out = append(a.out, s.Owner...)
	}
	a.out = binary.BigEndian.AppendUint16(a.out, s.Type)
	a.out = binary.BigEndian.AppendUint16(a.out, dns.ClassINET)
	a.out = binary.BigEndian.AppendUint32(a.out, s.TTL)
	a.out = binary.BigEndian.AppendUint16(a.out, uint16(len(rdata))) //nolint:gosec // at most limit, which is that of a message
	a.out = append(a.out, rdata...)
	a.excess += excess(s.Type, rdata)
	return true
}

// excess is the most by which the Len of a record exceeds its size. The library reckons strings as they are written, with escapes, and
// base64 with its padding.
func excess(typ uint16, rdata string) int {
	switch typ {
	case dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeCNAME, dns.TypeDNAME, dns.TypeSOA, dns.TypePTR, dns.TypeMX, dns.TypeSRV, dns.TypeDS:
		return 0
	case dns.TypeRRSIG, dns.TypeDNSKEY:
		return 2
	}
	return 3 * len(rdata)
}
