package zone

import "encoding/binary"

// An owner's settings, as they stand in nodes, in chunks and in items:
//
//	answers u16 | choose u8 | map length u8 | map
//	with settingsMore in choose: all down u8 | down ttl u32 | service length u8 | service | pops length u16 | pops
//
// The second line is left out where all of it is zero: what was written before it existed still reads, and has the same sum.
const (
	settingsSize = 4 // without the map's name
	moreSize     = 8 // of the second line, without the names
	settingsMore = 1 << 7
)

func (st *Steering) hasMore() bool {
	return st.PoPs != "" || st.Service != "" || st.AllDown != 0 || st.DownTTL != 0
}

func (st *Steering) size() int {
	n := settingsSize + len(st.Map)
	if st.hasMore() {
		n += moreSize + len(st.Service) + len(st.PoPs)
	}
	return n
}

// appendSettings appends settings that check has passed.
func appendSettings(b []byte, st *Steering) []byte {
	choose := byte(st.Choose)
	if st.hasMore() {
		choose |= settingsMore
	}
	b = binary.BigEndian.AppendUint16(b, uint16(st.Answers)) //nolint:gosec // bounded by Steering.check
	b = append(b, choose, len8(st.Map))
	b = append(b, st.Map...)
	if !st.hasMore() {
		return b
	}
	b = append(b, byte(st.AllDown))
	b = binary.BigEndian.AppendUint32(b, st.DownTTL)
	b = append(b, len8(st.Service))
	b = append(b, st.Service...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(st.PoPs))) //nolint:gosec // bounded by Steering.check
	return append(b, st.PoPs...)
}

// cutSettings reads the settings at the front of s, which appendSettings wrote.
func cutSettings(s string) (st Steering, rest string) {
	end := settingsSize + int(s[3])
	st = Steering{Answers: int(u16(s, 0)), Choose: Choose(s[2] &^ settingsMore), Map: s[settingsSize:end]}
	if s[2]&settingsMore == 0 {
		return st, s[end:]
	}
	s = s[end:]
	st.AllDown, st.DownTTL = AllDown(s[0]), u32(s, 1)
	end = 6 + int(s[5])
	st.Service = s[6:end]
	last := end + 2 + int(u16(s, end))
	st.PoPs = s[end+2 : last]
	return st, s[last:]
}

// parseSettings is cutSettings for octets from outside: they must be exactly what appendSettings writes, checked settings.
func parseSettings(b []byte) (Steering, error) {
	s := string(b)
	if len(s) < settingsSize || len(s) < settingsSize+int(s[3]) {
		return Steering{}, errEntry
	}
	if s[2]&settingsMore != 0 {
		more := s[settingsSize+int(s[3]):]
		if len(more) < moreSize || len(more) < moreSize+int(more[5]) || len(more) < moreSize+int(more[5])+int(u16(more, 6+int(more[5]))) {
			return Steering{}, errEntry
		}
	}
	st, rest := cutSettings(s)
	if rest != "" || s[2]&settingsMore != 0 && !st.hasMore() {
		return Steering{}, errEntry
	}
	return st, st.check()
}
