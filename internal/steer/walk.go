package steer

import (
	"encoding/binary"
	"iter"
	"math"
	"net/netip"
)

// AsIPv4 is the list, in a Stretch, of IPv6 addresses that carry an IPv4 one and have the list of that.
const AsIPv4 = embedMark

// A Stretch is a run of addresses of one plane on which neither of two maps changes its list.
type Stretch struct {
	First, Last netip.Addr
	Was, Is     ListID // of the old map and of the new one; Fallback in a hole, or AsIPv4
}

// Stretches compares two maps: it yields all of IPv4, then all of IPv6, in maximal stretches and in address order. It merges
// the ranges of the compiled tables, so it is exact and costs O(ranges).
func Stretches(old, next *Map, p Plane) iter.Seq[Stretch] {
	return func(yield func(Stretch) bool) {
		for f := range families {
			if !merge(f, old.tables[p].spans(f), next.tables[p].spans(f), yield) {
				return
			}
		}
	}
}

// merge walks two complete coverings of a family's space side by side.
func merge(f family, a, b []span, yield func(Stretch) bool) bool {
	for i, j := 0, 0; i < len(a); {
		from := a[i]
		if b[j].after(from) {
			from = b[j]
		}
		s := Stretch{First: addrOf(f, from.hi, from.lo), Was: a[i].list, Is: b[j].list}
		// The stretch ends before whichever side changes next, or both.
		nextA, nextB := i+1 < len(a), j+1 < len(b)
		stepA := nextA && (!nextB || !a[i+1].after(b[j+1]))
		stepB := nextB && (!nextA || !b[j+1].after(a[i+1]))
		end := span{}
		if stepA {
			i++
			end = a[i]
		}
		if stepB {
			j++
			end = b[j]
		}
		s.Last = addrBefore(f, end) // the last of all, if neither changes
		if !yield(s) {
			return false
		}
		if !stepA && !stepB {
			return true
		}
	}
	return true
}

func (s span) after(o span) bool { return s.hi > o.hi || s.hi == o.hi && s.lo > o.lo }

// spans returns the ranges of one family with the tails in their places, and every embedding as AsIPv4. IPv4 addresses are left-aligned.
func (t *planeTable) spans(f family) []span {
	if f == v4 {
		out := make([]span, len(t.v4.starts))
		for i, start := range t.v4.starts {
			out[i] = span{hi: uint64(start) << 32, list: t.v4.lists[i]}
		}
		return out
	}
	out := make([]span, 0, len(t.v6.starts))
	add := func(hi, lo uint64, list ListID) {
		if list-embedMark < ListID(len(embeddings)) {
			list = AsIPv4
		}
		if n := len(out); n == 0 || out[n-1].list != list {
			out = append(out, span{hi, lo, list})
		}
	}
	for i, hi := range t.v6.starts {
		list := t.v6.lists[i]
		if list&tailMark == 0 {
			add(hi, 0, list)
			continue
		}
		tail := &t.v6.tails[list&^tailMark]
		for j, lo := range tail.starts {
			add(hi, lo, tail.lists[j])
		}
	}
	return out
}

func addrOf(f family, hi, lo uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	if f == v4 {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16(b)
}

// addrBefore returns the address before a span; before the zero span, which stands for the end of the space, that is the last one.
func addrBefore(f family, s span) netip.Addr {
	if f == v4 {
		return addrOf(f, s.hi-1<<32, 0)
	}
	hi := s.hi
	if s.lo == 0 {
		hi--
	}
	return addrOf(f, hi, s.lo-1)
}

// globalUnicast is the IPv6 space that shares are taken of: clients live nowhere else.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// Share returns the stretch's part of the address space, 0 to 1: of all IPv4 addresses, or of IPv6's global unicast ones (2000::/3).
func (s Stretch) Share() float64 {
	if s.First.Is4() {
		a, b := s.First.As4(), s.Last.As4()
		return (float64(binary.BigEndian.Uint32(b[:])) - float64(binary.BigEndian.Uint32(a[:])) + 1) / (1 << 32)
	}
	first, last := rawKey(netip.PrefixFrom(s.First, 128)), rawKey(netip.PrefixFrom(s.Last, 128))
	space := rawKey(globalUnicast)
	endHi, endLo := space.last()
	if last.hi < space.hi || first.hi > endHi {
		return 0
	}
	if first.hi < space.hi {
		first.hi, first.lo = space.hi, space.lo
	}
	if last.hi > endHi {
		last.hi, last.lo = endHi, endLo
	}
	n := float64(last.hi-first.hi)*math.Exp2(64) + float64(last.lo) - float64(first.lo) + 1
	return n / math.Exp2(float64(128-globalUnicast.Bits()))
}

// Prefixes yields every prefix that has a row in one of the two maps, in key order, with the list that each map gives it: that of its own row, or
// of the longest one around it.
func Prefixes(old, next *Map, p Plane) iter.Seq2[netip.Prefix, Stretch] {
	return func(yield func(netip.Prefix, Stretch) bool) {
		for f := range families {
			a, b := cover{hole: old.hole(p)}, cover{hole: next.hole(p)}
			rowsA, rowsB := old.rows[p][f], next.rows[p][f]
			for len(rowsA) > 0 || len(rowsB) > 0 {
				var k key
				if len(rowsB) == 0 || len(rowsA) > 0 && rowsA[0].compare(rowsB[0].key) <= 0 {
					k = rowsA[0].key
				} else {
					k = rowsB[0].key
				}
				s := Stretch{Was: a.enter(k, &rowsA), Is: b.enter(k, &rowsB)}
				hi, lo := k.last()
				s.First, s.Last = addrOf(f, k.hi, k.lo), addrOf(f, hi, lo)
				if !yield(k.prefix(f), s) {
					return
				}
			}
		}
	}
}

// hole is the list of what no row of the plane covers.
func (m *Map) hole(p Plane) ListID {
	if p == ECS {
		return Fallback
	}
	return m.initial
}

// cover keeps the rows around the present prefix, the innermost last.
type cover struct {
	stack []row
	hole  ListID
}

// enter goes on to k, takes its row from the front of rows if there is one, and returns k's list.
func (c *cover) enter(k key, rows *[]row) ListID {
	for len(c.stack) > 0 && !c.stack[len(c.stack)-1].covers(k) {
		c.stack = c.stack[:len(c.stack)-1]
	}
	if len(*rows) > 0 && (*rows)[0].key == k {
		c.stack, *rows = append(c.stack, (*rows)[0]), (*rows)[1:]
	}
	if len(c.stack) == 0 {
		return c.hole
	}
	return c.stack[len(c.stack)-1].list
}

// Leaves yields the blocks of plane p and what Lookup finds in each, IPv4 then IPv6, in address order: together they are the whole space, but for
// IPv6 blocks whose addresses carry IPv4 ones. Those repeat the leaves of IPv4, 6to4 once and Teredo 2⁶⁴ times.
func (m *Map) Leaves(p Plane) iter.Seq2[netip.Prefix, Leaf] {
	return func(yield func(netip.Prefix, Leaf) bool) {
		for f := range families {
			for a := addrOf(f, 0, 0); a.IsValid(); {
				if block, ok := m.embedding(p, a); ok {
					a = lastOf(block).Next()
					continue
				}
				leaf := m.Lookup(p, a)
				block := netip.PrefixFrom(a, int(leaf.Bits))
				if !yield(block, leaf) {
					return
				}
				a = lastOf(block).Next()
			}
		}
	}
}

// embedding returns the block of addresses that carry IPv4 ones in which a lies, if IPv4 rows of the plane decide there.
func (m *Map) embedding(p Plane, a netip.Addr) (netip.Prefix, bool) {
	if a.Is4() {
		return netip.Prefix{}, false
	}
	k := rawKey(netip.PrefixFrom(a, 128))
	if i := m.tables[p].v6.lookup(k.hi, k.lo).List - embedMark; i < ListID(len(embeddings)) {
		return embeddings[i].block, true
	}
	return netip.Prefix{}, false
}

// lastOf returns the highest address of a masked prefix, v4-mapped ones included.
func lastOf(p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		_, k := keyOf(p)
		hi, lo := k.last()
		return addrOf(v4, hi, lo)
	}
	hi, lo := rawKey(p).last()
	return addrOf(v6, hi, lo)
}

// Match returns the row of plane p that decides for a: the longest that covers it. For an IPv6 address that carries an IPv4 one that is the row of
// the latter. ok is false where no row does.
func (m *Map) Match(p Plane, a netip.Addr) (prefix netip.Prefix, ok bool) {
	if e, embedded := m.embedding(p, a); embedded {
		for i := range embeddings {
			if embeddings[i].block == e {
				k := rawKey(netip.PrefixFrom(a, 128))
				a = addrOf(v4, uint64(embeddings[i].unwrap(k.hi, k.lo))<<32, 0)
			}
		}
	}
	for bits := a.BitLen(); bits >= 0; bits-- {
		prefix, err := a.Prefix(bits)
		if err != nil {
			return prefix, false
		}
		if _, ok := m.Row(p, prefix); ok {
			return prefix, true
		}
	}
	return prefix, false
}
