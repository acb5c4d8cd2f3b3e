package steer

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
)

var million = sync.OnceValue(func() *Map { return bigMap(&testing.B{}, 1_000_000, 1000) })

// addresses draws addresses inside the map's rows of one family.
func addresses(m *Map, f family) []netip.Addr {
	r := rand.New(rand.NewPCG(1, 1))
	rows := m.rows[ECS][f]
	out := make([]netip.Addr, 1<<16)
	for i := range out {
		k := rows[r.IntN(len(rows))].key
		if k.hi |= r.Uint64() >> k.bits; f == v4 {
			k.hi &= 0xffffffff << 32
		}
		k.bits = uint8(f.width())
		out[i] = k.prefix(f).Addr()
	}
	return out
}

func BenchmarkLookup(b *testing.B) {
	for f, name := range []string{"v4", "v6"} {
		m := million()
		addrs := addresses(m, family(f))
		b.Run(name, func(b *testing.B) {
			sum := 0
			for i := 0; b.Loop(); i++ {
				sum += int(m.Lookup(ECS, addrs[i&(1<<16-1)]).Bits)
			}
			_ = sum
		})
		// The same without the index: what the index is worth on this machine.
		b.Run(name+"-without-index", func(b *testing.B) {
			starts4, starts6 := m.tables[ECS].v4.starts, m.tables[ECS].v6.starts
			sum := 0
			for i := 0; b.Loop(); i++ {
				a := addrs[i&(1<<16-1)]
				if a.Is4() {
					b4 := a.As4()
					at, _ := slices.BinarySearch(starts4, binary.BigEndian.Uint32(b4[:]))
					sum += at
				} else {
					b16 := a.As16()
					at, _ := slices.BinarySearch(starts6, binary.BigEndian.Uint64(b16[:8]))
					sum += at
				}
			}
			_ = sum
		})
	}
}

func BenchmarkDecideAndChoose(b *testing.B) {
	m := million()
	list := make([]PoP, 1000)
	for i := range list {
		list[i] = PoP{Name: fmt.Sprintf("pop-%d", i), Drain: i % 3 * 10}
	}
	pops, err := NewPoPs(1, list)
	if err != nil {
		b.Fatal(err)
	}
	addrs := addresses(m, v4)
	has := func(string) bool { return true }
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a := addrs[i&(1<<16-1)]
		d := m.Decide(Client{Resolver: a, ECS: netip.PrefixFrom(a, 24), HasECS: true})
		d.Choose(pops, "", has)
	}
}

func BenchmarkCompile(b *testing.B) {
	m := million()
	b.ReportMetric(float64(len(m.tables[ECS].v4.starts)), "v4-ranges")
	b.ReportMetric(float64(len(m.tables[ECS].v6.starts)), "v6-ranges")
	for b.Loop() {
		compile(&m.rows[ECS], Fallback)
	}
	leaves := 0
	for range m.Leaves(ECS) {
		leaves++
	}
	v6 := &m.tables[ECS].v6
	size := octets(&m.tables[ECS].v4) + octets(&v6.table)
	for i := range v6.tails {
		size += octets(&v6.tails[i])
	}
	b.ReportMetric(float64(leaves), "leaves")
	b.ReportMetric(float64(size)/float64(leaves), "B/leaf") // index included
}

// octets is what a table's slices take.
func octets[K uint32 | uint64](t *table[K]) int {
	return len(t.starts)*width[K]()/8 + 4*len(t.lists) + 8*len(t.index) + 4*len(t.fine)
}

func BenchmarkDecode(b *testing.B) {
	chunks, err := testCodec.Encode(million())
	if err != nil {
		b.Fatal(err)
	}
	size := 0
	for _, c := range chunks {
		size += len(c)
	}
	for b.Loop() {
		if _, err := testCodec.Decode(chunks); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size), "bytes")
	b.ReportMetric(float64(len(chunks)), "chunks")
}

func BenchmarkApply(b *testing.B) {
	m := million()
	next := mapWith(b, m, netip.MustParsePrefix("44.1.2.0/25"))
	delta, err := testCodec.Diff(m, next)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := testCodec.Apply(m, delta); err != nil {
			b.Fatal(err)
		}
	}
}

// mapWith returns m with one more row.
func mapWith(b *testing.B, m *Map, p netip.Prefix) *Map {
	b.Helper()
	builder := NewMapBuilder(m.Name())
	if err := builder.Default(m.Default()); err != nil {
		b.Fatal(err)
	}
	for r := range m.Rows() {
		if err := builder.Add(r.Plane, r.Prefix, r.PoPs); err != nil {
			b.Fatal(err)
		}
	}
	if err := builder.Add(ECS, p, []string{"pop-1"}); err != nil {
		b.Fatal(err)
	}
	next, err := builder.Build(2)
	if err != nil {
		b.Fatal(err)
	}
	return next
}

// BenchmarkStretches compares two maps of a million prefixes that share nothing but their size.
func BenchmarkStretches(b *testing.B) {
	m, other := million(), bigMap(b, 1_000_000, 999)
	for b.Loop() {
		n, share := 0, 0.0
		for s := range Stretches(m, other, ECS) {
			n++
			share += s.Share()
		}
		b.ReportMetric(float64(n), "stretches")
	}
}
