package fastpath

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/popdns/popdns/internal/ecs"
	"github.com/popdns/popdns/internal/zone"

	"github.com/miekg/dns"
)

// packed is a query in wire form.
func packed(tb testing.TB, edit func(m *dns.Msg)) []byte {
	tb.Helper()
	m := new(dns.Msg)
	m.SetQuestion("wWw.Example.ORG.", dns.TypeA)
	m.Id = 4711
	if edit != nil {
		edit(m)
	}
	wire, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return wire
}

func withOptions(options ...dns.EDNS0) func(m *dns.Msg) {
	return func(m *dns.Msg) {
		m.SetEdns0(1232, true)
		m.IsEdns0().Option = options
	}
}

var (
	subnet = &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: []byte{192, 0, 2, 0}}
	cookie = &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}
)

func TestParserKnowsWhatItDoesNotKnow(t *testing.T) {
	for _, tc := range []struct {
		what string
		wire []byte
		want missReason
	}{
		{"plain", packed(t, nil), 0},
		{"EDNS", packed(t, withOptions()), 0},
		{"cookie and subnet", packed(t, withOptions(cookie, subnet)), 0},
		{"root", packed(t, func(m *dns.Msg) { m.SetQuestion(".", dns.TypeNS) }), 0},
		{"ANY", packed(t, func(m *dns.Msg) { m.SetQuestion("a.", dns.TypeANY) }), 0},
		{"two subnets", packed(t, withOptions(subnet, subnet)), missECS},
		{"NSID", packed(t, withOptions(&dns.EDNS0_NSID{Code: dns.EDNS0NSID})), missOption},
		{"EDNS 1", packed(t, func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }), missEDNS},
		{"TSIG", packed(t, func(m *dns.Msg) { m.SetTsig("key.", dns.HmacSHA256, 300, 0) }), missSections},
		{"NOTIFY", packed(t, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), missOpcode},
		{"response", packed(t, func(m *dns.Msg) { m.Response = true }), missOpcode},
		{"CH", packed(t, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), missClass},
		{"AXFR", packed(t, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }), missType},
		{"two questions", packed(t, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), missSections},
		{"something behind", append(packed(t, nil), 0), missMalformed},
		{"cut", packed(t, nil)[:20], missMalformed},
		{"nothing", nil, missMalformed},
	} {
		var q query
		if got := q.parse(tc.wire); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.what, got, tc.want)
		}
	}
}

func TestParsingAllocatesNothing(t *testing.T) {
	wire := packed(t, withOptions(cookie, subnet))
	var q query
	if n := testing.AllocsPerRun(100, func() {
		if q.parse(wire) != 0 || q.Name != "\x03www\x07example\x03org\x00" || !q.HasECS || !q.do() {
			t.Fatalf("%+v", q)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// checkParse compares the parser with miekg/dns, as CoreDNS's server uses it: what is no miss must be read alike.
func checkParse(t *testing.T, wire []byte) (hit bool) {
	t.Helper()
	before := bytes.Clone(wire)
	var q query
	reason := q.parse(wire)
	if !bytes.Equal(wire, before) {
		t.Fatalf("the datagram was changed")
	}
	if reason != 0 {
		if reason >= missReasons || reason.String() == "" {
			t.Fatalf("reason %d", reason)
		}
		return false
	}
	m := new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		t.Fatalf("taken for good: % x: %v", wire, err)
	}
	if m.Response || m.Opcode != dns.OpcodeQuery || len(m.Question) != 1 || len(m.Answer)+len(m.Ns) > 0 || len(m.Extra) > 1 {
		t.Fatalf("taken for a plain query:\n%s", m)
	}
	name, err := zone.ParseName(m.Question[0].Name)
	if err != nil || name != q.Name || q.Type != m.Question[0].Qtype || m.Question[0].Qclass != dns.ClassINET {
		t.Fatalf("question %q %d, want %s (%v)", q.Name, q.Type, m.Question[0].String(), err)
	}
	alone := dns.Msg{Question: m.Question}
	if packed, err := alone.Pack(); err != nil || !bytes.Equal(packed[headerSize:], q.Question) {
		t.Fatalf("question % x, packed % x (%v)", q.Question, packed, err)
	}
	opt := m.IsEdns0()
	if (opt != nil) != q.HasOPT {
		t.Fatalf("OPT %t of\n%s", q.HasOPT, m)
	}
	if opt == nil {
		return true
	}
	if opt.UDPSize() != q.Size || opt.Do() != q.do() || opt.Version() != 0 || dns.Len(opt) != q.OPTLen {
		t.Fatalf("OPT %d %x %d of\n%s", q.Size, q.Flags, q.OPTLen, m)
	}
	option, present, err := ecs.FromMsg(m)
	if err != nil || present != q.HasECS || present && option != q.ECS {
		t.Fatalf("client subnet %+v (%t), want %+v (%t, %v)", q.ECS, q.HasECS, option, present, err)
	}
	return true
}

func FuzzParse(f *testing.F) {
	f.Add(packed(f, nil))
	f.Add(packed(f, withOptions()))
	f.Add(packed(f, withOptions(cookie, subnet)))
	f.Add(packed(f, withOptions(&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 2, SourceNetmask: 47, Address: make([]byte, 16)}, &dns.EDNS0_PADDING{Padding: make([]byte, 7)})))
	f.Add(packed(f, func(m *dns.Msg) { m.SetTsig("key.", dns.HmacSHA256, 300, 0) }))
	f.Fuzz(func(t *testing.T, wire []byte) { checkParse(t, wire) })
}

// TestDamagedQueriesAreReadAsTheLibraryDoes is FuzzParse for a bounded number of near misses.
func TestDamagedQueriesAreReadAsTheLibraryDoes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(rand.Uint64(), 1))
	seeds := [][]byte{packed(t, nil), packed(t, withOptions()), packed(t, withOptions(cookie, subnet)), packed(t, withOptions(subnet))}
	hits := 0
	for range 200_000 {
		wire := bytes.Clone(seeds[rnd.IntN(len(seeds))])
		for range rnd.IntN(3) {
			wire[rnd.IntN(len(wire))] = byte(rnd.Uint32())
		}
		if rnd.IntN(8) == 0 {
			wire = wire[:rnd.IntN(len(wire)+1)]
		}
		if checkParse(t, wire) {
			hits++
		}
	}
	if hits < 20_000 {
		t.Errorf("only %d were hits", hits)
	}
}
