package steer

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"strings"

	"github.com/popdns/popdns/internal/setsum"
)

// Map is an immutable map from prefixes to ordered PoP lists, on two planes, with the tables compiled from it. It is safe for
// concurrent use, and lookups allocate nothing.
type Map struct {
	name    string
	serial  uint32
	lists   [][]string // by ListID, distinct
	initial ListID     // the default list
	rows    [planes]rowSet
	tables  [planes]planeTable
	inside  specialSet // special-purpose blocks that the ecs plane has rows inside of
	sum     setsum.Sum // of the items that item.go makes
}

// planeTable is one plane compiled.
type planeTable struct {
	v4     table[uint32]
	v6     tableV6
	embeds embedSet // which IPv6 blocks are looked up in v4
}

// Leaf is the result of one lookup.
type Leaf struct {
	List ListID // Fallback in a hole of the ecs plane
	Bits uint8  // length of the shortest prefix around the address whose every address has the same List: the ECS scope
}

// Name returns the map's name, "" when it was read from a file and not yet given one.
func (m *Map) Name() string { return m.name }

// Serial returns the map's version number.
func (m *Map) Serial() uint32 { return m.serial }

// Default returns the list of every address that no row of the resolver plane covers. It must not be changed.
func (m *Map) Default() []string { return m.lists[m.initial] }

// Len returns the number of rows of both planes.
func (m *Map) Len() int { return m.rows[Resolver].len() + m.rows[ECS].len() }

// HasPlane tells whether p has rows of its own. Without an ecs plane ECS never decides; without rows in the resolver plane
// every resolver gets the default list.
func (m *Map) HasPlane(p Plane) bool { return p < planes && m.rows[p].len() > 0 }

// PoPs returns the list that l names, nil for Fallback. It must not be changed.
func (m *Map) PoPs(l ListID) []string {
	if int(l) >= len(m.lists) {
		return nil
	}
	return m.lists[l]
}

// Lists yields every distinct list that the map uses, the default list included, in no particular order.
func (m *Map) Lists() iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for _, l := range m.lists {
			if !yield(l) {
				return
			}
		}
	}
}

// Rows yields all rows: the resolver plane, then the ecs plane; within one IPv4, then IPv6; by address, shorter prefix first.
func (m *Map) Rows() iter.Seq[Row] {
	return func(yield func(Row) bool) {
		for p := range planes {
			for f := range families {
				for _, r := range m.rows[p][f] {
					if !yield(Row{Plane: p, Prefix: r.prefix(f), PoPs: m.lists[r.list]}) {
						return
					}
				}
			}
		}
	}
}

// Row returns the list of exactly this row, not of the longest match.
func (m *Map) Row(p Plane, prefix netip.Prefix) ([]string, bool) {
	if p >= planes || !prefix.IsValid() {
		return nil, false
	}
	f, k := keyOf(prefix.Masked())
	i, ok := findRow(m.rows[p][f], k)
	if !ok {
		return nil, false
	}
	return m.lists[m.rows[p][f][i].list], true
}

// WithName returns the same map under another name, sharing everything.
func (m *Map) WithName(name string) *Map {
	c := *m
	c.name = name
	return &c
}

// Lookup finds the leaf of a, which must be valid, in plane p: the list of the longest matching row and the scope. In the
// resolver plane the space without rows has the default list; in the ecs plane it has Fallback. An IPv6 address that carries
// an IPv4 one (see embedding) has the list of that, and Bits counts the bits in front too. BenchmarkLookup: three quarters of a plain binary search, both with a million rows.
func (m *Map) Lookup(p Plane, a netip.Addr) Leaf {
	t := &m.tables[p]
	b := a.As16()
	if a.Is4() {
		return t.v4.lookup(binary.BigEndian.Uint32(b[12:]))
	}
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	leaf := t.v6.lookup(hi, lo)
	if i := leaf.List - embedMark; i < ListID(len(embeddings)) {
		return embeddings[i].lookup(&t.v4, hi, lo)
	}
	return leaf
}

// listKey is the canonical text of a list, by which lists are told apart: a PoP name holds no comma.
func listKey(list []string) string { return strings.Join(list, ",") }
