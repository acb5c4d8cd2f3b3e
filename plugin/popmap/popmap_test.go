package popmap

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/edge/edgetest"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"

	"github.com/miekg/dns"
)

const testZone = `$ORIGIN example.org.
@      60 IN SOA ns h 1 2 3 4 5
@      60 IN NS ns
ns     60 IN A 192.0.2.53
plain  60 IN A 192.0.2.80
child  60 IN NS ns.child
ns.child 60 IN A 192.0.2.54
www    60 IN A 10.0.0.1 ;@ pop=ams1 map=edge
www    60 IN A 10.0.0.2 ;@ pop=iad2
www    60 IN A 10.0.0.3 ;@ pop=sin1
www    60 IN A 10.0.0.9
bare   60 IN A 10.1.0.1 ;@ pop=ams1
bare   60 IN A 10.1.0.2 ;@ pop=iad2
alias  60 IN CNAME www
`

// The nested prefixes of the notes' worked vectors: ecs and resolver planes
// differ, and the ecs plane has holes.
const testMap = `default: [sin1]
resolver:
  198.51.100.0/24: [iad2]
ecs:
  44.0.0.0/8: [ams1, iad2]
  44.1.0.0/16: [iad2, ams1]
  2001:db8:1::/48: [ams1]
`

const testPoPs = `ams1: {lat: 52, lon: 4}
iad2: {lat: 39, lon: -77}
sin1: {lat: 1, lon: 103}
`

// lookup stands for zkzone: it answers from the zone with the picker that it
// finds in the context.
func lookup(src *edge.Source, origin zone.Name) plugin.HandlerFunc {
	return func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		m := new(dns.Msg)
		m.SetReply(r)
		if r.Question[0].Name == "broken.example.org." {
			return dns.RcodeServerFailure, errors.New("broken")
		}
		var res zone.Result
		q := zone.Question{Name: zone.MustParseName(r.Question[0].Name), Type: r.Question[0].Qtype}
		src.Zone(origin).Current().Value.Lookup(q, edge.PickerFrom(ctx), &res)
		if err := res.Fill(m, q.Name, r.Question[0].Name); err != nil {
			return dns.RcodeServerFailure, err
		}
		return dns.RcodeSuccess, w.WriteMsg(m)
	}
}

func newPopMap(t *testing.T) (*PopMap, *edgetest.Store) {
	t.Helper()
	st := edgetest.New(t)
	st.PoPs(t, testPoPs)
	st.Map(t, "edge", testMap)
	st.Zone(t, "example.org.", testZone)
	src := st.Follow(t, "example.org.").Source
	for _, wait := range []interface{ Wait(context.Context) error }{src.FollowMap("edge"), src.PoPs()} {
		if err := wait.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p := &PopMap{zones: []string{"example.org."}, source: src, fallback: []string{"iad2"}}
	p.Next = lookup(src, zone.MustParseName("example.org."))
	return p, st
}

// client is a response writer with a source address of our choice.
type client struct {
	test.ResponseWriter
	addr string
}

func (c *client) RemoteAddr() net.Addr { return &net.UDPAddr{IP: net.ParseIP(c.addr), Port: 40212} }

// askPopMap sends a query through real wire bytes, as a client would.
func askPopMap(t *testing.T, p *PopMap, from, name string, subnet *dns.EDNS0_SUBNET) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, dns.TypeA)
	q.SetEdns0(1232, false)
	if subnet != nil {
		subnet.Code = dns.EDNS0SUBNET
		opt := q.IsEdns0()
		opt.Option = append(opt.Option, subnet)
	}
	wire, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return askWire(t, p, from, wire)
}

func askWire(t *testing.T, p *PopMap, from string, wire []byte) *dns.Msg {
	t.Helper()
	r := new(dns.Msg)
	if err := r.Unpack(wire); err != nil {
		t.Fatal(err)
	}
	rec := dnstest.NewRecorder(&client{addr: from})
	if _, err := p.ServeDNS(t.Context(), rec, r); err != nil && r.Question[0].Name != "broken.example.org." {
		t.Fatal(err)
	}
	if rec.Msg == nil {
		t.Fatal("no reply was written")
	}
	return rec.Msg
}

func v4(addr string, bits uint8) *dns.EDNS0_SUBNET {
	return &dns.EDNS0_SUBNET{Family: 1, SourceNetmask: bits, Address: net.ParseIP(addr).To4()}
}

func v6(addr string, bits uint8) *dns.EDNS0_SUBNET {
	return &dns.EDNS0_SUBNET{Family: 2, SourceNetmask: bits, Address: net.ParseIP(addr)}
}

// subnetOf returns the reply's option, nil without.
func subnetOf(m *dns.Msg) *dns.EDNS0_SUBNET {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_SUBNET); ok {
				return e
			}
		}
	}
	return nil
}

func addresses(m *dns.Msg) string {
	out := ""
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			out += a.A.String()
		}
	}
	return out
}

func TestEveryClientGetsItsPoPWithTheRightScope(t *testing.T) {
	p, _ := newPopMap(t)
	const other = "192.0.2.200" // a resolver that no row names
	for _, tc := range []struct {
		what, from, name string
		subnet           *dns.EDNS0_SUBNET
		want             string
		scope            int // -1: no option
	}{
		{"resolver in the resolver plane", "198.51.100.7", "www.example.org.", nil, "10.0.0.2", -1},
		{"resolver that no row names", other, "www.example.org.", nil, "10.0.0.3", -1},
		{"client in the wider prefix", other, "www.example.org.", v4("44.2.3.0", 24), "10.0.0.1", 15},
		{"client beside the nested prefix", other, "www.example.org.", v4("44.0.0.0", 24), "10.0.0.1", 16},
		{"client far from the nested prefix", other, "www.example.org.", v4("44.128.0.0", 24), "10.0.0.1", 9},
		{"client in the nested prefix", other, "www.example.org.", v4("44.1.2.0", 24), "10.0.0.2", 16},
		{"client in a hole: the resolver decides, the hole's scope", "198.51.100.7", "www.example.org.", v4("88.0.113.0", 24), "10.0.0.2", 2},
		{"client in IPv6", other, "www.example.org.", v6("2001:db8:1::", 56), "10.0.0.1", 48},
		{"source 0: the resolver decides", "198.51.100.7", "www.example.org.", v4("0.0.0.0", 0), "10.0.0.2", 0},
		{"private client: the resolver decides for the private block", "198.51.100.7", "www.example.org.", v4("10.1.2.0", 24), "10.0.0.2", 8},
		{"name without a map: the block's default order", other, "bare.example.org.", v4("44.1.2.0", 24), "10.1.0.2", 0},
		{"unsteered name", other, "plain.example.org.", v4("44.1.2.0", 24), "192.0.2.80", 0},
		{"alias of a steered name", other, "alias.example.org.", v4("44.1.2.0", 24), "10.0.0.2", 16},
		{"missing name", other, "missing.example.org.", v4("44.1.2.0", 24), "", 0},
		{"delegation", other, "x.child.example.org.", v4("44.1.2.0", 24), "", 0},
		{"failure", other, "broken.example.org.", v4("44.1.2.0", 24), "", 0},
	} {
		m := askPopMap(t, p, tc.from, tc.name, tc.subnet)
		if got := addresses(m); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.what, got, tc.want)
		}
		e := subnetOf(m)
		switch {
		case tc.scope < 0 && e != nil:
			t.Errorf("%s: the reply has a Client Subnet option that nobody asked for: %v", tc.what, e)
		case tc.scope >= 0 && e == nil:
			t.Errorf("%s: the reply lacks the Client Subnet option", tc.what)
		case tc.scope >= 0 && (int(e.SourceScope) != tc.scope || e.SourceNetmask != tc.subnet.SourceNetmask || e.Family != tc.subnet.Family || !e.Address.Equal(tc.subnet.Address)):
			t.Errorf("%s: option is %v, want scope %d and the rest as sent (%v)", tc.what, e, tc.scope, tc.subnet)
		}
	}
}

func TestMalformedClientSubnetGetsFormErr(t *testing.T) {
	p, _ := newPopMap(t)
	q := new(dns.Msg)
	q.SetQuestion("www.example.org.", dns.TypeA)
	q.SetEdns0(1232, false)
	opt := q.IsEdns0()
	opt.Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, SourceScope: 8, Address: net.ParseIP("44.1.2.0").To4()}}
	wire, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if m := askWire(t, p, "192.0.2.200", wire); m.Rcode != dns.RcodeFormatError {
		t.Errorf("a scope in a query: got %s, want FORMERR", dns.RcodeToString[m.Rcode])
	}
	// The option ends the message: cut one of its three address octets, and
	// correct the lengths of the option and of the OPT record.
	opt.Option[0].(*dns.EDNS0_SUBNET).SourceScope = 0
	if wire, err = q.Pack(); err != nil {
		t.Fatal(err)
	}
	const optionData = 2 + 1 + 1 + 3 // family, source, scope, address
	wire[len(wire)-optionData-1]--
	wire[len(wire)-optionData-2-2-1]--
	short := wire[:len(wire)-1]
	if m := askWire(t, p, "192.0.2.200", short); m.Rcode != dns.RcodeFormatError {
		t.Errorf("an address that is too short: got %s, want FORMERR", dns.RcodeToString[m.Rcode])
	}
}

func TestOptionsEditedByRewriteAreNoFormErr(t *testing.T) {
	p, _ := newPopMap(t)
	edited := func() *dns.Msg {
		q := new(dns.Msg)
		q.SetQuestion("www.example.org.", dns.TypeA)
		q.SetEdns0(1232, false)
		opt := q.IsEdns0()
		subnet := v4("44.1.2.0", 24)
		subnet.Code = dns.EDNS0SUBNET
		opt.Option = []dns.EDNS0{subnet}
		opt.Hdr.Rdlength = 4 // of an option that the client sent, and rewrite replaced
		return q
	}
	ask := func() *dns.Msg {
		rec := dnstest.NewRecorder(&client{addr: "192.0.2.200"})
		if _, err := p.ServeDNS(t.Context(), rec, edited()); err != nil {
			t.Fatal(err)
		}
		return rec.Msg
	}
	if m := ask(); m.Rcode != dns.RcodeFormatError {
		t.Errorf("lengths that differ, without rewrite: got %s, want FORMERR", dns.RcodeToString[m.Rcode])
	}
	p.rewrite = true
	if m := ask(); addresses(m) != "10.0.0.2" {
		t.Errorf("behind rewrite: got %s %q, want 10.0.0.2", dns.RcodeToString[m.Rcode], addresses(m))
	}
}

func TestDrainedPoPIsPassedOverAtOnce(t *testing.T) {
	p, st := newPopMap(t)
	ask := func() string {
		return addresses(askPopMap(t, p, "192.0.2.200", "www.example.org.", v4("44.1.2.0", 24)))
	}
	wait := func(want string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ask() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("answer is %q, want %q", ask(), want)
			}
		}
	}
	wait("10.0.0.2")
	if _, err := st.DrainPoP(t.Context(), "iad2", 100); err != nil {
		t.Fatal(err)
	}
	wait("10.0.0.1") // the next of the list
	if _, err := st.SetPoPState(t.Context(), "ams1", steer.Down); err != nil {
		t.Fatal(err)
	}
	wait("10.0.0.9") // the default variant: no PoP of the list is left
	m := askPopMap(t, p, "192.0.2.200", "bare.example.org.", v4("44.1.2.0", 24))
	if got := addresses(m); got != "10.1.0.2" {
		t.Errorf("all PoPs away and no default variant: got %q, want the first of the list all the same", got)
	}
	if _, err := st.DrainPoP(t.Context(), "iad2", 0); err != nil {
		t.Fatal(err)
	}
	wait("10.0.0.2")
}

func TestOtherZonesPassUntouched(t *testing.T) {
	p, _ := newPopMap(t)
	p.Next = plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		if edge.PickerFrom(ctx) != nil {
			t.Error("a query outside the zones has a picker")
		}
		m := new(dns.Msg)
		return dns.RcodeSuccess, w.WriteMsg(m.SetReply(r))
	})
	if e := subnetOf(askPopMap(t, p, "192.0.2.1", "www.example.com.", v4("44.1.2.0", 24))); e != nil {
		t.Errorf("a query outside the zones is answered with a Client Subnet option: %v", e)
	}
}
