package geoip

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/geoip/geoiptest"
	"github.com/popdns/popdns/internal/steer"
)

func TestCodesSayWhatToWrite(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{fmt.Sprint(CheckCountry("NL")), "<nil>"},
		{fmt.Sprint(CheckCountry("XK")), "<nil>"},
		{fmt.Sprint(CheckCountry("D A")), `country "D A" is unknown: write a code of ISO 3166-1, like NL`},
		{fmt.Sprint(CheckCountry("D ")), `country "D " is unknown: write a code of ISO 3166-1, like NL`},
		{fmt.Sprint(CheckCountry("")), `country "" is unknown: write a code of ISO 3166-1, like NL`},
		{fmt.Sprint(CheckContinent("eu")), `continent "eu": write EU`},
		{fmt.Sprint(CheckSubdivision("GB-ENG")), "<nil>"},
		{fmt.Sprint(CheckSubdivision("US-ca")), `subdivision "US-ca": write a code of ISO 3166-2, like US-CA`},
		{fmt.Sprint(CheckSubdivision("US-")), `subdivision "US-": write a code of ISO 3166-2, like US-CA`},
		{fmt.Sprint(ParseASN("as64500")), "64500 <nil>"},
		{fmt.Sprint(ParseASN("4294967295")), "4294967295 <nil>"},
		{fmt.Sprint(ParseASN("4294967296")), `0 asn "4294967296" is not an AS number, like 64500 or AS64500`},
		{fmt.Sprint(ParseASN("0")), `0 asn "0" is not an AS number, like 64500 or AS64500`},
		{fmt.Sprint(ParseASN("AS")), `0 asn "AS" is not an AS number, like 64500 or AS64500`},
		{fmt.Sprint(ParseASN("+1")), `0 asn "+1" is not an AS number, like 64500 or AS64500`},
	} {
		if tc.got != tc.want {
			t.Errorf("got  %s\nwant %s", tc.got, tc.want)
		}
	}
	codes := strings.Fields(countries)
	if len(codes) != 250 || !slices.IsSorted(codes) || len(slices.Compact(slices.Clone(codes))) != 250 {
		t.Errorf("%d country codes, want the 249 of ISO 3166-1 and XK, sorted", len(codes))
	}
}

func TestIPv6ApartIsAllThatCarriesNoIPv4(t *testing.T) {
	in := func(a netip.Addr) bool {
		return slices.ContainsFunc(ipv6Apart(), func(p netip.Prefix) bool {
			q, err := a.Prefix(p.Bits())
			return err == nil && q == p
		})
	}
	for _, block := range append(steer.CarriesIPv4(), netip.MustParsePrefix("::/96")) {
		first, end := block.Addr(), last(block)
		if in(first) || in(end) {
			t.Errorf("%s is in", block)
		}
		for _, beside := range []netip.Addr{first.Prev(), end.Next()} {
			if beside.IsValid() && beside != netip.MustParseAddr("::ffff:0:0").Prev() && !in(beside) && !inIPv4(beside) {
				t.Errorf("%s beside %s is not in", beside, block)
			}
		}
	}
	ps := ipv6Apart()
	for i, p := range ps[1:] {
		if last(ps[i]).Compare(p.Addr()) >= 0 {
			t.Errorf("%s comes after %s", p, ps[i])
		}
	}
}

// TestAddressesThatCarryIPv4HaveItsList: aliases in the database or none, the IPv4 network counts.
func TestAddressesThatCarryIPv4HaveItsList(t *testing.T) {
	for _, aliases := range []bool{false, true} {
		w := geoiptest.New("GeoLite2-City")
		w.Add(t, "2000::/4", geoiptest.Place{Country: "US", City: "X", Lat: 39, Lon: -77}.Record())
		w.Add(t, "44.1.0.0/16", geoiptest.Place{Country: "NL", City: "Y", Lat: 52, Lon: 5}.Record())
		if aliases {
			w.Alias("2002::/16")
			w.Alias("::ffff:0:0/96")
		}
		m, _, err := compile("test.mmdb", w.Bytes(), nearRules)
		if err != nil {
			t.Fatal(err)
		}
		for addr, want := range map[string]string{
			"44.1.2.3": "ams1", "::ffff:44.1.2.3": "ams1", "2002:2c01:203::1": "ams1", "64:ff9b::2c01:203": "ams1",
			"2001:db8::1": "iad2", "2002:2d01::": "", "2003::": "iad2", "3000::": "",
		} {
			got := ""
			if list := m.PoPs(m.Lookup(steer.ECS, netip.MustParseAddr(addr)).List); list != nil {
				got = list[0]
			}
			if got != want {
				t.Errorf("aliases %t: %s has %q, want %q", aliases, addr, got, want)
			}
		}
	}
}

// TestOneRecordAroundAllOfIPv4 is a tree in which IPv4 has no subtree of its own.
func TestOneRecordAroundAllOfIPv4(t *testing.T) {
	w := geoiptest.New("GeoLite2-City")
	w.Add(t, "::/8", geoiptest.Place{Country: "NL", City: "Y", Lat: 52, Lon: 5}.Record())
	m, _, err := compile("test.mmdb", w.Bytes(), nearRules)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"44.1.2.3", "255.255.255.255", "1::", "ff::"} {
		if list := m.PoPs(m.Lookup(steer.ECS, netip.MustParseAddr(a)).List); len(list) == 0 || list[0] != "ams1" {
			t.Errorf("%s has %v, want ams1", a, list)
		}
	}
	v4 := geoiptest.New("GeoLite2-City")
	v4.V4 = true
	v4.Add(t, "44.0.0.0/8", geoiptest.Place{Country: "NL", City: "Y", Lat: 52, Lon: 5}.Record())
	m, c, err := compile("v4.mmdb", v4.Bytes(), nearRules)
	if err != nil {
		t.Fatal(err)
	}
	if leaf := m.Lookup(steer.ECS, netip.MustParseAddr("44.1.2.3")); leaf.Bits != 8 || m.PoPs(leaf.List) == nil {
		t.Errorf("a database of IPv4 only: got %v", leaf)
	}
	if rule := c.Rule(steer.ECS, netip.MustParseAddr("2001:db8::1")); rule != "" {
		t.Errorf("rule for IPv6 in a database of IPv4: %q", rule)
	}
}

// TestRuleNamesTheRuleOfEachAddress compares Rule with the compiled map: whoever has a rule is no hole, and the other way round.
func TestRuleNamesTheRuleOfEachAddress(t *testing.T) {
	rules := Rules{
		ASN:          map[uint32]Rule{64500: {List: []string{"iad2"}}},
		Subdivisions: map[string]Rule{"US-VA": {List: []string{"iad2"}}},
		Countries:    map[string]Rule{"NL": {List: []string{"ams1"}}},
		Near:         &Near{Count: 2},
	}
	asn := geoiptest.New("GeoLite2-ASN")
	asn.Add(t, "44.1.2.0/24", geoiptest.ASN(64500))
	city := Databases{}
	var err error
	if city.City, err = Parse("city.mmdb", smallCity(t).Bytes()); err != nil {
		t.Fatal(err)
	}
	if city.ASN, err = Parse("asn.mmdb", asn.Bytes()); err != nil {
		t.Fatal(err)
	}
	b := steer.NewMapBuilder("")
	if err := b.Default([]string{"ams1"}); err != nil {
		t.Fatal(err)
	}
	c, err := rules.Compile(b, city, testPoPs)
	if err != nil {
		t.Fatal(err)
	}
	m, err := b.Build(1)
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"44.1.2.3": "asn=AS64500", "44.1.3.3": "country=NL", "::ffff:44.1.3.3": "country=NL", "44.2.1.1": "subdivision=US-VA",
		"2001:db8::": "near: 51.0000,9.0000", // a country of which nothing finer is known anywhere: its own coordinates count
		"45.0.0.0":   "", "2400::": "",
	} {
		a := netip.MustParseAddr(addr)
		if got := c.Rule(steer.ECS, a); got != want {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
		if hole := m.Lookup(steer.ECS, a.Unmap()).List == steer.Fallback; hole != (want == "") {
			t.Errorf("%s: hole %t, rule %q", addr, hole, want)
		}
	}
}
