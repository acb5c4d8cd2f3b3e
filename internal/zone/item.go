package zone

import "encoding/binary"

// The items that Snapshot.Sum is over. Sums are kept in the store and compared between versions of popdns, so this form must never change; it is
// apart from the form in memory, which may.
const (
	itemRRset    = 'R' // owner | type u16 | ttl u32 | pop length u8 | pop | per rdata: weight u32 | length u16 | octets
	itemSteering = 'S' // owner | the settings, see appendSettings
)

func appendSetItem(b []byte, owner Name, s rrsets) []byte {
	b = append(b, itemRRset)
	b = append(b, owner...)
	b = binary.BigEndian.AppendUint16(b, s.typ())
	b = binary.BigEndian.AppendUint32(b, s.ttl())
	b = append(b, len8(s.pop()))
	b = append(b, s.pop()...)
	if s[2] == setUniform { // nearly every RRset, without a call for each record
		body := s[setHeader+int(s[3]) : s.size()]
		each := len(body) / s.count()
		for ; body != ""; body = body[each:] {
			b = append(b, 0, 0, 0, 0, byte(each>>8), byte(each)) //nolint:gosec // rdata is at most 65535 octets
			b = append(b, body[:each]...)
		}
		return b
	}
	for rd := range s.each {
		b = binary.BigEndian.AppendUint32(b, rd.Weight)
		b = binary.BigEndian.AppendUint16(b, uint16(len(rd.Wire))) //nolint:gosec // rdata is at most 65535 octets
		b = append(b, rd.Wire...)
	}
	return b
}

func appendSteeringItem(b []byte, owner Name, st Steering) []byte {
	b = append(b, itemSteering)
	b = append(b, owner...)
	return appendSettings(b, &st)
}
