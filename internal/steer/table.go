package steer

import (
	"math/bits"
	"unsafe"
)

// A table holds one plane and family as maximal ranges: where each begins, and its list. Neighbours differ, so the ranges are
// the fewest possible. The leaf-pushed, sibling-merged trie is implied rather than stored: the leaf of an address is the
// largest aligned block around it that stays inside its range, and its depth follows from the two borders with two
// count-leading-zeros (see [table.depth]). That makes the table smaller than the list of leaves and needs no length per entry.
type table[K uint32 | uint64] struct {
	starts []K      // ascending; starts[0] = 0
	lists  []ListID // of the range that begins at starts[i]
	index  []bucket // by the top bits of the address
	fine   []uint32 // second-level index of crowded buckets, fineSize entries each
	shift  uint8    // width of K minus the index's bits
}

// bucket is the part of the space that shares the index's top bits.
type bucket struct {
	first uint32 // the range that holds the bucket's lowest address
	fine  uint32 // 1 + the block's number in table.fine; 0 = none, search first..next bucket's first
}

const (
	maxIndexBits = 16 // 512 KiB of buckets for a table of 65,536 ranges or more, less for smaller ones
	fineBits     = 8
	fineSize     = 1<<fineBits + 1
	crowded      = 64 // ranges in a bucket from which a second level pays: 2001::/16 has tens of thousands
)

func newTable[K uint32 | uint64](starts []K, lists []ListID) table[K] {
	t := table[K]{starts: starts, lists: lists}
	n := min(maxIndexBits, max(1, bits.Len(uint(len(starts)))))
	t.shift = uint8(width[K]() - n) //nolint:gosec // at most 63
	t.index = make([]bucket, 1<<n+1)
	at := 0
	for b := range 1 << n {
		at = t.seek(at, K(b)<<t.shift)
		t.index[b].first = uint32(at) //nolint:gosec // MaxRows bounds ranges
	}
	t.index[1<<n].first = uint32(len(starts) - 1) //nolint:gosec // MaxRows bounds ranges
	for b := range 1 << n {
		if t.index[b+1].first-t.index[b].first >= crowded {
			t.addFine(b)
		}
	}
	return t
}

// addFine gives bucket b a second level.
func (t *table[K]) addFine(b int) {
	at := int(t.index[b].first)
	for i := range 1 << fineBits {
		at = t.seek(at, K(b)<<t.shift|K(i)<<(t.shift-fineBits))
		t.fine = append(t.fine, uint32(at)) //nolint:gosec // MaxRows bounds ranges
	}
	t.fine = append(t.fine, t.index[b+1].first)
	t.index[b].fine = uint32(len(t.fine) / fineSize) //nolint:gosec // at most 65,536 blocks
}

// seek returns the range that holds k, walking up from the range at, which begins at or before k.
func (t *table[K]) seek(at int, k K) int {
	for at+1 < len(t.starts) && t.starts[at+1] <= k {
		at++
	}
	return at
}

// find returns the position of the range that holds k.
func (t *table[K]) find(k K) int {
	b := int(k >> t.shift)
	lo, hi := t.index[b].first, t.index[b+1].first
	if f := t.index[b].fine; f != 0 {
		i := (f-1)*fineSize + uint32(k>>(t.shift-fineBits))&(1<<fineBits-1)
		lo, hi = t.fine[i], t.fine[i+1]
	}
	// The range is the last of lo..hi that begins at or before k; lo does.
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if t.starts[mid] <= k {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return int(lo)
}

// depth returns the length of the shortest prefix around k within its range i. A prefix of n bits stays inside when it holds
// neither the last address before the range nor the first one after it, and it holds an address exactly if the two
// share their first n bits. So n is one more than the bits shared with the nearer of the two.
func (t *table[K]) depth(i int, k K) int {
	n := 0
	if i > 0 {
		n = width[K]() - bits.Len64(uint64(k^(t.starts[i]-1))) + 1
	}
	if i+1 < len(t.starts) {
		n = max(n, width[K]()-bits.Len64(uint64(k^t.starts[i+1]))+1)
	}
	return n
}

func (t *table[K]) lookup(k K) Leaf {
	i := t.find(k)
	return Leaf{List: t.lists[i], Bits: uint8(t.depth(i, k))} //nolint:gosec // at most 64
}

func width[K uint32 | uint64]() int {
	var k K
	return int(unsafe.Sizeof(k)) * 8
}

// tableV6 looks at the first 64 bits only, which is all that resolvers send in ECS and nearly all that maps use. A /64 that is
// not uniform stands as a range of its own whose list is a mark and a number: the tail, searched by the other 64 bits.
type tableV6 struct {
	table[uint64]
	tails []table[uint64]
}

const tailMark ListID = 1 << 31

func (t *tableV6) lookup(hi, lo uint64) Leaf {
	leaf := t.table.lookup(hi)
	if leaf.List&tailMark == 0 {
		return leaf
	}
	leaf = t.tails[leaf.List&^tailMark].lookup(lo)
	leaf.Bits += 64
	return leaf
}
