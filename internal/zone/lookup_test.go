package zone

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// readZone makes a snapshot of a zone file's text. A comment "pop=x" or "weight=n" after a record sets the tag.
func readZone(tb testing.TB, origin, text string) *Snapshot {
	tb.Helper()
	b := NewBuilder(MustParseName(origin))
	zp := dns.NewZoneParser(strings.NewReader(text), origin, "test")
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		var pop string
		var weight uint32
		for word := range strings.FieldsSeq(strings.TrimLeft(zp.Comment(), "; ")) {
			if v, ok := strings.CutPrefix(word, "pop="); ok {
				pop = v
			}
			if v, ok := strings.CutPrefix(word, "weight="); ok {
				if _, err := fmt.Sscan(v, &weight); err != nil {
					tb.Fatal(err)
				}
			}
		}
		if err := b.AddRR(rr, pop, weight); err != nil {
			tb.Fatal(err)
		}
	}
	if err := zp.Err(); err != nil {
		tb.Fatal(err)
	}
	s, err := b.Build()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// lookupCase is a question and what its answer must be, records as "owner type rdata" without TTL, ";" between them.
type lookupCase struct {
	name       string
	typ        uint16
	kind       Kind
	answer     string
	authority  string // "SOA" for the SOA alone
	additional string
}

func checkLookups(t *testing.T, s *Snapshot, cases []lookupCase) {
	t.Helper()
	var res Result
	for _, c := range cases {
		s.Lookup(Question{Name: MustParseName(c.name), Type: c.typ}, nil, &res)
		m := new(dns.Msg)
		if err := res.Fill(m, MustParseName(c.name), c.name); err != nil {
			t.Fatalf("%s: Fill: %v", c.name, err)
		}
		got := lookupCase{c.name, c.typ, res.Kind, brief(m.Answer), brief(m.Ns), brief(m.Extra)}
		if len(m.Ns) == 1 && m.Ns[0].Header().Rrtype == dns.TypeSOA {
			got.authority = "SOA"
		}
		if got != c {
			t.Errorf("%s %s:\ngot  %+v\nwant %+v", c.name, dns.Type(c.typ), got, c)
		}
	}
}

func brief(rrs []dns.RR) string {
	out := make([]string, 0, len(rrs))
	for _, rr := range rrs {
		f := strings.Fields(rr.String())
		out = append(out, f[0]+" "+strings.Join(f[3:], " "))
	}
	return strings.Join(out, "; ")
}

const rfc4592Zone = `
$ORIGIN example.
$TTL 3600
@                 SOA   ns.example.com. host 1 2 3 4 60
                  NS    ns.example.com.
                  NS    ns.example.net.
*                 TXT   "this is a wildcard"
                  MX    10 host1
sub.*             TXT   "this is not a wildcard"
host1             A     192.0.2.1
_ssh._tcp.host1   SRV   0 0 22 host1
_ssh._tcp.host2   SRV   0 0 22 host1
subdel            NS    ns.example.com.
                  NS    ns.example.net.
`

func TestLookupGivesTheAnswersOfRFC4592(t *testing.T) {
	checkLookups(t, readZone(t, "example.", rfc4592Zone), []lookupCase{
		// 2.2.1: synthesised.
		{"host3.example.", dns.TypeMX, Success, "host3.example. MX 10 host1.example.", "", "host1.example. A 192.0.2.1"},
		{"host3.example.", dns.TypeA, NoData, "", "SOA", ""},
		{"foo.bar.example.", dns.TypeTXT, Success, `foo.bar.example. TXT "this is a wildcard"`, "", ""},
		// 2.2.1: not synthesised, because the name exists, or exists as an empty non-terminal, or is delegated.
		{"host1.example.", dns.TypeMX, NoData, "", "SOA", ""},
		{"sub.*.example.", dns.TypeMX, NoData, "", "SOA", ""},
		{"_telnet._tcp.host1.example.", dns.TypeSRV, NXDomain, "", "SOA", ""},
		{"host.subdel.example.", dns.TypeA, Delegation, "", "subdel.example. NS ns.example.com.; subdel.example. NS ns.example.net.", ""},
		{"ghost.*.example.", dns.TypeMX, NXDomain, "", "SOA", ""},
		// 2.2.2: an empty non-terminal.
		{"_tcp.host1.example.", dns.TypeSRV, NoData, "", "SOA", ""},
		{"host2.example.", dns.TypeMX, NoData, "", "SOA", ""},
		// The wildcard asked for by its own name.
		{"*.example.", dns.TypeTXT, Success, `*.example. TXT "this is a wildcard"`, "", ""},
		// The question's letters stay as they came.
		{"HoSt3.example.", dns.TypeTXT, Success, `HoSt3.example. TXT "this is a wildcard"`, "", ""},
		{"example.com.", dns.TypeA, Outside, "", "", ""},
	})
}

// rfc1034Zone is the EDU zone's part of RFC 1034 6.1 and the root's as one zone would have them.
const rfc1034Zone = `
$TTL 86400
.                 SOA   SRI-NIC.ARPA. HOSTMASTER.SRI-NIC.ARPA. 870611 1800 300 604800 86400
                  NS    A.ISI.EDU.
                  NS    C.ISI.EDU.
                  NS    SRI-NIC.ARPA.
MIL.              NS    SRI-NIC.ARPA.
                  NS    A.ISI.EDU.
EDU.              NS    SRI-NIC.ARPA.
                  NS    C.ISI.EDU.
SRI-NIC.ARPA.     A     26.0.0.73
                  A     10.0.0.51
                  MX    0 SRI-NIC.ARPA.
                  HINFO DEC-2060 TOPS20
ACC.ARPA.         A     26.6.0.65
USC-ISIC.ARPA.    CNAME C.ISI.EDU.
73.0.0.26.IN-ADDR.ARPA. PTR SRI-NIC.ARPA.
A.ISI.EDU.        A     26.3.0.103
C.ISI.EDU.        A     10.0.0.52
`

func TestLookupGivesTheAnswersOfRFC1034(t *testing.T) {
	checkLookups(t, readZone(t, ".", rfc1034Zone), []lookupCase{
		{"SRI-NIC.ARPA.", dns.TypeA, Success, "SRI-NIC.ARPA. A 10.0.0.51; SRI-NIC.ARPA. A 26.0.0.73", "", ""},                                  // 6.2.1
		{"SRI-NIC.ARPA.", dns.TypeANY, Success, "SRI-NIC.ARPA. A 10.0.0.51; SRI-NIC.ARPA. A 26.0.0.73", "", ""},                                // 6.2.2, but RFC 8482
		{"SRI-NIC.ARPA.", dns.TypeMX, Success, "SRI-NIC.ARPA. MX 0 sri-nic.arpa.", "", "SRI-NIC.ARPA. A 10.0.0.51; SRI-NIC.ARPA. A 26.0.0.73"}, // 6.2.3
		{"SRI-NIC.ARPA.", dns.TypeNS, NoData, "", "SOA", ""},                                                                                   // 6.2.4
		{"SIR-NIC.ARPA.", dns.TypeA, NXDomain, "", "SOA", ""},                                                                                  // 6.2.5
		{"BRL.MIL.", dns.TypeA, Delegation, "", "mil. NS a.isi.edu.; mil. NS sri-nic.arpa.",
			"a.isi.edu. A 26.3.0.103; sri-nic.arpa. A 10.0.0.51; sri-nic.arpa. A 26.0.0.73"}, // 6.2.6
		{"USC-ISIC.ARPA.", dns.TypeA, Delegation, "USC-ISIC.ARPA. CNAME c.isi.edu.", "edu. NS c.isi.edu.; edu. NS sri-nic.arpa.",
			"c.isi.edu. A 10.0.0.52; sri-nic.arpa. A 10.0.0.51; sri-nic.arpa. A 26.0.0.73"}, // 6.2.7, where EDU was served too
		{"USC-ISIC.ARPA.", dns.TypeCNAME, Success, "USC-ISIC.ARPA. CNAME c.isi.edu.", "", ""}, // 6.2.8
	})
}

const cutsAndChains = `
$ORIGIN example.org.
$TTL 300
@          SOA   ns hostmaster 1 2 3 4 60
           NS    ns
ns         A     192.0.2.53
child      NS    ns.child
           NS    ns.other
           NS    ns.example.net.
           DS    1 8 2 00
ns.child   A     192.0.2.1
           AAAA  2001:db8::1
other      NS    ns.other
ns.other   A     192.0.2.2
*.child    TXT   "occluded"
loop1      CNAME loop2
loop2      CNAME loop1
self       CNAME self
away       CNAME www.example.net.
down       CNAME www.child
nowhere    CNAME nothing
empty      CNAME ns
svc        HTTPS 1 . alpn=h2
           A     192.0.2.3
svc2       HTTPS 1 NS.example.org. alpn=h2
svc3       HTTPS 0 svc
nomail     MX    0 .
lower      MX    0 ns.child
`

func TestLookupAtCutsAndAlongChains(t *testing.T) {
	ns := "child.example.org. NS ns.child.example.org.; child.example.org. NS ns.other.example.org.; child.example.org. NS ns.example.net."
	glue := "ns.child.example.org. A 192.0.2.1; ns.child.example.org. AAAA 2001:db8::1; ns.other.example.org. A 192.0.2.2"
	checkLookups(t, readZone(t, "example.org.", cutsAndChains), []lookupCase{
		{"child.example.org.", dns.TypeNS, Delegation, "", ns, glue},
		{"child.example.org.", dns.TypeANY, Delegation, "", ns, glue},
		{"x.child.example.org.", dns.TypeTXT, Delegation, "", ns, glue},
		{"ns.child.example.org.", dns.TypeA, Delegation, "", ns, glue},
		{"ns.child.example.org.", dns.TypeDS, Delegation, "", ns, glue},
		{"child.example.org.", dns.TypeDS, Success, "child.example.org. DS 1 8 2 00", "", ""},
		{"other.example.org.", dns.TypeDS, NoData, "", "SOA", ""},
		{"example.org.", dns.TypeDS, NoData, "", "SOA", ""},
		{"loop1.example.org.", dns.TypeA, Success, "loop1.example.org. CNAME loop2.example.org.; loop2.example.org. CNAME loop1.example.org.", "", ""},
		{"self.example.org.", dns.TypeA, Success, "self.example.org. CNAME self.example.org.", "", ""},
		{"away.example.org.", dns.TypeA, Success, "away.example.org. CNAME www.example.net.", "", ""},
		{"down.example.org.", dns.TypeA, Delegation, "down.example.org. CNAME www.child.example.org.", ns, glue},
		{"nowhere.example.org.", dns.TypeA, NXDomain, "nowhere.example.org. CNAME nothing.example.org.", "SOA", ""},
		{"empty.example.org.", dns.TypeMX, NoData, "empty.example.org. CNAME ns.example.org.", "SOA", ""},
		{"empty.example.org.", dns.TypeANY, Success, "empty.example.org. CNAME ns.example.org.", "", ""},
		{"svc.example.org.", dns.TypeHTTPS, Success, `svc.example.org. HTTPS 1 . alpn="h2"`, "", "svc.example.org. A 192.0.2.3"},
		{"svc2.example.org.", dns.TypeHTTPS, Success, `svc2.example.org. HTTPS 1 NS.example.org. alpn="h2"`, "", "ns.example.org. A 192.0.2.53"},
		{"svc3.example.org.", dns.TypeHTTPS, Success, "svc3.example.org. HTTPS 0 svc.example.org.", "", "svc.example.org. A 192.0.2.3"},
		{"nomail.example.org.", dns.TypeMX, Success, "nomail.example.org. MX 0 .", "", ""},
		{"lower.example.org.", dns.TypeMX, Success, "lower.example.org. MX 0 ns.child.example.org.", "", ""},
		{"example.org.", dns.TypeNS, Success, "example.org. NS ns.example.org.", "", "ns.example.org. A 192.0.2.53"},
		{"example.org.", dns.TypeA, NoData, "", "SOA", ""},
	})
}

func TestLookupSaysAuthoritativeAndOutsideAsTheRFCsDo(t *testing.T) {
	s := readZone(t, "example.org.", cutsAndChains)
	var res Result
	for name, want := range map[string]struct {
		aa      bool
		outside Name
		rcode   int
	}{
		"x.child.example.org": {false, "", dns.RcodeSuccess},
		"down.example.org":    {true, "", dns.RcodeSuccess},
		"away.example.org":    {true, MustParseName("www.example.net"), dns.RcodeSuccess},
		"nothing.example.org": {true, "", dns.RcodeNameError},
		"nowhere.example.org": {true, "", dns.RcodeNameError},
		"example.net":         {false, "", dns.RcodeRefused},
	} {
		s.Lookup(Question{Name: MustParseName(name), Type: dns.TypeA}, nil, &res)
		if res.Authoritative != want.aa || res.Outside != want.outside || res.Rcode != want.rcode {
			t.Errorf("%s: aa %t outside %q rcode %d, want %+v", name, res.Authoritative, res.Outside, res.Rcode, want)
		}
	}
}

func TestNegativeAnswersLiveAsLongAsTheSOAAllows(t *testing.T) {
	for _, c := range []struct{ ttl, minimum, want uint32 }{{300, 60, 60}, {30, 60, 30}} {
		s := readZone(t, "example.org.", fmt.Sprintf("@ %d SOA ns h 1 2 3 4 %d\n@ 300 NS ns.example.net.\n", c.ttl, c.minimum))
		var res Result
		s.Lookup(Question{Name: MustParseName("x.example.org"), Type: dns.TypeA}, nil, &res)
		if len(res.Authority) != 1 || res.Authority[0].TTL != c.want {
			t.Errorf("SOA with TTL %d and minimum %d: %+v, want TTL %d", c.ttl, c.minimum, res.Authority, c.want)
		}
	}
}

func TestALongChainIsAnsweredAsFarAsItWasFollowed(t *testing.T) {
	text := "@ 300 SOA ns h 1 2 3 4 5\n@ 300 NS ns.example.net.\n"
	for i := range 30 {
		text += fmt.Sprintf("c%d 300 CNAME c%d\n", i, i+1)
	}
	var res Result
	readZone(t, "example.org.", text).Lookup(Question{Name: MustParseName("c0.example.org"), Type: dns.TypeA}, nil, &res)
	if len(res.Answer) != maxChain || res.Rcode != 0 || res.Kind != Success || len(res.Authority) != 0 {
		t.Errorf("%d links, %s", len(res.Answer), res.Kind)
	}
}

const steeredZone = `
$ORIGIN example.org.
$TTL 60
@     SOA ns h 1 2 3 4 5
      NS ns.example.net.
www   A 192.0.2.1 ; pop=ams1
www   A 192.0.2.2 ; pop=iad2 weight=3
www   A 192.0.2.22 ; pop=iad2 weight=1
www   A 192.0.2.3
only  A 192.0.2.1 ; pop=ams1
only  A 192.0.2.2 ; pop=iad2
go    CNAME www ; pop=ams1
go    CNAME only ; pop=iad2
mail  MX 0 www
plain A 192.0.2.9
`

func TestSteeredNamesAnswerForTheClientsPoP(t *testing.T) {
	s := readZone(t, "example.org.", steeredZone)
	for _, c := range []struct {
		name string
		p    Picker
		want string
	}{
		{"www", nil, "192.0.2.3"},
		{"www", prefer{"ams1"}, "192.0.2.1"},
		{"www", prefer{"iad2", "ams1"}, "192.0.2.2 192.0.2.22"},
		{"www", prefer{"sin3"}, "192.0.2.3"},
		{"www", fixed(99), "192.0.2.3"},
		{"only", nil, "192.0.2.1"},
		{"only", prefer{"iad2"}, "192.0.2.2"},
		{"only", prefer{"sin3"}, "192.0.2.1"},
		{"go", prefer{"iad2"}, "only.example.org. 192.0.2.2"},
		{"go", prefer{"ams1"}, "www.example.org. 192.0.2.1"},
	} {
		var res Result
		s.Lookup(Question{Name: MustParseName(c.name + ".example.org"), Type: dns.TypeA}, c.p, &res)
		if got := rdataOf(t, &res); got != c.want || !res.Steered {
			t.Errorf("%s with %v: %s (steered %t), want %s", c.name, c.p, got, res.Steered, c.want)
		}
	}
}

// fixed picks an index.
type fixed int

func (f fixed) Pick(Steering, Variants, bool) Choice { return Choice{Variant: int(f)} }

func rdataOf(t *testing.T, res *Result) string {
	t.Helper()
	m := new(dns.Msg)
	if err := res.Fill(m, Root, "."); err != nil {
		t.Fatal(err)
	}
	out := make([]string, 0, len(m.Answer))
	for _, rr := range m.Answer {
		f := strings.Fields(rr.String())
		out = append(out, f[4])
	}
	return strings.Join(out, " ")
}

// counting counts the calls.
type counting struct {
	calls int
	saw   []string
}

func (c *counting) Pick(st Steering, v Variants, hasDefault bool) Choice {
	c.calls++
	c.saw = append(c.saw, fmt.Sprint(st.Map, v.Len(), v.PoP(v.Len()-1), hasDefault))
	return Choice{Variant: Default}
}

func TestPickerIsAskedOnlyForSteeredAnswers(t *testing.T) {
	s := readZone(t, "example.org.", steeredZone)
	s, err := s.Apply(Delta{Steer: map[Name]Steering{MustParseName("www.example.org"): {Map: "edge"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		typ  uint16
		want []string
	}{
		{"plain", dns.TypeA, nil}, {"nothing", dns.TypeA, nil}, {"www", dns.TypeAAAA, nil}, {"mail", dns.TypeMX, nil},
		{"www", dns.TypeA, []string{"edge2iad2true"}},
		{"only", dns.TypeA, []string{"2iad2false"}},
		{"go", dns.TypeA, []string{"2iad2false", "edge2iad2true"}},
	} {
		var res Result
		p := &counting{}
		s.Lookup(Question{Name: MustParseName(c.name + ".example.org"), Type: c.typ}, p, &res)
		for i := range p.saw {
			p.saw[i] = strings.ReplaceAll(p.saw[i], " ", "")
		}
		if !slices.Equal(p.saw, c.want) || res.Steered != (c.want != nil) || len(res.Additional) != 0 {
			t.Errorf("%s %s: picker saw %q, steered %t, %d additional, want %q", c.name, dns.Type(c.typ), p.saw, res.Steered, len(res.Additional), c.want)
		}
	}
}

func TestWeightedAnswersComeInProportion(t *testing.T) {
	const rounds = 40_000
	s := readZone(t, "example.org.", `
@ 60 SOA ns h 1 2 3 4 5
@ 60 NS ns.example.net.
w 60 A 192.0.2.1 ; weight=1
w 60 A 192.0.2.2 ; weight=2
w 60 A 192.0.2.3 ; weight=5
`)
	w := MustParseName("w.example.org")
	draw := func(st Steering) map[string]int {
		t.Helper()
		s, err := s.Apply(Delta{Steer: map[Name]Steering{w: st}})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		var res Result
		for range rounds {
			s.Lookup(Question{Name: w, Type: dns.TypeA}, nil, &res)
			seen := map[string]bool{}
			for wire := range res.Answer[0].Rdata {
				got[fmt.Sprintf("%d", wire[3])]++
				seen[wire] = true
			}
			if len(seen) != res.Answer[0].Len() || st.Answers > 0 && len(seen) != st.Answers {
				t.Fatalf("%+v gave %d records, %d of them different", st, res.Answer[0].Len(), len(seen))
			}
		}
		return got
	}
	// Two drawn of weights 1, 2, 5 without replacement: P(1) = 1/8 + 2/8·1/6 + 5/8·1/3, and so on.
	for _, c := range []struct {
		st   Steering
		want [3]float64
	}{
		{Steering{Answers: 1, Choose: ChooseWeighted}, [3]float64{1. / 8, 2. / 8, 5. / 8}},
		{Steering{Answers: 2, Choose: ChooseWeighted}, [3]float64{1./8 + 2./8/6 + 5./8/3, 2./8 + 1./8*2/7 + 5./8*2/3, 5./8 + 1./8*5/7 + 2./8*5/6}},
		{Steering{Answers: 1}, [3]float64{1. / 3, 1. / 3, 1. / 3}},
		{Steering{Choose: ChooseWeighted}, [3]float64{1, 1, 1}},
		{Steering{Map: "edge"}, [3]float64{1, 1, 1}},
	} {
		got := draw(c.st)
		for i, want := range c.want {
			share := float64(got[fmt.Sprint(i+1)]) / rounds
			if sigma := math.Sqrt(want * (1 - want) / rounds); math.Abs(share-want) > 5*sigma {
				t.Errorf("%+v: record %d in %.4f of the answers, want %.4f", c.st, i+1, share, want)
			}
		}
	}
}

func TestSignedRRsetsAreNeverCut(t *testing.T) {
	s := readZone(t, "example.org.", `
@ 60 SOA ns h 1 2 3 4 5
@ 60 NS ns.example.net.
w 60 A 192.0.2.1
w 60 A 192.0.2.2
w 60 RRSIG A 8 2 60 20300101000000 20200101000000 1 example.org. AAAA
w 60 RRSIG AAAA 8 2 60 20300101000000 20200101000000 1 example.org. BBBB
`)
	w := MustParseName("w.example.org")
	s, err := s.Apply(Delta{Steer: map[Name]Steering{w: {Answers: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	var res Result
	s.Lookup(Question{Name: w, Type: dns.TypeA, DO: true}, nil, &res)
	if len(res.Answer) != 2 || res.Answer[0].Len() != 2 || res.Answer[1].Type != dns.TypeRRSIG || res.Answer[1].Len() != 1 {
		t.Errorf("got %+v, want both addresses and the signature over A alone", res.Answer)
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	s := numbered(t, 1000)
	s, err := s.Apply(Delta{Put: []RRset{numberedHost(s.Origin(), 3, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	steered := readZone(t, "example.org.", steeredZone)
	chains := readZone(t, "example.org.", cutsAndChains)
	var res Result
	for _, c := range []struct {
		s    *Snapshot
		name string
		typ  uint16
	}{
		{s, "host5.net5.example.org", dns.TypeA}, {s, "host3.net3.example.org", dns.TypeA}, {s, "nothing.net5.example.org", dns.TypeA}, {s, "example.org", dns.TypeNS},
		{steered, "go.example.org", dns.TypeA}, {chains, "down.example.org", dns.TypeA}, {chains, "svc.example.org", dns.TypeHTTPS},
	} {
		q := Question{Name: MustParseName(c.name), Type: c.typ, DO: true}
		p := Picker(fixed(1))
		if n := testing.AllocsPerRun(100, func() { c.s.Lookup(q, p, &res) }); n != 0 {
			t.Errorf("%s %s: %g allocations", c.name, dns.Type(c.typ), n)
		}
	}
}

func TestFilledSectionsHaveNoSpareCapacity(t *testing.T) {
	s := readZone(t, "example.org.", cutsAndChains)
	var res Result
	for _, name := range []string{"down.example.org.", "nothing.example.org.", "ns.example.org."} {
		s.Lookup(Question{Name: MustParseName(name), Type: dns.TypeA}, nil, &res)
		m := new(dns.Msg)
		if err := res.Fill(m, MustParseName(name), name); err != nil {
			t.Fatal(err)
		}
		for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
			if cap(section) != len(section) {
				t.Errorf("%s: section of %d records has room for %d", name, len(section), cap(section))
			}
		}
	}
}

func TestRootZoneAnswersEveryTLD(t *testing.T) {
	file := filepath.Join("..", "..", "..", "shared", "data", "root.zone")
	f, err := os.Open(file)
	if err != nil {
		t.Skipf("the IANA root zone is not beside the project: %v", err)
	}
	defer f.Close()
	b, tlds := NewBuilder(Root), map[string]bool{}
	zp := dns.NewZoneParser(f, ".", file)
	records := 0
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		if err := b.AddRR(rr, "", 0); err != nil {
			t.Fatal(err)
		}
		records++
		if h := rr.Header(); h.Rrtype == dns.TypeNS && h.Name != "." {
			tlds[h.Name] = true
		}
	}
	if err := zp.Err(); err != nil {
		t.Fatal(err)
	}
	s, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records, %d TLDs, %d octets of image, serial %d frozen %t", s.Records(), len(tlds), s.image.octets(), s.Serial(), s.SerialFrozen())
	if s.Records() != records || !s.SerialFrozen() {
		t.Errorf("%d of %d records; serial frozen: %t", s.Records(), records, s.SerialFrozen())
	}
	var res Result
	for tld := range tlds {
		s.Lookup(Question{Name: MustParseName("www." + tld), Type: dns.TypeA, DO: true}, nil, &res)
		if res.Kind != Delegation || len(res.Additional) == 0 {
			t.Errorf("%s: %s with %d glue sets", tld, res.Kind, len(res.Additional))
		}
		s.Lookup(Question{Name: MustParseName(tld), Type: dns.TypeDS}, nil, &res)
		if res.Kind != Success && res.Kind != NoData {
			t.Errorf("DS of %s: %s", tld, res.Kind)
		}
		s.Lookup(Question{Name: MustParseName("x-" + tld), Type: dns.TypeA}, nil, &res)
		if res.Kind != NXDomain {
			t.Errorf("x-%s: %s", tld, res.Kind)
		}
	}
	c := Codec{Origin: Root}
	chunks, err := c.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	back, err := c.Decode(slices.Clone(chunks))
	if err != nil {
		t.Fatal(err)
	}
	sameZone(t, back, s)
}

// TestFilledRecordsAreTheStoredOnes compares what Fill makes of an answer, by short cuts for some types, with miekg/dns's reading of the rdata, and
// Octets with the records' own sizes.
func TestFilledRecordsAreTheStoredOnes(t *testing.T) {
	rnd := newRandom(t)
	var res Result
	for range 50 {
		_, s := makeRandomZone(t, rnd)
		for set := range s.RRsets() {
			for _, do := range []bool{false, true} {
				s.Lookup(Question{set.Owner, set.Type, do}, nil, &res)
				m := new(dns.Msg)
				if err := res.Fill(m, set.Owner, set.Owner.String()); err != nil {
					t.Fatal(err)
				}
				octets := 0
				for i, sets := range [][]Set{res.Answer, res.Authority, res.Additional} {
					rrs := [][]dns.RR{m.Answer, m.Ns, m.Extra}[i]
					for j := range sets {
						for wire := range sets[j].Rdata {
							want, err := unpackRR(sets[j].Owner.String(), sets[j].Type, sets[j].TTL, []byte(wire))
							if err != nil {
								t.Fatal(err)
							}
							if got := rrs[0]; got.String() != want.String() || got.Header().Rdlength != want.Header().Rdlength {
								t.Fatalf("filled with %s, want %s", got, want)
							}
							octets += len(sets[j].Owner) + wireHeader + len(wire)
							rrs = rrs[1:]
						}
					}
					if len(rrs) > 0 {
						t.Fatalf("%v is filled in and not in the result", rrs)
					}
				}
				if octets != res.Octets() {
					t.Fatalf("%s: Octets is %d, the records have %d", set.Owner, res.Octets(), octets)
				}
			}
		}
	}
}
