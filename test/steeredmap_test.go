package test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// A steeredMap is a random map with the means to say by hand what it means: who
// gets which list, and how wide a block around a client gets the same.
type steeredMap struct {
	pops    []string // those of the lists
	hole    string   // the list of clients that no row covers
	rows    []mapRow
	borders []netip.Addr // where the list may change: each row's first address, and the one after its last
}

type mapRow struct {
	prefix netip.Prefix
	list   string // "p0, p3"
}

// Prefixes of random maps nest below these, which hold nothing special.
var mapRoots = []struct {
	prefix netip.Prefix
	deep   int // longest prefix below it: what resolvers send
}{
	{netip.MustParsePrefix("16.0.0.0/4"), 24},
	{netip.MustParsePrefix("80.0.0.0/5"), 24},
	{netip.MustParsePrefix("2600::/8"), 56},
	{netip.MustParsePrefix("2a00::/11"), 56},
}

// randomSteeredMap makes a map of at most n rows over as many PoPs as named,
// many of them inside one another or beside one another.
func randomSteeredMap(rnd *rand.Rand, n int, pops []string) *steeredMap {
	m := &steeredMap{pops: pops}
	list := func() string {
		names := slices.Clone(pops)
		rnd.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		return strings.Join(names[:1+rnd.IntN(min(3, len(names)))], ", ")
	}
	m.hole = list()
	taken := map[netip.Prefix]bool{}
	for range n {
		root := mapRoots[rnd.IntN(len(mapRoots))]
		above, deep := root.prefix, root.deep
		if len(m.rows) > 0 && rnd.IntN(3) > 0 {
			above = m.rows[rnd.IntN(len(m.rows))].prefix
			if deep = 24; above.Addr().Is6() {
				deep = 56
			}
		}
		bits := min(above.Bits()+1+rnd.IntN(12), deep)
		prefix := netip.PrefixFrom(randomAddress(rnd, above), bits).Masked()
		if taken[prefix] {
			continue
		}
		taken[prefix] = true
		m.rows = append(m.rows, mapRow{prefix, list()})
	}
	slices.SortFunc(m.rows, func(a, b mapRow) int { return a.prefix.Compare(b.prefix) })
	for _, r := range m.rows {
		m.borders = append(m.borders, r.prefix.Addr())
		if next := lastAddress(r.prefix).Next(); next.IsValid() {
			m.borders = append(m.borders, next)
		}
	}
	return m
}

// list is the list of a client, by trying all rows; row is the one that gives
// it, invalid in a hole.
func (m *steeredMap) list(client netip.Addr) (list string, row netip.Prefix) {
	list = m.hole
	for _, r := range m.rows {
		if r.prefix.Contains(client) && (!row.IsValid() || r.prefix.Bits() > row.Bits()) {
			list, row = r.list, r.prefix
		}
	}
	return list, row
}

// pop is the first of the client's list.
func (m *steeredMap) pop(client netip.Addr) string {
	list, _ := m.list(client)
	pop, _, _ := strings.Cut(list, ",")
	return pop
}

// scope is the length of the widest block around the client in which everybody
// gets the same (RFC 7871 7.2.1). Holes are like one another, but not like rows:
// the resolver plane decides for them.
func (m *steeredMap) scope(client netip.Addr) int {
	wanted, row := m.list(client)
	same := func(a netip.Addr) bool {
		list, in := m.list(a)
		return in.IsValid() == row.IsValid() && list == wanted
	}
	for bits := range client.BitLen() {
		block := netip.PrefixFrom(client, bits).Masked()
		uniform := same(block.Addr())
		for _, b := range m.borders {
			uniform = uniform && (!block.Contains(b) || same(b))
		}
		if uniform {
			return bits
		}
	}
	return client.BitLen()
}

// clients are addresses at both sides of every border, and some inside and
// outside the rows.
func (m *steeredMap) clients(rnd *rand.Rand) []netip.Addr {
	all := make([]netip.Addr, 0, 2*len(m.borders)+len(m.rows)+10*len(mapRoots))
	for _, b := range m.borders {
		all = append(all, b, b.Prev())
	}
	for _, r := range m.rows {
		all = append(all, randomAddress(rnd, r.prefix))
	}
	for _, root := range mapRoots {
		for range 10 {
			all = append(all, randomAddress(rnd, root.prefix))
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// text is the map as a map file, its rows under the given heading.
func (m *steeredMap) text(heading, more string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "default: [%s]\n%s%s:\n", m.hole, more, heading)
	for _, r := range m.rows {
		fmt.Fprintf(&b, "  %q: [%s]\n", r.prefix, r.list)
	}
	return b.String()
}

// address is the A record that a PoP's clients get.
func (m *steeredMap) address(pop string) string {
	return fmt.Sprintf("192.0.2.%d", 1+slices.Index(m.pops, pop))
}

// popOf is the inverse of address, for the records of an answer.
func (m *steeredMap) popOf(values string) string {
	for _, p := range m.pops {
		if m.address(p) == values {
			return p
		}
	}
	return cmp.Or(values, "nothing")
}

// serve publishes the map under the heading, with a wildcard that it steers, and
// serves both; the Corefile has more in the block.
func (m *steeredMap) serve(t *testing.T, heading, moreMap, moreBlock string) (addr string) {
	t.Helper()
	return m.serveFrom(t, "dir://"+t.TempDir(), heading, moreMap, moreBlock)
}

// serveFrom is serve with a store that the caller knows, which is initialised.
func (m *steeredMap) serveFrom(t *testing.T, url, heading, moreMap, moreBlock string) (addr string) {
	t.Helper()
	var pops, zone strings.Builder
	zone.WriteString("$ORIGIN example.org.\n@ 3600 IN SOA ns h 1 2 3 4 5\n@ 3600 IN NS ns\nns 3600 IN A 192.0.2.254\n*.www 3600 IN A 192.0.2.253\n")
	for i, p := range m.pops {
		fmt.Fprintf(&pops, "%s: {lat: %d, lon: 0}\n", p, i)
		fmt.Fprintf(&zone, "*.www 3600 IN A %s ;@ pop=%s map=edge\n", m.address(p), p)
	}
	popctl(t, url, 0, "init")
	popctl(t, url, 0, "pop", "apply", writeFile(t, "pops.yaml", pops.String()))
	popctl(t, url, 0, "map", "publish", "edge", writeFile(t, "edge.yaml", m.text(heading, moreMap)))
	popctl(t, url, 0, "zone", "publish", "example.org", writeFile(t, "example.org.zone", zone.String()))
	port := freePort(t)
	startCoreDNS(t, fmt.Sprintf("example.org:%d {\n bind 127.0.0.1\n popmap\n zkzone {\n source %s\n }\n errors\n%s}\n", port, url, moreBlock), loopback(port))
	return loopback(port)
}

// randomAddress is an address inside a prefix.
func randomAddress(rnd *rand.Rand, p netip.Prefix) netip.Addr {
	octets := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(octets); bit++ {
		octets[bit/8] |= byte(rnd.IntN(2)) << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(octets)
	return a
}

// lastAddress is the last address of a prefix.
func lastAddress(p netip.Prefix) netip.Addr {
	octets := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(octets); bit++ {
		octets[bit/8] |= 1 << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(octets)
	return a
}
