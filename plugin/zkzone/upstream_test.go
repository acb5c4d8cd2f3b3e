package zkzone

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/edge/edgetest"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"

	"github.com/miekg/dns"
)

// newServer is a whole server with one plugin for each of its blocks.
func newServer(t *testing.T, blocks map[string]plugin.Handler) *dnsserver.Server {
	t.Helper()
	configs := make([]*dnsserver.Config, 0, len(blocks))
	for zone, h := range blocks {
		c := &dnsserver.Config{Zone: zone, Transport: "dns", Port: "53"}
		c.AddPlugin(func(plugin.Handler) plugin.Handler { return h })
		configs = append(configs, c)
	}
	s, err := dnsserver.NewServer("dns://:53", configs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// client takes a reply over UDP or TCP.
type client struct {
	test.ResponseWriter
	tcp bool
}

func (c *client) RemoteAddr() net.Addr {
	if c.tcp {
		return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
	}
	return &net.UDPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
}

// askServer sends a query through the server as its listeners do. What comes
// back has been on the wire.
func askServer(ctx context.Context, t *testing.T, s *dnsserver.Server, tcp bool, m *dns.Msg) *dns.Msg {
	t.Helper()
	rec := dnstest.NewRecorder(&client{tcp: tcp})
	ctx = context.WithValue(context.WithValue(ctx, dnsserver.Key{}, s), dnsserver.LoopKey{}, 0)
	s.ServeDNS(ctx, rec, m.Copy())
	if rec.Msg == nil {
		t.Fatalf("no reply to %s", m.Question[0].String())
	}
	wire, err := rec.Msg.Pack()
	if err != nil {
		t.Fatalf("reply to %s: %v", m.Question[0].String(), err)
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(wire); err != nil {
		t.Fatalf("reply to %s: %v", m.Question[0].String(), err)
	}
	return reply
}

const chaseZone = `$ORIGIN a.test.
@        60 IN SOA ns h 1 2 3 4 5
@        60 IN NS ns
ns       60 IN A 192.0.2.53
near     60 IN CNAME far
far      60 IN CNAME www.b.test.
gone     60 IN CNAME nothing.b.test.
empty    60 IN CNAME mail.b.test.
child    60 IN CNAME www.child.b.test.
moved    60 IN DNAME b.test.
loop     60 IN CNAME loop.b.test.
steered  60 IN CNAME steered.b.test.
fails    60 IN CNAME www.fails.test.
big      60 IN CNAME www.big.test.
nobody   60 IN CNAME www.nobody.test.
hop0     60 IN CNAME hop1.b.test.
hop2     60 IN CNAME hop3.b.test.
`

const chasedZone = `$ORIGIN b.test.
@        60 IN SOA ns h 7 2 3 4 5
@        60 IN NS ns
ns       60 IN A 192.0.2.54
www      60 IN A 192.0.2.1
mail     60 IN MX 10 www
child    60 IN NS ns.child
ns.child 60 IN A 192.0.2.55
loop     60 IN CNAME loop.a.test.
hop1     60 IN CNAME hop2.a.test.
hop3     60 IN A 192.0.2.3
steered  60 IN A 10.0.0.1 ;@ pop=ams1
steered  60 IN A 10.0.0.2 ;@ pop=iad2
steered  60 IN A 10.0.0.9
`

// chaseServer has zones in one block, and blocks whose plugins fail or have too
// much to say.
func chaseServer(t *testing.T) *dnsserver.Server {
	t.Helper()
	st := edgetest.New(t)
	st.Zone(t, "a.test.", chaseZone)
	st.Zone(t, "b.test.", chasedZone)
	z := newZkZone(t, st.URL(), "a.test.", "b.test.")
	return newServer(t, map[string]plugin.Handler{
		".": z,
		"fails.test.": plugin.HandlerFunc(func(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
			return dns.RcodeServerFailure, errors.New("out of reach")
		}),
		"big.test.": plugin.HandlerFunc(func(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			m := new(dns.Msg).SetReply(r)
			for i := range byte(200) {
				m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: r.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(192, 0, 2, i)})
			}
			return dns.RcodeSuccess, w.WriteMsg(m)
		}),
	})
}

// brief is a reply's records without TTL and class, "--" between the sections.
func brief(m *dns.Msg) string {
	var words []string
	for i, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		if i > 0 {
			words = append(words, "--")
		}
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				words = append(words, h.Name+" "+dns.Type(h.Rrtype).String()+" "+strings.TrimPrefix(rr.String(), h.String()))
			}
		}
	}
	return strings.Join(words, "|")
}

func TestChainsGoOnInWhateverTheServerKnows(t *testing.T) {
	s := chaseServer(t)
	for _, tc := range []struct {
		name  string
		typ   uint16
		rcode int
		want  string
	}{
		{"NEAR.a.test.", dns.TypeA, 0, "NEAR.a.test. CNAME far.a.test.|far.a.test. CNAME www.b.test.|www.b.test. A 192.0.2.1|--|--"},
		{"far.a.test.", dns.TypeCNAME, 0, "far.a.test. CNAME www.b.test.|--|--"},
		{"gone.a.test.", dns.TypeA, dns.RcodeNameError, "gone.a.test. CNAME nothing.b.test.|--|b.test. SOA ns.b.test. h.b.test. 7 2 3 4 5|--"},
		{"empty.a.test.", dns.TypeA, 0, "empty.a.test. CNAME mail.b.test.|--|b.test. SOA ns.b.test. h.b.test. 7 2 3 4 5|--"},
		{"empty.a.test.", dns.TypeMX, 0, "empty.a.test. CNAME mail.b.test.|mail.b.test. MX 10 www.b.test.|--|--|www.b.test. A 192.0.2.1"},
		{"child.a.test.", dns.TypeA, 0, "child.a.test. CNAME www.child.b.test.|--|child.b.test. NS ns.child.b.test.|--|ns.child.b.test. A 192.0.2.55"},
		{"www.moved.a.test.", dns.TypeA, 0, "moved.a.test. DNAME b.test.|www.moved.a.test. CNAME www.b.test.|www.b.test. A 192.0.2.1|--|--"},
		{"loop.a.test.", dns.TypeA, 0, "loop.a.test. CNAME loop.b.test.|loop.b.test. CNAME loop.a.test.|--|--"},
		{"hop0.a.test.", dns.TypeA, 0, "hop0.a.test. CNAME hop1.b.test.|hop1.b.test. CNAME hop2.a.test.|hop2.a.test. CNAME hop3.b.test.|hop3.b.test. A 192.0.2.3|--|--"},
		{"fails.a.test.", dns.TypeA, 0, "fails.a.test. CNAME www.fails.test.|--|--"},
		{"nobody.a.test.", dns.TypeA, 0, "nobody.a.test. CNAME www.nobody.test.|--|--"},
	} {
		m := askServer(t.Context(), t, s, true, new(dns.Msg).SetQuestion(tc.name, tc.typ))
		if got := brief(m); got != tc.want || m.Rcode != tc.rcode || !m.Authoritative || m.Truncated || m.RecursionAvailable || m.AuthenticatedData {
			t.Errorf("%s %s:\ngot  %s %s\nwant %s %s\n(AA and no other bit)\n%s", tc.name, dns.Type(tc.typ), dns.RcodeToString[m.Rcode], brief(m), dns.RcodeToString[tc.rcode], tc.want, m)
		}
	}
}

func TestATargetThatDoesNotFitIsLeftOutWithTC(t *testing.T) {
	s := chaseServer(t)
	m := askServer(t.Context(), t, s, false, new(dns.Msg).SetQuestion("big.a.test.", dns.TypeA))
	if !m.Truncated || len(m.Answer) != 1 {
		t.Errorf("UDP: got %d records and TC %t, want the CNAME alone and TC", len(m.Answer), m.Truncated)
	}
	m = askServer(t.Context(), t, s, true, new(dns.Msg).SetQuestion("big.a.test.", dns.TypeA))
	if m.Truncated || len(m.Answer) != 201 {
		t.Errorf("TCP: got %d records and TC %t, want 201", len(m.Answer), m.Truncated)
	}
}

func TestATargetIsNotSteeredByThePickerOfTheAlias(t *testing.T) {
	s := chaseServer(t)
	m := askServer(edge.WithPicker(t.Context(), pickLast{}), t, s, true, new(dns.Msg).SetQuestion("steered.a.test.", dns.TypeA))
	if got := m.Answer[len(m.Answer)-1].(*dns.A).A.String(); got != "10.0.0.9" {
		t.Errorf("got %s, want the default variant 10.0.0.9: the target's own block has no popmap", got)
	}
}

// TestTheScopeOfASteeredTargetIsTheAnswers stands for a popmap in the target's
// block, and none in the alias's.
func TestTheScopeOfASteeredTargetIsTheAnswers(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "a.test.", chaseZone)
	z := newZkZone(t, st.URL(), "a.test.")
	subnet := dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(192, 0, 2, 0).To4()}
	s := newServer(t, map[string]plugin.Handler{".": z, "b.test.": plugin.HandlerFunc(func(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		m := new(dns.Msg).SetReply(r)
		reply := subnet
		reply.SourceScope = 20
		m.Extra = []dns.RR{&dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}, Option: []dns.EDNS0{&reply}}}
		return dns.RcodeSuccess, w.WriteMsg(m)
	})})
	q := new(dns.Msg).SetQuestion("steered.a.test.", dns.TypeA)
	q.SetEdns0(1232, true)
	q.IsEdns0().Option = []dns.EDNS0{&subnet}
	m := askServer(t.Context(), t, s, false, q)
	opt := m.IsEdns0()
	if opt == nil || len(opt.Option) != 1 || opt.Option[0].(*dns.EDNS0_SUBNET).SourceScope != 20 || !opt.Do() || opt.UDPSize() != 1232 {
		t.Errorf("got %v, want the client's OPT with scope 20", opt)
	}
	if n := len(slices.DeleteFunc(m.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeOPT })); n != 1 {
		t.Errorf("%d OPT records", n)
	}
}

// TestTheTargetIsAskedForAsTheClientAsked watches what the target's block sees.
func TestTheTargetIsAskedForAsTheClientAsked(t *testing.T) {
	st := edgetest.New(t)
	st.Zone(t, "a.test.", chaseZone)
	z := newZkZone(t, st.URL(), "a.test.")
	var asked []string
	s := newServer(t, map[string]plugin.Handler{".": z, "b.test.": plugin.HandlerFunc(func(ctx context.Context, _ dns.ResponseWriter, r *dns.Msg) (int, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the target's block may take for ever")
		}
		asked = append(asked, r.Question[0].Name+" "+dns.Type(r.Question[0].Qtype).String())
		if opt := r.IsEdns0(); opt == nil || !opt.Do() {
			t.Errorf("%s: the client's DO bit got lost", r.Question[0].Name)
		}
		return dns.RcodeRefused, nil
	})})
	for _, q := range []*dns.Msg{new(dns.Msg).SetQuestion("near.a.test.", dns.TypeAAAA), new(dns.Msg).SetQuestion("near.a.test.", dns.TypeANY), new(dns.Msg).SetQuestion("far.a.test.", dns.TypeCNAME)} {
		q.SetEdns0(1232, true)
		askServer(t.Context(), t, s, false, q)
	}
	if want := []string{"www.b.test. AAAA"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}
