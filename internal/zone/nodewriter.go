package zone

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// appendNode begins a node at the end of b. RRsets are appended to it in order, then closeNode makes it complete.
func appendNode(b []byte, name Name, children uint32, st Steering) []byte {
	var flags byte
	if st != (Steering{}) {
		flags = flagSettings
	}
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, children)
	b = append(b, flags, len8(name))
	b = append(b, name...)
	if flags != 0 {
		b = appendSettings(b, &st)
	}
	return b
}

// closeNode fills in the size of the node that begins at off and ends with b.
func closeNode(b []byte, off int) {
	binary.BigEndian.PutUint32(b[off:], uint32(len(b)-off)) //nolint:gosec // at most maxNode, see node check
}

// markNode records in the flags of the node at off that it owns an RRset of the type.
func markNode(b []byte, off int, typ uint16, tagged bool) {
	switch typ {
	case dns.TypeNS:
		b[off+8] |= flagNS
	case dns.TypeCNAME:
		b[off+8] |= flagCNAME
	case dns.TypeDNAME:
		b[off+8] |= flagDNAME
	case dns.TypeNSEC:
		b[off+8] |= flagNSEC
	case dns.TypeNSEC3:
		b[off+8] |= flagNSEC3
	}
	if tagged {
		b[off+8] |= flagTagged
	}
}

// appendSets appends RRsets that are in stored form already to the node at off.
func appendSets(b []byte, off int, s rrsets) []byte {
	b = append(b, s...)
	for ; s != ""; s = s.rest() {
		markNode(b, off, s.typ(), s.pop() != "")
	}
	return b
}

// appendSetTo appends an RRset that NewRRset or the decoder has checked to the node at off.
func appendSetTo(b []byte, off int, s *RRset) []byte {
	markNode(b, off, s.Type, s.PoP != "")
	return appendSet(b, s)
}

// appendSet appends the stored form of an RRset.
func appendSet(b []byte, s *RRset) []byte {
	var flags byte
	size, uniform := len(s.PoP), true
	for _, rd := range s.Rdata {
		if rd.Weight != 0 {
			flags |= setWeighted
		}
		uniform = uniform && len(rd.Wire) == len(s.Rdata[0].Wire)
		size += len(rd.Wire)
	}
	if uniform {
		flags |= setUniform
	} else {
		size += 2 * len(s.Rdata)
	}
	if flags&setWeighted != 0 {
		size += 4 * len(s.Rdata)
	}
	b = binary.BigEndian.AppendUint16(b, s.Type)
	b = append(b, flags, len8(s.PoP))
	b = binary.BigEndian.AppendUint32(b, s.TTL)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.Rdata))) //nolint:gosec // an RRset fits in a message, see finish
	b = binary.BigEndian.AppendUint16(b, uint16(size))         //nolint:gosec // and so does this: rrOverhead exceeds what is stored per record
	b = append(b, s.PoP...)
	for _, rd := range s.Rdata {
		if flags&setWeighted != 0 {
			b = binary.BigEndian.AppendUint32(b, rd.Weight)
		}
		if !uniform {
			b = binary.BigEndian.AppendUint16(b, uint16(len(rd.Wire))) //nolint:gosec // as above
		}
		b = append(b, rd.Wire...)
	}
	return b
}

// len8 is the length of a name or tag, none of which has more than 255 octets: both were checked where they came in.
func len8[S ~string](s S) byte {
	return byte(len(s)) //nolint:gosec // see above
}
