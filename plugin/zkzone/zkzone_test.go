package zkzone

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/edge/edgetest"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"

	"github.com/miekg/dns"
)

const testZone = `$ORIGIN example.org.
@        3600 IN SOA ns.example.org. hostmaster.example.org. 7 7200 900 1209600 60
@        3600 IN NS  ns
ns       3600 IN A   192.0.2.53
www       300 IN A   192.0.2.1
alias     300 IN CNAME www
far       300 IN CNAME www.example.net.
*.wild    300 IN TXT "w"
sub      3600 IN NS  ns.sub
ns.sub   3600 IN A   192.0.2.54
steered    60 IN A   10.0.0.1 ;@ pop=ams1
steered    60 IN A   10.0.0.2 ;@ pop=iad2
steered    60 IN A   10.0.0.9
`

// newZkZone serves the store's zones as a server block would.
func newZkZone(t *testing.T, url string, origins ...string) *ZkZone {
	t.Helper()
	z := &ZkZone{cfg: edge.Config{URL: url}, origins: origins, startupTimeout: 10 * time.Second}
	z.hold = &hold{owner: z}
	if err := z.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := z.hold.release(); err != nil {
			t.Error(err)
		}
	})
	return z
}

func serve(ctx context.Context, t *testing.T, z *ZkZone, m *dns.Msg) (*dns.Msg, int) {
	t.Helper()
	rec := dnstest.NewRecorder(&test.ResponseWriter{})
	rcode, _ := z.ServeDNS(ctx, rec, m)
	return rec.Msg, rcode
}

func TestServesCoreDNSTestCases(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "example.org.", testZone)
	z := newZkZone(t, st.URL(), "example.org.")
	soa := []dns.RR{test.SOA("example.org. 60 IN SOA ns.example.org. hostmaster.example.org. 7 7200 900 1209600 60")}
	for _, tc := range []test.Case{
		{Qname: "www.example.org.", Qtype: dns.TypeA, Answer: []dns.RR{test.A("www.example.org. 300 IN A 192.0.2.1")}},
		{Qname: "WwW.example.ORG.", Qtype: dns.TypeA, Answer: []dns.RR{test.A("WwW.example.ORG. 300 IN A 192.0.2.1")}},
		{Qname: "alias.example.org.", Qtype: dns.TypeA, Answer: []dns.RR{test.CNAME("alias.example.org. 300 IN CNAME www.example.org."), test.A("www.example.org. 300 IN A 192.0.2.1")}},
		{Qname: "far.example.org.", Qtype: dns.TypeA, Answer: []dns.RR{test.CNAME("far.example.org. 300 IN CNAME www.example.net.")}},
		{Qname: "x.y.wild.example.org.", Qtype: dns.TypeTXT, Answer: []dns.RR{test.TXT(`x.y.wild.example.org. 300 IN TXT "w"`)}},
		{Qname: "wild.example.org.", Qtype: dns.TypeTXT, Ns: soa},
		{Qname: "www.example.org.", Qtype: dns.TypeAAAA, Ns: soa},
		{Qname: "missing.example.org.", Qtype: dns.TypeA, Rcode: dns.RcodeNameError, Ns: soa},
		{Qname: "a.sub.example.org.", Qtype: dns.TypeA, Ns: []dns.RR{test.NS("sub.example.org. 3600 IN NS ns.sub.example.org.")}, Extra: []dns.RR{test.A("ns.sub.example.org. 3600 IN A 192.0.2.54")}},
		{Qname: "sub.example.org.", Qtype: dns.TypeDS, Ns: soa},
	} {
		m, rcode := serve(t.Context(), t, z, tc.Msg())
		if rcode != dns.RcodeSuccess || m == nil {
			t.Errorf("%s %s: rcode %d and no reply", tc.Qname, dns.TypeToString[tc.Qtype], rcode)
			continue
		}
		if err := test.SortAndCheck(m, tc); err != nil {
			t.Errorf("%s %s: %v\n%s", tc.Qname, dns.TypeToString[tc.Qtype], err, m)
		}
		if m.Authoritative == (len(tc.Ns) > 0 && tc.Ns[0].Header().Rrtype == dns.TypeNS) {
			t.Errorf("%s: AA is %t", tc.Qname, m.Authoritative)
		}
	}
}

type pickLast struct{}

func (pickLast) Pick(_ zone.Steering, v zone.Variants, _ bool) zone.Choice {
	return zone.Choice{Variant: v.Len() - 1}
}

func TestSteeredNameAsksThePickerInTheContext(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "example.org.", testZone)
	z := newZkZone(t, st.URL(), "example.org.")
	q := test.Case{Qname: "steered.example.org.", Qtype: dns.TypeA}
	m, _ := serve(t.Context(), t, z, q.Msg())
	if got := m.Answer[0].(*dns.A).A.String(); got != "10.0.0.9" || len(m.Answer) != 1 {
		t.Errorf("without a picker: got %s of %d records, want the default variant 10.0.0.9", got, len(m.Answer))
	}
	m, _ = serve(edge.WithPicker(t.Context(), pickLast{}), t, z, q.Msg())
	if got := m.Answer[0].(*dns.A).A.String(); got != "10.0.0.2" || len(m.Answer) != 1 {
		t.Errorf("with a picker: got %s of %d records, want the last variant 10.0.0.2", got, len(m.Answer))
	}
}

func TestRefusesTransfersAndOtherOpcodes(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "example.org.", testZone)
	z := newZkZone(t, st.URL(), "example.org.")
	for _, qtype := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
		if _, rcode := serve(t.Context(), t, z, (test.Case{Qname: "example.org.", Qtype: qtype}).Msg()); rcode != dns.RcodeRefused {
			t.Errorf("%s: got %s, want REFUSED", dns.TypeToString[qtype], dns.RcodeToString[rcode])
		}
	}
	notify := new(dns.Msg).SetNotify("example.org.")
	if _, rcode := serve(t.Context(), t, z, notify); rcode != dns.RcodeNotImplemented {
		t.Errorf("NOTIFY: got %s, want NOTIMP", dns.RcodeToString[rcode])
	}
}

func TestFallthroughIsForMissingNamesOnly(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "example.org.", testZone)
	z := newZkZone(t, st.URL(), "example.org.")
	passed := 0
	z.Next = plugin.HandlerFunc(func(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
		passed++
		return dns.RcodeSuccess, nil
	})
	z.Fall.SetZonesFromArgs(nil)
	for name, want := range map[string]int{"missing.example.org.": 1, "www.example.org.": 0, "wild.example.org.": 0} {
		passed = 0
		serve(t.Context(), t, z, (test.Case{Qname: name, Qtype: dns.TypeAAAA}).Msg())
		if passed != want {
			t.Errorf("%s: passed on %d times, want %d", name, passed, want)
		}
	}
	passed = 0
	serve(t.Context(), t, z, (test.Case{Qname: "www.example.com.", Qtype: dns.TypeA}).Msg())
	if passed != 1 {
		t.Error("a name of no zone of ours is not passed on")
	}
}

// Without a plugin below, what is not ours is REFUSED, as an authority says, and a name
// that is missing stays missing.
func TestWithoutAPluginBelowNamesOfOthersAreRefused(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "example.org.", testZone)
	z := newZkZone(t, st.URL(), "example.org.")
	if _, rcode := serve(t.Context(), t, z, (test.Case{Qname: "www.example.com.", Qtype: dns.TypeA}).Msg()); rcode != dns.RcodeRefused {
		t.Errorf("a name of no zone of ours: got %s, want REFUSED", dns.RcodeToString[rcode])
	}
	z.Fall.SetZonesFromArgs(nil)
	if m, _ := serve(t.Context(), t, z, (test.Case{Qname: "missing.example.org.", Qtype: dns.TypeA}).Msg()); m == nil || m.Rcode != dns.RcodeNameError {
		t.Errorf("a missing name that would fall through: got %v, want NXDOMAIN", m)
	}
}

func TestZoneWithoutDataIsServfailAndNotReady(t *testing.T) {
	st := edgetest.New(t)
	z := &ZkZone{cfg: edge.Config{URL: st.URL()}, origins: []string{"example.org."}, startupTimeout: time.Millisecond}
	z.hold = &hold{owner: z}
	if err := z.start(); err != nil {
		t.Fatalf("a start without data must not fail: %v", err)
	}
	defer func() { _ = z.hold.release() }()
	rec := dnstest.NewRecorder(&test.ResponseWriter{})
	rcode, err := z.ServeDNS(t.Context(), rec, (test.Case{Qname: "www.example.org.", Qtype: dns.TypeA}).Msg())
	if rcode != dns.RcodeServerFailure || err == nil || !strings.Contains(err.Error(), "no data") {
		t.Errorf("got %s and error %v, want SERVFAIL that says there is no data", dns.RcodeToString[rcode], err)
	}
	if z.Ready() {
		t.Error("ready without data")
	}
	st.Zone(t, "example.org.", testZone)
	if err := z.zones["example.org."].Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !z.Ready() {
		t.Error("not ready with data")
	}
}

func TestBlocksWithOneSourceShareItUntilTheLastLetsGo(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "example.org.", testZone)
	a, b := newZkZone(t, st.URL(), "example.org."), newZkZone(t, st.URL(), "example.org.")
	if a.source != b.source {
		t.Error("two blocks with the same source and cache have two Sources")
	}
	if err := a.hold.release(); err != nil {
		t.Fatal(err)
	}
	set, err := publish.ParseRRset(publish.RecordText{Name: "new", TTL: "60", Type: "A", Rdata: []string{"192.0.2.9"}}, zone.MustParseName("example.org."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.SetRecord(t.Context(), zone.MustParseName("example.org."), set); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if m, _ := serve(t.Context(), t, b, (test.Case{Qname: "new.example.org.", Qtype: dns.TypeA}).Msg()); len(m.Answer) == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the block that is left does not follow any more")
		}
	}
	if err := b.hold.release(); err != nil {
		t.Fatal(err)
	}
	sources.mu.Lock()
	defer sources.mu.Unlock()
	if len(sources.open) != 0 {
		t.Errorf("%d sources are open after all blocks let go", len(sources.open))
	}
	// What was held stays readable: a server drains after its shutdown callbacks.
	if m, _ := serve(t.Context(), t, b, (test.Case{Qname: "www.example.org.", Qtype: dns.TypeA}).Msg()); len(m.Answer) != 1 {
		t.Error("after the shutdown callback the zone is no longer answered")
	}
}
