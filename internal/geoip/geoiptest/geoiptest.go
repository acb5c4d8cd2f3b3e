// Package geoiptest writes databases in MaxMind's format for tests. It shares no code with what reads them.
package geoiptest

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"net/netip"
	"os"
	"slices"
	"testing"
)

// A Writer collects networks. Later ones win over what they cover of earlier ones.
type Writer struct {
	Type  string // "GeoLite2-City"
	Epoch uint64 // when it was built, in seconds
	V4    bool   // only IPv4, without aliases

	nodes   []node
	records [][]byte
	index   map[string]int // of a record by its bytes
}

// node is a pair of edges: 0 for nothing, n+1 for node n, -1-i for record i.
type node [2]int

// New returns an empty writer of an IPv6 database, in which IPv4 has its place at ::/96.
func New(databaseType string) *Writer {
	return &Writer{Type: databaseType, Epoch: 1_763_596_800, nodes: make([]node, 1), index: make(map[string]int)}
}

// Add adds a network with a record of maps, slices, strings, floats and unsigned integers.
func (w *Writer) Add(tb testing.TB, prefix string, record map[string]any) {
	tb.Helper()
	w.Insert(netip.MustParsePrefix(prefix), record)
}

// Insert is Add for a prefix.
func (w *Writer) Insert(p netip.Prefix, record map[string]any) {
	w.insert(p, w.record(record))
}

func (w *Writer) record(record map[string]any) int {
	var b bytes.Buffer
	encode(&b, record)
	i, ok := w.index[b.String()]
	if !ok {
		i = len(w.records)
		w.index[b.String()] = i
		w.records = append(w.records, b.Bytes())
	}
	return -1 - i
}

// bits returns the path of a prefix in the tree.
func (w *Writer) bits(p netip.Prefix) (b []byte, n int) {
	if !p.Addr().Is4() {
		a := p.Addr().As16()
		return a[:], p.Bits()
	}
	a := p.Addr().As4()
	if w.V4 {
		return a[:], p.Bits()
	}
	return append(make([]byte, 12), a[:]...), 96 + p.Bits()
}

func (w *Writer) insert(p netip.Prefix, leaf int) {
	b, n := w.bits(p)
	at := 0
	for i := range n {
		side := int(b[i/8] >> (7 - i%8) & 1)
		if i == n-1 {
			w.nodes[at][side] = leaf
			return
		}
		next := w.nodes[at][side]
		if next <= 0 { // push what is there down
			w.nodes = append(w.nodes, node{next, next})
			next = len(w.nodes)
			w.nodes[at][side] = next
		}
		at = next - 1
	}
	w.nodes[0] = node{leaf, leaf} // everything
}

// Alias makes a block's subtree that of IPv4, as MaxMind does with 2002::/16 and others. It must come after all networks.
func (w *Writer) Alias(block string) {
	at := 0
	for range 96 {
		next := w.nodes[at][0]
		if next <= 0 {
			return // IPv4 has no subtree
		}
		at = next - 1
	}
	w.insert(netip.MustParsePrefix(block), at+1)
}

// reachable returns the nodes that the root leads to, numbered anew: what was overwritten is not to be in the file.
func (w *Writer) reachable() []node {
	order, number := []int{0}, map[int]int{0: 0}
	nodes := []node{w.nodes[0]}
	for i := 0; i < len(order); i++ {
		for side, edge := range w.nodes[order[i]] {
			if edge <= 0 {
				continue
			}
			n, ok := number[edge-1]
			if !ok {
				n = len(order)
				number[edge-1] = n
				order, nodes = append(order, edge-1), append(nodes, w.nodes[edge-1])
			}
			nodes[i][side] = n + 1
		}
	}
	return nodes
}

// Bytes returns the file.
func (w *Writer) Bytes() []byte {
	const separator = 16
	nodes := w.reachable()
	count := len(nodes)
	var data []byte
	offsets := make(map[int]int) // of the records that the tree still names
	out := make([]byte, 0, count*8)
	for _, n := range nodes {
		for _, edge := range n {
			v := count
			if edge > 0 {
				v = edge - 1
			} else if edge < 0 {
				offset, ok := offsets[edge]
				if !ok {
					offset = len(data)
					offsets[edge] = offset
					data = append(data, w.records[-1-edge]...)
				}
				v = count + separator + offset
			}
			out = binary.BigEndian.AppendUint32(out, uint32(v)) //nolint:gosec // databases for tests are small
		}
	}
	out = append(out, make([]byte, separator)...)
	out = append(out, data...)
	out = append(out, "\xab\xcd\xefMaxMind.com"...)
	version := uint64(6)
	if w.V4 {
		version = 4
	}
	var meta bytes.Buffer
	encode(&meta, map[string]any{
		"node_count": uint32(count), "record_size": uint16(32), "ip_version": uint16(version), "database_type": w.Type, //nolint:gosec // as above
		"languages": []any{"en"}, "binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0),
		"build_epoch": w.Epoch, "description": map[string]any{"en": "a database for tests"},
	})
	return append(out, meta.Bytes()...)
}

// Write writes the file.
func (w *Writer) Write(tb testing.TB, path string) {
	tb.Helper()
	next := path + ".new"
	if err := os.WriteFile(next, w.Bytes(), 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		tb.Fatal(err)
	}
}

// The types of the data section.
const (
	typeString = 2
	typeDouble = 3
	typeUint16 = 5
	typeUint32 = 6
	typeMap    = 7
	typeUint64 = 9
	typeArray  = 11
)

func control(b *bytes.Buffer, kind, size int) {
	first := byte(kind << 5) //nolint:gosec // databases for tests are small
	if kind > 7 {
		first = 0
	}
	var more []byte
	switch {
	case size < 29:
		first |= byte(size) //nolint:gosec // databases for tests are small
	case size < 285:
		first |= 29
		more = []byte{byte(size - 29)}
	default:
		first |= 30
		more = binary.BigEndian.AppendUint16(nil, uint16(size-285)) //nolint:gosec // databases for tests are small
	}
	b.WriteByte(first)
	if kind > 7 {
		b.WriteByte(byte(kind - 7)) //nolint:gosec // databases for tests are small
	}
	b.Write(more)
}

func encode(b *bytes.Buffer, value any) {
	switch v := value.(type) {
	case string:
		control(b, typeString, len(v))
		b.WriteString(v)
	case float64:
		control(b, typeDouble, 8)
		b.Write(binary.BigEndian.AppendUint64(nil, math.Float64bits(v)))
	case uint16:
		encodeUint(b, typeUint16, uint64(v))
	case uint32:
		encodeUint(b, typeUint32, uint64(v))
	case uint64:
		encodeUint(b, typeUint64, v)
	case []any:
		control(b, typeArray, len(v))
		for _, e := range v {
			encode(b, e)
		}
	case map[string]any:
		control(b, typeMap, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			encode(b, k)
			encode(b, v[k])
		}
	}
}

func encodeUint(b *bytes.Buffer, kind int, v uint64) {
	digits := bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, v), "\x00")
	control(b, kind, len(digits))
	b.Write(digits)
}
