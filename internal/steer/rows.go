package steer

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// ListID names one of a map's distinct PoP lists. It means nothing outside that map.
type ListID uint32

// Fallback is the list of a hole: no row of the plane covers the address.
const Fallback ListID = 1<<31 - 1

// Row is one line of a map: the PoPs for a prefix, best first. Longer prefixes win over shorter ones of their plane.
type Row struct {
	Plane  Plane
	Prefix netip.Prefix
	PoPs   []string // shared with the map: not to be changed
}

// family indexes what is kept apart for IPv4 and IPv6.
type family uint8

const (
	v4 family = iota
	v6
	families
)

func (f family) width() int {
	if f == v4 {
		return 32
	}
	return 128
}

// key is a prefix of a known family: the address as two numbers, left-aligned (an IPv4 address fills the top half of hi),
// so that one order and one sweep serve both families. It holds no pointer, unlike netip.Prefix: a million rows are
// nothing that the collector must walk.
type key struct {
	hi, lo uint64
	bits   uint8
}

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.hi, o.hi), cmp.Compare(k.lo, o.lo), cmp.Compare(k.bits, o.bits))
}

// last returns the highest address of the prefix.
func (k key) last() (hi, lo uint64) {
	if k.bits <= 64 {
		return k.hi | ^uint64(0)>>k.bits, ^uint64(0)
	}
	return k.hi, k.lo | ^uint64(0)>>(k.bits-64)
}

func (k key) prefix(f family) netip.Prefix {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k.hi)
	binary.BigEndian.PutUint64(b[8:], k.lo)
	if f == v4 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), int(k.bits))
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), int(k.bits))
}

// keyOf turns a valid, masked prefix into its key. A v4-mapped IPv6 prefix (of /96 or longer) is the IPv4 prefix that it
// maps: queries that arrive on a dual-stack socket carry such addresses.
func keyOf(p netip.Prefix) (family, key) {
	a, n := p.Addr(), p.Bits()
	if a.Is4In6() && n >= 96 {
		a, n = a.Unmap(), n-96
	}
	if a.Is4() {
		b := a.As4()
		return v4, key{hi: uint64(binary.BigEndian.Uint32(b[:])) << 32, bits: uint8(n)} //nolint:gosec // at most 32
	}
	b := a.As16()
	return v6, key{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:]), bits: uint8(n)} //nolint:gosec // at most 128
}

// row is a Row in a plane and a family.
type row struct {
	key
	list ListID
}

// rowSet holds one plane's rows, each family's in strictly ascending key order.
type rowSet [families][]row

func (s *rowSet) len() int { return len(s[v4]) + len(s[v6]) }

func findRow(rows []row, k key) (int, bool) {
	return slices.BinarySearchFunc(rows, k, func(r row, k key) int { return r.compare(k) })
}
