package steer

import (
	"fmt"
	"net/netip"
	"slices"
)

// A Layer holds rows of a map that yield to all rows of [MapBuilder.Add] and to every layer made before it, however much longer
// their own prefixes are: what lies beneath counts only where nothing lies above.
//
// Its rows say where networks are, not what somebody decided for a prefix. So those inside a special-purpose block (10.0.0.0/8)
// or inside IPv6 that carries IPv4 addresses ([CarriesIPv4]) are left out: there a row would switch off the rule of its own that the block has.
type Layer struct {
	on   [planes]bool
	rows rowSet
}

// Beneath adds an empty layer to the planes, beneath all others.
func (b *MapBuilder) Beneath(on ...Plane) *Layer {
	l := &Layer{}
	for _, p := range on {
		if p < planes {
			l.on[p] = true
		}
	}
	b.layers = append(b.layers, l)
	return l
}

// List returns the number of a list for [Layer.Add]; the number holds until the map is built.
func (b *MapBuilder) List(list []string) (ListID, error) { return b.lists.intern(list) }

// Add adds a row with a list of [MapBuilder.List]. The rows of a family come in ascending order and do not overlap. Neighbours that have
// the same list and make up a shorter prefix become one row.
func (l *Layer) Add(prefix netip.Prefix, list ListID) error {
	if err := CheckPrefix(prefix); err != nil {
		return err
	}
	if specialOf(prefix) >= 0 || carriesIPv4(prefix) {
		return nil
	}
	f, k := keyOf(prefix)
	rows := l.rows[f]
	if n := len(rows); n > 0 {
		if hi, lo := rows[n-1].last(); k.hi < hi || k.hi == hi && k.lo <= lo {
			return fmt.Errorf("prefix %s overlaps %s or comes after it", rows[n-1].prefix(f), prefix)
		}
	}
	rows = append(rows, row{k, list})
	for n := len(rows); n > 1 && rows[n-2].list == list && rows[n-2].sibling(rows[n-1].key); n = len(rows) {
		rows = rows[:n-1]
		rows[n-2].bits--
	}
	if l.rows[f] = rows; l.rows.len() > MaxRows {
		return fmt.Errorf("prefix %s: map %w, at most %d rows", prefix, ErrTooLarge, MaxRows)
	}
	return nil
}

// Len returns how many rows the layer has.
func (l *Layer) Len() int { return l.rows.len() }

// sibling tells whether o is the other half, the higher one, of the prefix that is one bit shorter than k.
func (k key) sibling(o key) bool {
	if k.bits != o.bits || k.bits == 0 {
		return false
	}
	if k.bits <= 64 {
		bit := uint64(1) << (64 - k.bits)
		return k.hi&bit == 0 && k.hi|bit == o.hi
	}
	bit := uint64(1) << (128 - k.bits)
	return k.hi == o.hi && k.lo&bit == 0 && k.lo|bit == o.lo
}

// beneath joins the rows of a layer to those above it, both in ascending order: a row that one above covers does not count.
func beneath(above, layer []row) []row {
	if len(layer) == 0 {
		return above
	}
	rows := make([]row, 0, len(above)+len(layer))
	var cover key // the widest row above that begins last
	covered := false
	for len(layer) > 0 {
		for len(above) > 0 && above[0].compare(layer[0].key) <= 0 {
			if !covered || !cover.covers(above[0].key) {
				cover, covered = above[0].key, true
			}
			rows = append(rows, above[0])
			above = above[1:]
		}
		if !covered || !cover.covers(layer[0].key) {
			rows = append(rows, layer[0])
		}
		layer = layer[1:]
	}
	return append(rows, above...)
}

// CarriesIPv4 returns the IPv6 blocks whose addresses carry IPv4 ones, which IPv4 rows decide for, see [Map.Lookup].
func CarriesIPv4() []netip.Prefix {
	blocks := make([]netip.Prefix, len(embeddings))
	for i, e := range embeddings {
		blocks[i] = e.block
	}
	return blocks
}

// carriesIPv4 tells whether p lies in one of the blocks.
func carriesIPv4(p netip.Prefix) bool {
	return p.Addr().Is6() && slices.ContainsFunc(embeddings[:], func(e embedding) bool {
		return e.block.Bits() <= p.Bits() && containsMapped(e.block, p.Addr())
	})
}
