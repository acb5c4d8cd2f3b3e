package steer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// gold is the slow, obvious twin of a Map's plane: rows in a slice, longest match by trying all.
type gold struct {
	rows []Row
	hole string
	v4in []goldEmbedding // the IPv6 blocks that IPv4 rows decide
	// The list changes only where a row begins or just behind one: the first addresses of all runs, with their lists.
	points []goldPoint
}

type goldPoint struct {
	addr netip.Addr
	list string
}

// goldEmbedding is an IPv6 block whose addresses carry IPv4 ones, written down apart from the code under test.
type goldEmbedding struct {
	block netip.Prefix
	from  int // octet where the IPv4 address begins
	flip  byte
}

var goldEmbeddings = []goldEmbedding{
	{netip.MustParsePrefix("::ffff:0:0/96"), 12, 0},
	{netip.MustParsePrefix("64:ff9b::/96"), 12, 0},
	{netip.MustParsePrefix("2001::/32"), 12, 0xff},
	{netip.MustParsePrefix("2002::/16"), 2, 0},
}

// contains is Prefix.Contains for v4-mapped blocks too.
func (e goldEmbedding) contains(a netip.Addr) bool {
	p, err := a.Prefix(e.block.Bits())
	return err == nil && a.Is6() && p.Addr() == e.block.Addr()
}

func (e goldEmbedding) unwrap(a netip.Addr) netip.Addr {
	b := a.As16()
	var inner [4]byte
	for i := range inner {
		inner[i] = b[e.from+i] ^ e.flip
	}
	return netip.AddrFrom4(inner)
}

// wrap returns the first and the last address of e that carry a, all other bits of Teredo's zero.
func (e goldEmbedding) wrap(a netip.Addr) (first, last netip.Addr) {
	b, inner := e.block.Addr().As16(), a.As4()
	for i := range inner {
		b[e.from+i] = inner[i] ^ e.flip
	}
	first = netip.AddrFrom16(b)
	for i := e.from + 4; i < 16; i++ {
		b[i] = 0xff
	}
	return first, netip.AddrFrom16(b)
}

// embeddings are those that no IPv6 row lies in, if there is an IPv4 row at all.
func (g *gold) embeddings() (in []goldEmbedding) {
	if !slices.ContainsFunc(g.rows, func(r Row) bool { return r.Prefix.Addr().Is4() }) {
		return nil
	}
	for _, e := range goldEmbeddings {
		inside := func(r Row) bool { return r.Prefix.Bits() >= e.block.Bits() && e.contains(r.Prefix.Addr()) }
		if !slices.ContainsFunc(g.rows, inside) {
			in = append(in, e)
		}
	}
	return in
}

func newGold(rows []Row, hole string) *gold {
	g := &gold{rows: rows, hole: hole}
	g.v4in = g.embeddings()
	for _, zero := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		g.points = append(g.points, goldPoint{zero, g.list(zero)})
	}
	for _, r := range rows {
		first := r.Prefix.Addr()
		g.points = append(g.points, goldPoint{first, g.list(first)})
		if next := lastAddr(r.Prefix).Next(); next.IsValid() {
			g.points = append(g.points, goldPoint{next, g.list(next)})
		}
	}
	g.addEmbeddedPoints()
	return g
}

// addEmbeddedPoints adds what lies at both sides of each border of an embedding, and every list of IPv4 inside it.
func (g *gold) addEmbeddedPoints() {
	add := func(a netip.Addr) {
		if a.IsValid() {
			g.points = append(g.points, goldPoint{a, g.list(a)})
		}
	}
	for _, p := range slices.Clone(g.points) {
		for _, e := range g.v4in {
			if p.addr.Is4() {
				first, _ := e.wrap(p.addr)
				add(first)
			}
		}
	}
	for _, e := range g.v4in {
		last := lastAddr6(e.block)
		for _, a := range []netip.Addr{e.block.Addr().Prev(), e.block.Addr(), last, last.Next()} {
			add(a)
		}
	}
}

func (g *gold) list(a netip.Addr) string {
	for _, e := range g.v4in {
		if e.contains(a) {
			return g.list(e.unwrap(a))
		}
	}
	best, list := -1, g.hole
	for _, r := range g.rows {
		if r.Prefix.Bits() > best && r.Prefix.Contains(a) {
			best, list = r.Prefix.Bits(), listKey(r.PoPs)
		}
	}
	return list
}

// uniform tells whether every address of block has this list. It is exact: a block that has another list somewhere has a point
// of it where that begins, or begins with it.
func (g *gold) uniform(block netip.Prefix, list string) bool {
	if g.list(block.Addr()) != list {
		return false
	}
	for _, e := range g.v4in {
		if e.contains(block.Addr()) && block.Bits() >= e.block.Bits() {
			inner, _ := e.unwrap(block.Addr()).Prefix(min(32, max(0, block.Bits()-8*e.from)))
			return g.uniform(inner, list)
		}
	}
	for _, p := range g.points {
		if p.list != list && contains(block, p.addr) {
			return false
		}
	}
	return true
}

// contains is Prefix.Contains for v4-mapped blocks too.
func contains(block netip.Prefix, a netip.Addr) bool {
	return block.Addr().BitLen() == a.BitLen() && containsMapped(block, a)
}

// bordersEmbedding tells whether block holds a whole embedding: there the scope keeps outside, so as not to merge with it.
func (g *gold) bordersEmbedding(block netip.Prefix) bool {
	return slices.ContainsFunc(g.v4in, func(e goldEmbedding) bool {
		p, err := e.block.Addr().Prefix(block.Bits())
		return err == nil && block.Addr().Is6() && block.Bits() <= e.block.Bits() && p.Addr() == block.Addr()
	})
}

// lastAddr6 is lastAddr for a prefix that stays IPv6, v4-mapped or not.
func lastAddr6(p netip.Prefix) netip.Addr {
	b := p.Addr().As16()
	for i := p.Bits(); i < 128; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom16(b)
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().As16()
	for i := p.Bits() + 128 - p.Addr().BitLen(); i < 128; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	if p.Addr().Is4() {
		return netip.AddrFrom16(b).Unmap()
	}
	return netip.AddrFrom16(b)
}

var goldLists = [][]string{{"a"}, {"b"}, {"c"}, {"a", "b"}, {"b", "a"}}

// randomPrefix draws from a small part of the space, so that prefixes nest, meet, and share their first addresses.
func randomPrefix(r *rand.Rand) netip.Prefix {
	var p netip.Prefix
	if r.IntN(2) == 0 {
		a := [4]byte{byte(44 + r.IntN(2)), byte(r.IntN(3)), byte(r.IntN(256)), byte(r.Uint32())}
		if r.IntN(8) == 0 {
			a = [4]byte{byte(r.Uint32()), 0, 0, 0}
		}
		p = netip.PrefixFrom(netip.AddrFrom4(a), r.IntN(33))
	} else {
		a := [16]byte{0: 0x20, 1: 1, 7: byte(r.IntN(4)), 8: byte(r.IntN(2)) * 0x80, 15: byte(r.IntN(3))}
		switch r.IntN(8) {
		case 0:
			a = [16]byte{byte(r.Uint32())}
		case 1: // the edge of the space, in both halves
			for i := range a {
				a[i] = 0xff
			}
		case 2:
			for i := 8; i < 16; i++ {
				a[i] = 0xff
			}
		}
		bits := r.IntN(129)
		if r.IntN(2) == 0 {
			bits = 60 + r.IntN(9) // around the border between table and tail
		}
		p = netip.PrefixFrom(netip.AddrFrom16(a), bits)
	}
	return p.Masked()
}

// randomAddr draws an address at or near a border of a row, where mistakes live, or anywhere.
func randomAddr(r *rand.Rand, rows []Row) netip.Addr {
	p := randomPrefix(r)
	if len(rows) > 0 && r.IntN(3) > 0 {
		p = rows[r.IntN(len(rows))].Prefix
	}
	if r.IntN(8) == 0 {
		return randomEmbedded(r, p)
	}
	a := p.Addr()
	switch r.IntN(5) {
	case 0:
		a = lastAddr(p)
	case 1:
		a = a.Prev()
	case 2:
		a = lastAddr(p).Next()
	case 3:
		b := a.As16()
		b[15-r.IntN(4)] ^= byte(r.Uint32())
		if a = netip.AddrFrom16(b); p.Addr().Is4() {
			a = a.Unmap()
		}
	}
	if !a.IsValid() {
		return p.Addr()
	}
	return a
}

// randomEmbedded draws an IPv6 address in or beside an embedding, near a border of p if that is IPv4.
func randomEmbedded(r *rand.Rand, p netip.Prefix) netip.Addr {
	inner := netip.AddrFrom4([4]byte{byte(43 + r.IntN(4)), byte(r.IntN(3)), byte(r.Uint32()), byte(r.Uint32())})
	if p.Addr().Is4() {
		inner = []netip.Addr{p.Addr(), lastAddr(p), p.Addr().Prev(), lastAddr(p).Next()}[r.IntN(4)]
		if !inner.IsValid() {
			inner = p.Addr()
		}
	}
	first, last := goldEmbeddings[r.IntN(len(goldEmbeddings))].wrap(inner)
	a := []netip.Addr{first, last, first.Prev(), last.Next()}[r.IntN(4)]
	if !a.IsValid() {
		return first
	}
	return a
}

func randomMap(tb testing.TB, r *rand.Rand) *Map {
	tb.Helper()
	b := NewMapBuilder("test")
	if err := b.Default(goldLists[r.IntN(len(goldLists))]); err != nil {
		tb.Fatal(err)
	}
	for range r.IntN(24) {
		p, l := randomPrefix(r), goldLists[r.IntN(len(goldLists))]
		for plane := range planes {
			if r.IntN(3) > 0 && !b.Has(plane, p) {
				if err := b.Add(plane, p, l); err != nil {
					tb.Fatal(err)
				}
			}
		}
	}
	m, err := b.Build(1)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func goldOf(m *Map, p Plane) *gold {
	hole := "hole"
	if p == Resolver {
		hole = listKey(m.Default())
	}
	rows := slices.Collect(m.Rows())
	return newGold(slices.DeleteFunc(rows, func(r Row) bool { return r.Plane != p }), hole)
}

func leafText(m *Map, l Leaf) string {
	if l.List == Fallback {
		return "hole"
	}
	return listKey(m.PoPs(l.List))
}

// checkLeaf compares one lookup with the oracle: the list is the longest match's, the block has no other, its parent has.
func checkLeaf(m *Map, p Plane, g *gold, a netip.Addr) error {
	leaf := m.Lookup(p, a)
	got := leafText(m, leaf)
	if want := g.list(a); got != want {
		return fmt.Errorf("%s of %s: list %s, longest match has %s", p, a, got, want)
	}
	block, err := a.Prefix(int(leaf.Bits))
	if err != nil {
		return err
	}
	if !g.uniform(block, got) {
		return fmt.Errorf("%s of %s: block %s is not uniformly %s", p, a, block, got)
	}
	if leaf.Bits > 0 {
		if parent, _ := a.Prefix(int(leaf.Bits) - 1); g.uniform(parent, got) && !g.bordersEmbedding(parent) {
			return fmt.Errorf("%s of %s: block %s is not minimal, %s is uniformly %s too", p, a, block, parent, got)
		}
	}
	return nil
}

func TestLookupAgreesWithBruteForceAndScopeIsMinimal(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 2))
	maps := 6000
	if testing.Short() {
		maps = 600
	}
	cases := 0
	for range maps {
		m := randomMap(t, r)
		for p := range planes {
			g := goldOf(m, p)
			for range 100 {
				a := randomAddr(r, g.rows)
				if err := checkLeaf(m, p, g, a); err != nil {
					t.Fatalf("seed %d: %v\nrows %v", seed, err, g.rows)
				}
				cases++
			}
		}
	}
	t.Logf("%d lookups, seed %d", cases, seed)
}

// TestCrowdedTablesAgreeWithBruteForce reaches what small maps do not: the index at full size and its second level.
func TestCrowdedTablesAgreeWithBruteForce(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 3))
	b := NewMapBuilder("test")
	if err := b.Default(goldLists[0]); err != nil {
		t.Fatal(err)
	}
	for range 3000 {
		v := r.Uint32()
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{44, byte(v), byte(v >> 8), byte(v >> 16)}), 12+r.IntN(21))
		if r.IntN(2) == 0 {
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, byte(v), byte(v >> 8), byte(v >> 16)}), 20+r.IntN(60))
		}
		if p = p.Masked(); !b.Has(ECS, p) {
			if err := b.Add(ECS, p, goldLists[r.IntN(len(goldLists))]); err != nil {
				t.Fatal(err)
			}
		}
	}
	m, err := b.Build(1)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.tables[ECS].v4.fine) == 0 || len(m.tables[ECS].v6.fine) == 0 {
		t.Fatal("the test does not reach the second index level")
	}
	g := goldOf(m, ECS)
	for range 20_000 {
		if err := checkLeaf(m, ECS, g, randomAddr(r, g.rows)); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// TestDecisionHoldsForItsWholeBlock is what a caching resolver relies on: whoever else is in the block that the scope names gets
// the same list by the same resolver.
func TestDecisionHoldsForItsWholeBlock(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 4))
	for range 1500 {
		m := randomMap(t, r)
		rows := slices.Collect(m.Rows())
		for range 50 {
			c := Client{Resolver: randomAddr(r, rows), HasECS: true}
			a := randomAddr(r, rows)
			c.ECS, _ = a.Prefix(1 + r.IntN(a.BitLen()))
			d := m.Decide(c)
			if d.Scope == 0 {
				continue
			}
			if d.Block.Bits() != int(d.Scope) || !contains(d.Block, c.ECS.Addr()) {
				t.Fatalf("seed %d: %+v: block %s does not bear scope %d around the client", seed, c, d.Block, d.Scope)
			}
			for range 8 {
				other := randomAddr(r, rows)
				for _, o := range []netip.Addr{other, d.Block.Addr(), lastAddr(d.Block)} {
					if _, private := m.privateBlock(netip.PrefixFrom(o, o.BitLen())); private || !contains(d.Block, o) {
						continue // section 10 stands above the table
					}
					e := m.Decide(Client{Resolver: c.Resolver, ECS: netip.PrefixFrom(o, o.BitLen()), HasECS: true})
					if !slices.Equal(e.List, d.List) || e.Block != d.Block {
						t.Fatalf("seed %d: %+v gets %v in %s, but %s in it gets %v in %s\nrows %v", seed, c, d.List, d.Block, o, e.List, e.Block, rows)
					}
				}
			}
		}
	}
}
