package popmap

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"

	"github.com/miekg/dns"
)

func newExplainingPopMap(t *testing.T) *PopMap {
	t.Helper()
	p, st := newPopMap(t)
	p.origins = []zone.Name{zone.MustParseName("example.org.")}
	p.explainer = &explainer{names: []string{"_explain.example.org."}, allow: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:53::/48")}}
	if _, err := st.SetPoPState(t.Context(), "iad2", steer.Down); err != nil {
		t.Fatal(err)
	}
	for p.source.PoPs().Current().Head.Serial < 2 {
		if t.Context().Err() != nil {
			t.Fatal("the PoP table does not come")
		}
	}
	return p
}

func explained(t *testing.T, p *PopMap, from, name string, qtype uint16, subnet *dns.EDNS0_SUBNET) *dns.Msg {
	t.Helper()
	r := query(t, name, subnet)
	r.Question[0].Qtype = qtype
	wire, err := r.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return askWire(t, p, from, wire)
}

func TestExplainTellsAllowedClientsTheirOwnCase(t *testing.T) {
	p := newExplainingPopMap(t)
	for _, tc := range []struct {
		from, name string
		subnet     *dns.EDNS0_SUBNET
		scope      int
		want       []string
	}{
		{"198.51.100.7", "www.example.org._explain.example.org.", v4("44.1.2.0", 24), 16, []string{
			"map=edge", "serial=1", "resolver=198.51.100.7", "ecs=44.1.2.0/24", "plane=ecs", "reason=ecs", "block=44.1.0.0/16", "row=44.1.0.0/16", "scope=16",
			"pops=iad2,ams1", "passed=iad2: down", "chosen=ams1", "answer=www.example.org. A: NOERROR, the variant of ams1", "record=www.example.org. 60 IN A 10.0.0.1"}},
		{"2001:db8:53::1", "WWW.example.org._EXPLAIN.example.org.", nil, -1, []string{
			"map=edge", "serial=1", "resolver=2001:db8:53::1", "plane=resolver", "reason=default", "block=2001:800::/21", "scope=0",
			"pops=sin1", "chosen=sin1", "answer=www.example.org. A: NOERROR, the variant of sin1", "record=www.example.org. 60 IN A 10.0.0.3"}},
		{"198.51.100.7", "plain.example.org._explain.example.org.", nil, -1, []string{
			"resolver=198.51.100.7", "plane=resolver", "reason=no-map", "scope=0", "pops=iad2", "answer=plain.example.org. A: NOERROR, not steered", "record=plain.example.org. 60 IN A 192.0.2.80"}},
		{"198.51.100.7", "www.example.net._explain.example.org.", nil, -1, []string{
			"resolver=198.51.100.7", "plane=resolver", "reason=no-map", "scope=0", "pops=iad2", "passed=iad2: down", "note=no zone here holds www.example.net."}},
		{"198.51.100.7", "_explain.example.org.", nil, -1, []string{
			"resolver=198.51.100.7", "plane=resolver", "reason=no-map", "scope=0", "pops=iad2", "passed=iad2: down"}},
	} {
		m := explained(t, p, tc.from, tc.name, dns.TypeTXT, tc.subnet)
		if len(m.Answer) != 1 || m.Answer[0].Header().Ttl != 0 || !m.Authoritative {
			t.Fatalf("%s: want one TXT record with TTL 0, got\n%s", tc.name, m)
		}
		if got := m.Answer[0].(*dns.TXT).Txt; !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n got %q\nwant %q", tc.name, got, tc.want)
		}
		e := subnetOf(m)
		if (e == nil) != (tc.scope < 0) || e != nil && int(e.SourceScope) != tc.scope {
			t.Errorf("%s: option %v, want scope %d", tc.name, e, tc.scope)
		}
	}
}

func TestExplainIsRefusedToOthers(t *testing.T) {
	p := newExplainingPopMap(t)
	// Who asks counts, not for whom.
	p.explainer.allow = append(p.explainer.allow, netip.MustParsePrefix("44.1.2.0/24"))
	for _, from := range []string{"192.0.2.200", "2001:db8:54::1"} {
		for _, qtype := range []uint16{dns.TypeTXT, dns.TypeA} {
			m := explained(t, p, from, "www.example.org._explain.example.org.", qtype, v4("44.1.2.0", 24))
			if e := subnetOf(m); m.Rcode != dns.RcodeRefused || len(m.Answer) > 0 || e == nil || e.SourceScope != 0 {
				t.Errorf("%s: want REFUSED with the option and scope 0, got\n%s", from, m)
			}
		}
	}
	m := explained(t, p, "198.51.100.7", "www.example.org._explain.example.org.", dns.TypeA, nil)
	if m.Rcode != dns.RcodeSuccess || len(m.Answer) > 0 || len(m.Ns) != 1 || m.Ns[0].Header().Ttl != 0 {
		t.Errorf("another type: want no data, with an SOA of TTL 0, got\n%s", m)
	}
	// A name that only looks alike is zkzone's.
	if m := explained(t, p, "192.0.2.200", "x_explain.example.org.", dns.TypeTXT, nil); m.Rcode != dns.RcodeNameError {
		t.Errorf("a name that looks alike: %s", dns.RcodeToString[m.Rcode])
	}
}

func TestParseExplain(t *testing.T) {
	zones := []string{"example.org.", "."}
	for args, want := range map[string]string{
		"_explain 10.0.0.0/8 2001:db8::1":     "_explain.example.org. _explain. 10.0.0.0/8 2001:db8::1/128",
		"Why.Example.ORG. 192.0.2.1":          "why.example.org. 192.0.2.1/32",
		"_explain":                            "error: takes a name and the networks",
		"_explain example.org":                `error: network "example.org" is neither`,
		"a..b 10.0.0.0/8":                     `error: name "a..b"`,
		strings.Repeat("x", 64) + " 10.0.0.0": "error: name",
	} {
		e, err := parseExplain(strings.Fields(args), zones)
		if text, wantErr := strings.CutPrefix(want, "error: "); wantErr {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: got %v, want an error with %q", args, err, text)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", args, err)
		}
		got := strings.Join(e.names, " ")
		for _, p := range e.allow {
			got += " " + p.String()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", args, got, want)
		}
	}
	if _, err := parseExplain([]string{"why.example.com.", "10.0.0.0/8"}, zones[:1]); err == nil || !strings.Contains(err.Error(), "is in none of the zones example.org.") {
		t.Errorf("a name outside the zones: %v", err)
	}
}
