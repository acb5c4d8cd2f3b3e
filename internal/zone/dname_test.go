package zone

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

var fortyOctets = strings.Repeat("o", 39) + "."

// dnames has a target of 205 octets at full, which leaves 50 for the labels in front.
var dnames = `
$ORIGIN example.org.
$TTL 300
@          SOA   ns hostmaster 1 2 3 4 60
           NS    ns.example.net.
d     7    DNAME e
           TXT   "its own"
below.d    TXT   "occluded"
*.d        TXT   "occluded"
ns.d       A     192.0.2.53
e          A     192.0.2.1
x.e        A     192.0.2.2
           MX    0 below.d
c.e        CNAME x.e
*.w.e      A     192.0.2.3
cut.e      NS    ns.d
to         CNAME x.d
twice      DNAME d
self       DNAME self
grow       DNAME a.grow
loop       CNAME x.loopd
loopd      DNAME loope
x.loope    CNAME loop
out        DNAME example.net.
up         DNAME .
root       DNAME @
full       DNAME ` + strings.Repeat(fortyOctets, 5) + "zzz.\n"

func TestDNAMEsRedirectWhatLiesBelowThem(t *testing.T) {
	d, e := "d.example.org. DNAME e.example.org.; ", ".e.example.org."
	x := "x.d.example.org. CNAME x" + e + "; "
	checkLookups(t, readZone(t, "example.org.", dnames), []lookupCase{
		{"d.example.org.", dns.TypeTXT, Success, `d.example.org. TXT "its own"`, "", ""},
		{"d.example.org.", dns.TypeDNAME, Success, "d.example.org. DNAME e.example.org.", "", ""},
		{"d.example.org.", dns.TypeA, NoData, "", "SOA", ""},
		{"x.d.example.org.", dns.TypeA, Success, d + x + "x.e.example.org. A 192.0.2.2", "", ""},
		{"x.d.example.org.", dns.TypeTXT, NoData, strings.TrimSuffix(d+x, "; "), "SOA", ""},
		{"x.d.example.org.", dns.TypeMX, Success, d + x + "x.e.example.org. MX 0 below.d.example.org.", "", ""},
		// The synthesised CNAME is itself an answer; nothing is followed (RFC 1034 3.6.2).
		{"c.d.example.org.", dns.TypeCNAME, Success, d + "c.d.example.org. CNAME c" + e, "", ""},
		{"c.d.example.org.", dns.TypeA, Success, d + "c.d.example.org. CNAME c" + e + "; c" + e + " CNAME x" + e + "; x" + e + " A 192.0.2.2", "", ""},
		// RFC 6672 2.4: data below are occluded, wildcards too.
		{"below.d.example.org.", dns.TypeTXT, NXDomain, d + "below.d.example.org. CNAME below.e.example.org.", "SOA", ""},
		{"y.w.d.example.org.", dns.TypeA, Success, d + "y.w.d.example.org. CNAME y.w.e.example.org.; y.w.e.example.org. A 192.0.2.3", "", ""},
		{"a.cut.d.example.org.", dns.TypeA, Delegation, d + "a.cut.d.example.org. CNAME a.cut.e.example.org.", "cut.e.example.org. NS ns.d.example.org.", ""},
		{"to.example.org.", dns.TypeA, Success, "to.example.org. CNAME x.d.example.org.; " + d + x + "x.e.example.org. A 192.0.2.2", "", ""},
		{"x.twice.example.org.", dns.TypeA, Success, "twice.example.org. DNAME d.example.org.; x.twice.example.org. CNAME x.d.example.org.; " + d + x + "x.e.example.org. A 192.0.2.2", "", ""},
		// What was asked for may be what led there: it comes once.
		{"root.root.example.org.", dns.TypeDNAME, Success, "root.example.org. DNAME example.org.; root.root.example.org. CNAME root.example.org.", "", ""},
		{"x.self.example.org.", dns.TypeA, Success, "self.example.org. DNAME self.example.org.; x.self.example.org. CNAME x.self.example.org.", "", ""},
		{"loop.example.org.", dns.TypeA, Success, "loop.example.org. CNAME x.loopd.example.org.; loopd.example.org. DNAME loope.example.org.; x.loopd.example.org. CNAME x.loope.example.org.; x.loope.example.org. CNAME loop.example.org.", "", ""},
		{"y.out.example.org.", dns.TypeA, Success, "out.example.org. DNAME example.net.; y.out.example.org. CNAME y.example.net.", "", ""},
		{"y.up.example.org.", dns.TypeA, Success, "up.example.org. DNAME .; y.up.example.org. CNAME y.", "", ""},
	})
}

func TestADNAMEThatOverflowsANameIsYXDOMAIN(t *testing.T) {
	s := readZone(t, "example.org.", dnames)
	var res Result
	for front, want := range map[int]Kind{48: Success, 49: Success, 50: YXDomain, 63: YXDomain} {
		name := MustParseName(strings.Repeat("f", front) + ".full.example.org.")
		s.Lookup(Question{Name: name, Type: dns.TypeA}, nil, &res)
		if res.Kind != want || (res.Rcode == dns.RcodeYXDomain) != (want == YXDomain) || !res.Authoritative || res.Answer[0].Type != dns.TypeDNAME ||
			len(res.Authority) != 0 || len(res.Answer) != 2-int(want/YXDomain) {
			t.Errorf("%d octets before a target of 205: %s rcode %d %+v, want %s and the DNAME", front+1, res.Kind, res.Rcode, res.Answer, want)
		}
	}
}

func TestADNAMEThatGrowsItsNameEnds(t *testing.T) {
	var res Result
	readZone(t, "example.org.", dnames).Lookup(Question{Name: MustParseName("x.grow.example.org"), Type: dns.TypeA}, nil, &res)
	if len(res.Answer) != 1+maxChain || res.Kind != Success {
		t.Errorf("%d sets, %s", len(res.Answer), res.Kind)
	}
}

func TestTheSynthesisedCNAMEHasTheDNAMEsTTLAndTheQuestionsCase(t *testing.T) {
	var res Result
	readZone(t, "example.org.", dnames).Lookup(Question{Name: MustParseName("Out.D.example.org"), Type: dns.TypeCNAME}, nil, &res)
	m := new(dns.Msg)
	if err := res.Fill(m, MustParseName("out.d.example.org."), "Out.D.example.org."); err != nil {
		t.Fatal(err)
	}
	if len(m.Answer) != 2 || m.Answer[1].String() != "Out.D.example.org.\t7\tIN\tCNAME\tout.e.example.org." {
		t.Errorf("got %v", m.Answer)
	}
}

func TestADNAMEAtACutIsRefused(t *testing.T) {
	b := NewBuilder(MustParseName("example.org"))
	for _, text := range []string{"@ SOA ns h 1 2 3 4 5", "@ NS ns.example.net.", "@ DNAME example.net.", "c NS ns.example.net.", "c DNAME example.net."} {
		rr, err := dns.NewRR("$ORIGIN example.org.\n" + strings.Replace(text, " ", " 60 ", 1))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.AddRR(rr, "", 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Build(); err == nil || !strings.Contains(err.Error(), "c.example.org. DNAME: stands at a zone cut") {
		t.Errorf("got %v, want the DNAME beside the delegation refused, and the one at the apex not", err)
	}
}
