package pick

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"

	"github.com/miekg/dns"
)

const head = "@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns.example.net.\n"

// picker lends Pick to a lookup and keeps what it picked.
type picker struct {
	d      *steer.Decision
	pops   *steer.PoPs
	picked Picked
}

func (p *picker) Pick(st zone.Steering, v zone.Variants, hasDefault bool) zone.Choice {
	p.picked = Pick(p.d, p.pops, &st, v, hasDefault)
	return p.picked.Choice
}

// answer asks for the address of www in a zone of these records.
func answer(t *testing.T, records string, list []string, pops ...steer.PoP) (last string, picked Picked, ttl uint32) {
	t.Helper()
	origin := zone.MustParseName("example.org")
	s, err := zonefile.Read(strings.NewReader(head+records), "z", origin)
	if err != nil {
		t.Fatal(err)
	}
	table, err := steer.NewPoPs(1, pops)
	if err != nil {
		t.Fatal(err)
	}
	p := &picker{d: &steer.Decision{List: list, Block: netip.MustParsePrefix("44.0.0.0/24")}, pops: table}
	var res zone.Result
	s.Lookup(zone.Question{Name: zone.MustParseName("www.example.org"), Type: dns.TypeA}, p, &res)
	if len(res.Answer) == 0 {
		return dns.RcodeToString[res.Rcode], p.picked, 0
	}
	for wire := range res.Answer[0].Rdata {
		last += string('0' + wire[3])
	}
	return last, p.picked, res.Answer[0].TTL
}

func TestPoliciesForWhenAllAreAway(t *testing.T) {
	const bare = "www 60 A 192.0.2.1 ;@ pop=ams1 downttl=7 alldown=POLICY\nwww 60 A 192.0.2.2 ;@ pop=iad2\nwww 60 A 192.0.2.3 ;@ pop=sin1\n"
	const full = bare + "www 60 A 192.0.2.9\n"
	up := []steer.PoP{{Name: "ams1"}, {Name: "iad2"}, {Name: "sin1"}}
	first := []steer.PoP{{Name: "ams1", State: steer.Down}, {Name: "iad2"}, {Name: "sin1"}}
	all := []steer.PoP{{Name: "ams1", State: steer.Down}, {Name: "iad2", Drain: 100}, {Name: "sin1"}}
	list := []string{"ams1", "iad2"}
	for _, tc := range []struct {
		what, records, policy string
		list                  []string
		pops                  []steer.PoP
		want                  string
		reason                Reason
		ttl                   uint32
	}{
		{"all up", full, "none", list, up, "1", Healthy, 60},
		{"the first down", full, "none", list, first, "2", Healthy, 7},
		{"last resort", full, "last-resort", list, all, "9", LastResort, 7},
		{"last resort without a default variant", bare, "last-resort", list, all, "1", AsIfUp, 7},
		{"all", full, "all", list, all, "1", AsIfUp, 7},
		{"all without a default variant", bare, "all", list, all, "1", AsIfUp, 7},
		{"none", full, "none", list, all, "9", LastResort, 7},
		{"none without a default variant", bare, "none", list, all, "SERVFAIL", None, 0},
		{"a list without a variant", full, "none", []string{"lhr3"}, up, "9", Uncovered, 60},
		{"a list without a variant, and no default variant", bare, "none", []string{"lhr3"}, up, "1", Uncovered, 60},
		{"an empty list", bare, "none", nil, up, "1", Uncovered, 60},
		{"down but unknown to the zone", full, "none", []string{"lhr3", "iad2"}, append([]steer.PoP{{Name: "lhr3", State: steer.Down}}, up...), "2", Healthy, 60},
	} {
		got, picked, ttl := answer(t, strings.ReplaceAll(tc.records, "POLICY", tc.policy), tc.list, tc.pops...)
		if got != tc.want || picked.Reason != tc.reason || ttl != tc.ttl {
			t.Errorf("%s: %s %s TTL %d, want %s %s TTL %d", tc.what, got, picked.Reason, ttl, tc.want, tc.reason, tc.ttl)
		}
	}
}

func TestOnlyAllowedPoPsAnswer(t *testing.T) {
	const records = "www 60 A 192.0.2.1 ;@ pop=ams1 pops=iad2,sin1\nwww 60 A 192.0.2.2 ;@ pop=iad2\nwww 60 A 192.0.2.3 ;@ pop=sin1\n"
	for list, want := range map[string]string{"ams1,sin1,iad2": "3", "ams1,iad2,sin1": "2", "ams1": "2", "lhr3": "2"} {
		if got, _, _ := answer(t, records, strings.Split(list, ",")); got != want {
			t.Errorf("list %s: %s, want %s", list, got, want)
		}
	}
}

func TestTheStateOfTheNamesServiceCounts(t *testing.T) {
	const records = "www 60 A 192.0.2.1 ;@ pop=ams1 service=web\nwww 60 A 192.0.2.2 ;@ pop=iad2\n"
	site := steer.PoP{Name: "ams1", Services: []steer.Service{{Name: "mail", State: steer.Down}}}
	if got, _, _ := answer(t, records, []string{"ams1", "iad2"}, site, steer.PoP{Name: "iad2"}); got != "1" {
		t.Errorf("mail down: %s, want 1", got)
	}
	site = site.WithService(steer.Service{Name: "web", State: steer.Down})
	if got, _, _ := answer(t, records, []string{"ams1", "iad2"}, site, steer.PoP{Name: "iad2"}); got != "2" {
		t.Errorf("web down: %s, want 2", got)
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	s, err := zonefile.Read(strings.NewReader(head+"www 60 A 192.0.2.1 ;@ pop=ams1 pops=ams1,iad2 service=web choose=sticky answers=1\n"+
		"www 60 A 192.0.2.2 ;@ pop=iad2\nwww 60 A 192.0.2.3 ;@ pop=iad2\n"), "z", zone.MustParseName("example.org"))
	if err != nil {
		t.Fatal(err)
	}
	pops, err := steer.NewPoPs(1, []steer.PoP{{Name: "ams1", State: steer.Down}, {Name: "iad2", Drain: 1}})
	if err != nil {
		t.Fatal(err)
	}
	p := &picker{d: &steer.Decision{List: []string{"ams1*3", "iad2*1"}, Block: netip.MustParsePrefix("44.0.0.0/24")}, pops: pops}
	var res zone.Result
	q := zone.Question{Name: zone.MustParseName("www.example.org"), Type: dns.TypeA}
	s.Lookup(q, p, &res)
	if n := testing.AllocsPerRun(100, func() { s.Lookup(q, p, &res) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if p.picked.PoP != "iad2" || res.Answer[0].Len() != 1 {
		t.Errorf("%+v", p.picked)
	}
}
