package steer

import (
	"encoding/csv"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// mapOf builds a map from "prefix list" lines per plane.
func mapOf(tb testing.TB, initial string, resolver, ecs map[string]string) *Map {
	tb.Helper()
	b := NewMapBuilder("test")
	if err := b.Default(strings.Split(initial, ",")); err != nil {
		tb.Fatal(err)
	}
	for p, rows := range map[Plane]map[string]string{Resolver: resolver, ECS: ecs} {
		for prefix, list := range rows {
			if err := b.Add(p, netip.MustParsePrefix(prefix), strings.Split(list, ",")); err != nil {
				tb.Fatal(err)
			}
		}
	}
	m, err := b.Build(7)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func TestWorkedVectorsOfTheScopeAlgorithm(t *testing.T) {
	rows := map[string]string{"44.0.0.0/8": "a", "44.1.0.0/16": "b", "45.9.2.128/25": "b", "2a0f:db8::/32": "a", "2a0f:db8:1::/48": "b"}
	m := mapOf(t, "c", nil, rows)
	for _, c := range []struct {
		ecs   string
		list  string
		scope uint8
	}{
		{"44.2.3.0/24", "a", 15}, {"44.0.0.0/24", "a", 16}, {"44.128.0.0/24", "a", 9}, {"44.1.2.0/24", "b", 16},
		{"43.255.255.0/24", "c", 6}, {"45.9.2.0/24", "c", 25}, {"88.0.113.0/24", "c", 2}, {"2a0f:db8:2::/56", "a", 47},
		{"44.0.0.0/8", "a", 16}, // a source that spans leaves: the first address's, longer than the source
	} {
		d := m.Decide(Client{Resolver: netip.MustParseAddr("192.0.2.53"), ECS: netip.MustParsePrefix(c.ecs), HasECS: true})
		if listKey(d.List) != c.list || d.Scope != c.scope {
			t.Errorf("%s: %v /%d, want %s /%d", c.ecs, d.List, d.Scope, c.list, c.scope)
		}
	}
}

func TestDecideFollowsRFC7871(t *testing.T) {
	two := mapOf(t, "def",
		map[string]string{"198.51.100.0/24": "res", "2001:db8:53::/48": "res6"},
		map[string]string{"203.0.113.0/24": "cli", "2001:db8:c::/48": "cli6", "2001:db8:d::/80": "tail"})
	lab := mapOf(t, "def", nil, map[string]string{"10.1.0.0/16": "lab", "203.0.113.0/24": "cli"})
	v6only := mapOf(t, "def", nil, map[string]string{"2006::/16": "cli6"})
	own := mapOf(t, "def", nil, map[string]string{"203.0.113.0/24": "cli", "2002:cb00::/24": "own"})
	noECS := mapOf(t, "def", map[string]string{"198.51.100.0/24": "res"}, nil)
	for _, c := range []struct {
		name, resolver, ecs string
		m                   *Map
		list                string
		plane               Plane
		scope               uint8
		block               string
		reason              Reason
	}{
		{"no ECS, mapped resolver", "198.51.100.9", "", two, "res", Resolver, 0, "198.51.100.0/24", ReasonResolver},
		{"no ECS, v4-mapped resolver address", "::ffff:198.51.100.9", "", two, "res", Resolver, 0, "198.51.100.0/24", ReasonResolver},
		{"no ECS, unmapped resolver", "9.9.9.9", "", two, "def", Resolver, 0, "0.0.0.0/1", ReasonDefault},
		{"no ECS, resolver with a zone", "fe80::1%eth0", "", two, "def", Resolver, 0, "8000::/1", ReasonDefault},
		{"source 0", "198.51.100.9", "0.0.0.0/0", two, "res", Resolver, 0, "198.51.100.0/24", ReasonResolver},
		{"source 0, IPv6", "198.51.100.9", "::/0", two, "res", Resolver, 0, "198.51.100.0/24", ReasonResolver},
		{"no ecs plane", "198.51.100.9", "203.0.113.0/24", noECS, "res", Resolver, 0, "198.51.100.0/24", ReasonResolver},
		{"matched", "198.51.100.9", "203.0.113.0/24", two, "cli", ECS, 24, "203.0.113.0/24", ReasonECS},
		{"matched, host bits in the prefix", "198.51.100.9", "203.0.113.77/25", two, "cli", ECS, 24, "203.0.113.0/24", ReasonECS},
		{"matched, IPv6 by an IPv4 resolver", "198.51.100.9", "2001:db8:c:1::/56", two, "cli6", ECS, 48, "2001:db8:c::/48", ReasonECS},
		{"matched beyond /64", "198.51.100.9", "2001:db8:d::/128", two, "tail", ECS, 80, "2001:db8:d::/80", ReasonECS},
		{"hole beside a prefix beyond /64", "198.51.100.9", "2001:db8:d:0:1::/96", two, "res", Resolver, 80, "2001:db8:d:0:1::/80", ReasonHole},
		{"hole, mapped resolver", "198.51.100.9", "203.0.112.0/24", two, "res", Resolver, 24, "203.0.112.0/24", ReasonHole},
		{"hole, unmapped resolver", "9.9.9.9", "9.9.9.0/24", two, "def", Resolver, 1, "0.0.0.0/1", ReasonHole},
		{"private", "198.51.100.9", "10.1.2.0/24", two, "res", Resolver, 8, "10.0.0.0/8", ReasonPrivate},
		{"private 172.16/12", "198.51.100.9", "172.20.1.0/24", two, "res", Resolver, 12, "172.16.0.0/12", ReasonPrivate},
		{"private 192.168/16", "198.51.100.9", "192.168.1.0/24", two, "res", Resolver, 16, "192.168.0.0/16", ReasonPrivate},
		{"shared", "198.51.100.9", "100.100.1.0/24", two, "res", Resolver, 10, "100.64.0.0/10", ReasonPrivate},
		{"just beside shared", "9.9.9.9", "100.128.0.0/24", two, "def", Resolver, 1, "0.0.0.0/1", ReasonHole},
		{"loopback", "198.51.100.9", "127.0.0.1/32", two, "res", Resolver, 8, "127.0.0.0/8", ReasonPrivate},
		{"link-local", "198.51.100.9", "169.254.7.0/24", two, "res", Resolver, 16, "169.254.0.0/16", ReasonPrivate},
		{"unique local", "198.51.100.9", "fd12:3456::/48", two, "res", Resolver, 7, "fc00::/7", ReasonPrivate},
		{"IPv6 link-local", "198.51.100.9", "fe80::/64", two, "res", Resolver, 10, "fe80::/10", ReasonPrivate},
		{"IPv6 loopback", "198.51.100.9", "::1/128", two, "res", Resolver, 128, "::1/128", ReasonPrivate},
		{"v4-mapped", "198.51.100.9", "::ffff:203.0.113.0/120", two, "cli", ECS, 120, "::ffff:203.0.113.0/120", ReasonECS},
		{"v4-mapped hole", "198.51.100.9", "::ffff:203.0.112.0/120", two, "res", Resolver, 120, "::ffff:203.0.112.0/120", ReasonHole},
		{"v4-mapped private", "198.51.100.9", "::ffff:10.1.2.0/120", two, "res", Resolver, 104, "::ffff:10.0.0.0/104", ReasonPrivate},
		{"6to4", "198.51.100.9", "2002:cb00:7105::/56", two, "cli", ECS, 40, "2002:cb00:7100::/40", ReasonECS},
		{"6to4 that tells few bits", "198.51.100.9", "2002:c000::/20", two, "res", Resolver, 21, "2002:c000::/21", ReasonHole},
		{"6to4 private", "198.51.100.9", "2002:c0a8:105::/48", two, "res", Resolver, 32, "2002:c0a8::/32", ReasonPrivate},
		{"6to4 of a private block that the operator mapped", "9.9.9.9", "2002:a01:203::/48", lab, "lab", ECS, 32, "2002:a01::/32", ReasonECS},
		{"6to4 by the resolver plane", "2002:c633:6409::1", "", two, "res", Resolver, 0, "2002:c633:6400::/40", ReasonResolver},
		{"Teredo", "198.51.100.9", "2001:0:4136:e378:8000:63bf:34ff:8efa/128", two, "cli", ECS, 120, "2001:0:4136:e378:8000:63bf:34ff:8e00/120", ReasonECS},
		{"Teredo that ends before the client's address", "9.9.9.9", "2001:0:4136::/48", two, "def", Resolver, 99, "2001:0:4136::/99", ReasonHole},
		{"translated from IPv4", "198.51.100.9", "64:ff9b::203.0.113.5/128", two, "cli", ECS, 120, "64:ff9b::cb00:7100/120", ReasonECS},
		{"beside 6to4: the scope keeps out of it", "9.9.9.9", "2003::/24", two, "def", Resolver, 16, "2003::/16", ReasonHole},
		{"6to4 where the plane has no IPv4", "9.9.9.9", "2002:cb00:7105::/56", v6only, "def", Resolver, 14, "2000::/14", ReasonHole},
		{"6to4 that the operator mapped as IPv6", "9.9.9.9", "2002:cb00:7105::/56", own, "own", ECS, 24, "2002:cb00::/24", ReasonECS},
		{"wider than the private block", "9.9.9.9", "10.0.0.0/7", two, "def", Resolver, 1, "0.0.0.0/1", ReasonHole},
		{"private, mapped by the operator", "9.9.9.9", "10.1.2.0/24", lab, "lab", ECS, 16, "10.1.0.0/16", ReasonECS},
		{"private, beside what the operator mapped", "9.9.9.9", "10.2.2.0/24", lab, "def", Resolver, 15, "10.2.0.0/15", ReasonHole},
		{"another private block than the mapped one", "9.9.9.9", "192.168.1.0/24", lab, "def", Resolver, 16, "192.168.0.0/16", ReasonPrivate},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := Client{Resolver: netip.MustParseAddr(c.resolver)}
			if c.ecs != "" {
				client.ECS, client.HasECS = netip.MustParsePrefix(c.ecs), true
			}
			d := c.m.Decide(client)
			if listKey(d.List) != c.list || d.Plane != c.plane || d.Scope != c.scope || d.Block.String() != c.block || d.Reason != c.reason {
				t.Errorf("got %v plane %s scope %d block %s reason %s\nwant %s plane %s scope %d block %s reason %s",
					d.List, d.Plane, d.Scope, d.Block, d.Reason, c.list, c.plane, c.scope, c.block, c.reason)
			}
		})
	}
}

func TestAnUnknownResolverGetsTheDefaultList(t *testing.T) {
	m := mapOf(t, "def,x", map[string]string{"0.0.0.0/0": "a", "::/0": "a"}, nil)
	if d := m.Decide(Client{}); listKey(d.List) != "def,x" || d.Block.IsValid() {
		t.Errorf("got %+v", d)
	}
	if pop := choice(m, Client{}, nil, func(string) bool { return true }); pop != "def" {
		t.Errorf("chose %q", pop)
	}
}

func TestLookupAndDecideAllocateNothing(t *testing.T) {
	m := mapOf(t, "def", map[string]string{"198.51.100.0/24": "res"}, map[string]string{"203.0.113.0/24": "cli*3,def*1", "2001:db8:d::/80": "tail"})
	pops, err := NewPoPs(1, []PoP{{Name: "cli", Drain: 50}, {Name: "tail", State: Down}, {Name: "def", Services: []Service{{"web", Down, 0}}}})
	if err != nil {
		t.Fatal(err)
	}
	has := func(string) bool { return true }
	for _, ecs := range []string{"203.0.113.0/24", "2001:db8:d::/128", "10.0.0.0/8", "2002:cb00:7105::/48"} {
		c := Client{Resolver: netip.MustParseAddr("::ffff:198.51.100.9"), ECS: netip.MustParsePrefix(ecs), HasECS: true}
		if n := testing.AllocsPerRun(100, func() { d := m.Decide(c); d.Choose(pops, "web", has) }); n != 0 {
			t.Errorf("%s: %v allocations", ecs, n)
		}
	}
}

// sharedData returns the path of a file of real data that is not part of the project, or skips.
func sharedData(tb testing.TB, name string) string {
	tb.Helper()
	path := filepath.Join("..", "..", "..", "shared", "data", name)
	if _, err := os.Stat(path); err != nil {
		tb.Skipf("real data is not here: %v", err)
	}
	return path
}

// TestRealMapAgreesWithGdnsd compares with the answers of gdnsd 3.8.1 over the same 783 prefixes.
func TestRealMapAgreesWithGdnsd(t *testing.T) {
	var file struct {
		Default []string
		Nets    map[string][]string
	}
	text, err := os.ReadFile(sharedData(t, "wikimedia_nets.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	b := NewMapBuilder("wikimedia")
	if err := b.Default(file.Default); err != nil {
		t.Fatal(err)
	}
	for prefix, list := range file.Nets {
		for p := range planes {
			if err := b.Add(p, netip.MustParsePrefix(prefix), list); err != nil {
				t.Fatal(err)
			}
		}
	}
	m, err := b.Build(1)
	if err != nil {
		t.Fatal(err)
	}
	oracle, err := os.Open(sharedData(t, "wikimedia_nets_oracle.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer oracle.Close()
	reader := csv.NewReader(oracle)
	reader.Comment = '#'
	want, err := reader.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var odd []string
	special := 0
	for _, w := range want {
		a := netip.MustParseAddr(w[0])
		scope, err := strconv.Atoi(w[1])
		if err != nil {
			t.Fatal(err)
		}
		// gdnsd has one plane, whose holes have the default list: our resolver plane.
		leaf := m.Lookup(Resolver, a)
		if got := strings.Join(m.PoPs(leaf.List), ">"); got != w[2] {
			t.Errorf("%s: %s, gdnsd has %s", a, got, w[2])
		}
		if int(leaf.Bits) != scope {
			odd = append(odd, w[0]+": gdnsd /"+w[1]+", ours /"+strconv.Itoa(int(leaf.Bits)))
		}
		// As ECS from a resolver that has the default list it is the same, whether the ecs plane has a row or a hole there;
		// but gdnsd does not know section 10.
		d := m.Decide(Client{Resolver: netip.MustParseAddr("192.0.2.1"), ECS: netip.PrefixFrom(a, a.BitLen()), HasECS: true})
		wantScope := leaf.Bits
		if d.Reason == ReasonPrivate {
			special++
			wantScope = 8
		}
		if got := strings.Join(d.List, ">"); got != w[2] || d.Scope != wantScope {
			t.Errorf("%s: decided %s /%d, gdnsd has %s /%d", a, got, d.Scope, w[2], scope)
		}
	}
	t.Logf("%d of %d rows equal, %d in 0/8 and 127/8", len(want)-len(odd), len(want), special)
	if len(want) != 5019 || special != 10 || len(odd) > 0 {
		t.Errorf("%d rows, %d special-purpose, different %v; want 5019, 10 and none", len(want), special, odd)
	}
}
