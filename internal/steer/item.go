package steer

import (
	"encoding/binary"
	"math"
)

// The items of a set sum: one per PoP, one per row, one for a map's default list. Serial and name are not among them, so
// equal content has equal sums whatever its version. Their form is part of the protocol: a change makes every reader
// refuse every head.

func popItem(p PoP) []byte {
	return appendPoP([]byte{'p'}, p)
}

// failingMark stands in place of a service's state for what checks found down; a reader that does not know it refuses it as a state.
const failingMark = 0x80

// appendPoP appends the one encoding that PoPs have, in items, bases and deltas.
func appendPoP(b []byte, p PoP) []byte {
	b = append(b, byte(len(p.Name))) //nolint:gosec // at most MaxNameBytes
	b = append(b, p.Name...)
	// Adding zero turns -0 into 0, which prints and compares as equal.
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(p.Lat+0))
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(p.Lon+0))
	b = append(b, byte(p.State), byte(p.Drain))              //nolint:gosec // at most 100
	b = binary.BigEndian.AppendUint64(b, uint64(p.Capacity)) //nolint:gosec // not negative
	for _, s := range p.Services {
		b = append(b, byte(len(s.Name))) //nolint:gosec // at most MaxNameBytes
		b = append(b, s.Name...)
		b = append(b, byte(s.State), byte(s.Drain)) //nolint:gosec // at most 100
	}
	for _, name := range p.Failing {
		b = append(b, byte(len(name))) //nolint:gosec // at most MaxNameBytes
		b = append(b, name...)
		b = append(b, failingMark, 0)
	}
	return b
}

func defaultItem(list string) []byte {
	return append([]byte{'d'}, list...)
}

// appendRowItem appends the item of a row whose list has the given listKey.
func appendRowItem(b []byte, p Plane, f family, k key, list string) []byte {
	b = append(b, 'r', byte(p), byte(f), k.bits)
	b = binary.BigEndian.AppendUint64(b, k.hi)
	b = binary.BigEndian.AppendUint64(b, k.lo)
	return append(b, list...)
}
