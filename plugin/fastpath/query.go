package fastpath

import (
	"encoding/binary"
	"unsafe"

	"github.com/popdns/popdns/internal/ecs"
	"github.com/popdns/popdns/internal/zone"

	"github.com/miekg/dns"
)

// Octets of the parts of a message that have a fixed size (RFC 1035 4.1, RFC 6891 6.1.2).
const (
	headerSize   = 12
	questionTail = 4 // type and class
	optFixed     = 11
	optionHead   = 4
	subnetHead   = 4 // of a client subnet, before its address
)

const (
	maxName = 255
	// maxQuery is what CoreDNS reads of a query: it cuts longer ones.
	maxQuery = dns.MinMsgSize
	// minRoom is what a client has room for at least (RFC 6891 6.2.3).
	minRoom = dns.MinMsgSize
)

// Header bits, of the octets 2 and 3 of a message.
const (
	bitQR = 0x80 // octet 2
	opBit = 0x78
	bitAA = 0x04
	bitRD = 0x01
	bitCD = 0x10 // octet 3
)

// query is a question that the fast path understands all of. Its slices are views into the datagram, and Name one into the query itself: it is
// valid until the next parse.
type query struct {
	Name     zone.Name // lower case
	Type     uint16
	RawName  []byte // as it came
	Question []byte // RawName, type and class

	HasOPT bool
	Size   uint16 // of the client's buffer, as the OPT record states it
	Flags  uint16 // of the OPT record
	OPTLen int    // octets of the OPT record

	HasECS bool
	ECS    ecs.Option
	RawECS []byte // the option's data

	lower [maxName]byte
}

// parse reads a datagram in place. It returns 0, or why it is nothing for the fast path: whatever is malformed, and whatever is rare enough that
// the plugin chain may have it. It never writes to the datagram and allocates nothing.
func (q *query) parse(b []byte) missReason {
	if len(b) < headerSize || len(b) > maxQuery {
		return missMalformed
	}
	switch {
	case b[2]&(bitQR|opBit) != 0: // a response, or another opcode than QUERY
		return missOpcode
	case binary.BigEndian.Uint32(b[4:]) != 1<<16 || b[8]|b[9]|b[10] != 0 || b[11] > 1:
		return missSections // other than one question, no answer, no authority, at most one additional record
	}
	end, reason := q.parseQuestion(b)
	if reason != 0 {
		return reason
	}
	q.HasOPT, q.HasECS, q.Size, q.Flags, q.OPTLen = false, false, 0, 0, 0
	if b[11] == 0 {
		if end != len(b) {
			return missMalformed
		}
		return 0
	}
	return q.parseOPT(b[end:])
}

// parseQuestion reads what is behind the header, and returns where it ends.
func (q *query) parseQuestion(b []byte) (end int, reason missReason) {
	at := headerSize
	for {
		if at >= len(b) {
			return 0, missMalformed
		}
		n := int(b[at])
		if n > 63 { // a pointer, or no label
			return 0, missMalformed
		}
		if at-headerSize+1+n >= maxName && n > 0 { // with the root's octet too long
			return 0, missMalformed
		}
		at++
		if n == 0 {
			break
		}
		at += n
	}
	end = at + questionTail
	if end > len(b) {
		return 0, missMalformed
	}
	q.RawName, q.Question = b[headerSize:at], b[headerSize:end]
	q.Type = binary.BigEndian.Uint16(b[at:])
	if b[at+2] != 0 || b[at+3] != dns.ClassINET {
		return 0, missClass
	}
	if isMeta(q.Type) {
		return 0, missType
	}
	for i, c := range q.RawName {
		q.lower[i] = lowered[c] // length octets are below 'A'
	}
	q.Name = zone.Name(unsafe.String(&q.lower[0], len(q.RawName)))
	return end, 0
}

// lowered maps letters to lower case, and all else to itself.
var lowered = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
	}
	for c := 'A'; c <= 'Z'; c++ {
		t[c] = byte(c) + 'a' - 'A'
	}
	return t
}()

// isMeta tells whether a type stands for no record in a zone, but for ANY, which has an answer like others.
func isMeta(typ uint16) bool {
	return typ == 0 || typ == dns.TypeOPT || typ >= 128 && typ < dns.TypeANY
}

// parseOPT reads the additional section, which must be one OPT record of version 0.
func (q *query) parseOPT(b []byte) missReason {
	if len(b) < optFixed {
		return missMalformed
	}
	if b[0] != 0 || binary.BigEndian.Uint16(b[1:]) != dns.TypeOPT {
		return missSections // TSIG, SIG(0), or anything else
	}
	if b[6] != 0 {
		return missEDNS
	}
	if int(binary.BigEndian.Uint16(b[9:]))+optFixed != len(b) {
		return missMalformed
	}
	q.HasOPT, q.Size, q.Flags, q.OPTLen = true, binary.BigEndian.Uint16(b[3:]), binary.BigEndian.Uint16(b[7:]), len(b)
	return q.parseOptions(b[optFixed:])
}

func (q *query) parseOptions(b []byte) missReason {
	for len(b) > 0 {
		if len(b) < optionHead {
			return missMalformed
		}
		code, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if b = b[optionHead:]; n > len(b) {
			return missMalformed
		}
		data := b[:n]
		b = b[n:]
		switch code {
		case dns.EDNS0COOKIE, dns.EDNS0PADDING:
			// The chain reads these without looking at them, and leaves them out of the reply.
		case dns.EDNS0SUBNET:
			var ok bool
			if q.HasECS {
				return missECS
			}
			if q.ECS, ok = ecs.FromWire(data); !ok {
				return missECS
			}
			q.HasECS, q.RawECS = true, data
		default:
			return missOption
		}
	}
	return 0
}

// do tells whether the client wants DNSSEC records.
func (q *query) do() bool { return q.Flags&flagDO != 0 }

const (
	flagDO = 0x8000
	// keptFlags are those of the OPT record that CoreDNS sends back when it uses the query's for the reply (request.SizeAndDo).
	keptFlags = 0xff00
)

// room is how many octets the client takes.
func (q *query) room() int { return max(int(q.Size), minRoom) }
