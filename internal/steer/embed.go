package steer

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// An embedding is an IPv6 block whose addresses carry the IPv4 address of the client or resolver. Where a plane has IPv4 rows
// these decide for such an address too, as if it had come over IPv4, and the scope is theirs, moved by the bits in front.
type embedding struct {
	block    netip.Prefix
	offset   uint8 // bits in front of the IPv4 address
	inverted bool  // the IPv4 address stands with every bit flipped
}

var embeddings = [...]embedding{
	{block: netip.MustParsePrefix("::ffff:0:0/96"), offset: 96},             // v4-mapped (RFC 4291 2.5.5.2)
	{block: netip.MustParsePrefix("64:ff9b::/96"), offset: 96},              // translated (RFC 6052 2.1)
	{block: netip.MustParsePrefix("2001::/32"), offset: 96, inverted: true}, // Teredo (RFC 4380 4)
	{block: netip.MustParsePrefix("2002::/16"), offset: 16},                 // 6to4 (RFC 3056 2)
}

// embedMark is added to an embedding's position in the lists of a compiled IPv6 table. It is above MaxLists and below Fallback.
const embedMark ListID = 1 << 30

// embedSet is a set of positions in embeddings.
type embedSet uint8

func (s embedSet) has(i int) bool { return s>>i&1 != 0 }

// embedIn returns the embeddings that rows leave to IPv4: none without IPv4 rows, and none that an IPv6 row lies in, because
// whoever writes 2002:c000:204::/48 into a map means it.
func embedIn(rows *rowSet) embedSet {
	var set embedSet
	if len(rows[v4]) == 0 {
		return set
	}
	for i, e := range embeddings {
		k := rawKey(e.block)
		at, _ := findRow(rows[v6], k)
		if at == len(rows[v6]) || !k.covers(rows[v6][at].key) {
			set |= 1 << i
		}
	}
	return set
}

// withMarks returns the IPv6 rows with one for each embedding of the set, whose list says which.
func withMarks(rows []row, set embedSet) []row {
	if set == 0 {
		return rows
	}
	marked := append(make([]row, 0, len(rows)+len(embeddings)), rows...)
	for i, e := range embeddings {
		if set.has(i) {
			k := rawKey(e.block)
			at, _ := findRow(marked, k)
			marked = slices.Insert(marked, at, row{k, embedMark + ListID(i)})
		}
	}
	return marked
}

// rawKey is keyOf for an IPv6 prefix that stays one, v4-mapped or not.
func rawKey(p netip.Prefix) key {
	b := p.Addr().As16()
	return key{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:]), bits: uint8(p.Bits())} //nolint:gosec // at most 128
}

// unwrap returns the IPv4 address in hi and lo.
func (e *embedding) unwrap(hi, lo uint64) uint32 {
	if e.offset == 16 {
		return uint32(hi >> 16) //nolint:gosec // bits 16 to 47 are what is wanted
	}
	if e.inverted {
		return ^uint32(lo) //nolint:gosec // the last 32 bits are what is wanted
	}
	return uint32(lo) //nolint:gosec // as above
}

// lookup finds the leaf of an address in e in the IPv4 table.
func (e *embedding) lookup(t *table[uint32], hi, lo uint64) Leaf {
	leaf := t.lookup(e.unwrap(hi, lo))
	if leaf.Bits == 0 { // all of IPv4 is alike, and so is all of the block
		leaf.Bits = uint8(e.block.Bits()) //nolint:gosec // at most 96
		return leaf
	}
	leaf.Bits += e.offset
	return leaf
}

// embedded returns the IPv4 prefix that p, an IPv6 one, carries, and the bits in front of it. ok is false if p lies in no embedding of
// the set or ends before the IPv4 address does begin.
func embedded(p netip.Prefix, set embedSet) (inner netip.Prefix, offset int, ok bool) {
	if set == 0 || !p.Addr().Is6() {
		return inner, 0, false
	}
	k := rawKey(p)
	switch k.hi >> 48 { // nearly all clients end here
	case 0, 0x64, 0x2001, 0x2002:
	default:
		return inner, 0, false
	}
	for i := range embeddings {
		e := &embeddings[i]
		if !set.has(i) || p.Bits() < int(e.offset) || !containsMapped(e.block, p.Addr()) {
			continue
		}
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], e.unwrap(k.hi, k.lo))
		// 6to4 has 80 bits behind the IPv4 address, which say nothing of where the client is.
		inner, _ = netip.AddrFrom4(b).Prefix(min(32, p.Bits()-int(e.offset)))
		return inner, int(e.offset), true
	}
	return inner, 0, false
}
