package fastpath

import (
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"

	"github.com/miekg/dns"
)

// oneZone is an edge.Authority of a single snapshot, and its edge.ZoneAnswers.
type oneZone struct {
	snapshot *zone.Snapshot
	passesOn bool
	empty    bool
	mu       sync.Mutex
	kinds    map[zone.Kind]uint64
}

func (z *oneZone) Answering(name zone.Name, _ uint16) edge.ZoneAnswers {
	if !name.IsSubdomainOf(z.snapshot.Origin()) {
		return nil
	}
	return z
}

func (z *oneZone) PassesOn() bool { return z.passesOn }
func (z *oneZone) Origin() string { return z.snapshot.Origin().String() }
func (z *oneZone) Snapshot() *zone.Snapshot {
	if z.empty {
		return nil
	}
	return z.snapshot
}
func (z *oneZone) CountAnswers(_ string, kind zone.Kind, n uint64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.kinds[kind] += n
}

// byClient is an edge.Steerer that gives clients with a client subnet the PoP ams1, with scope 24; others get the default variant.
type byClient struct{ client steer.Client }

func (*byClient) Steers(zone.Name) bool            { return true }
func (*byClient) NewSteering(string) edge.Steering { return &byClient{} }
func (s *byClient) Begin(c steer.Client)           { s.client = c }
func (*byClient) Count(int, int)                   {}
func (s *byClient) Scope(positive bool) (scope uint8) {
	if positive {
		scope = 24
	}
	return scope
}

func (s *byClient) Pick(_ zone.Steering, v zone.Variants, _ bool) zone.Choice {
	if s.client.HasECS {
		return zone.Choice{Variant: v.Index("ams1")}
	}
	return zone.Choice{Variant: zone.Default}
}

// claims has all names that begin with a label.
type claims string

func (c claims) Claims(name zone.Name) bool { return strings.HasPrefix(string(name), string(c)) }

func newResponder(tb testing.TB) (*responder, *oneZone) {
	tb.Helper()
	s, err := zonefile.Read(strings.NewReader(`$ORIGIN example.org.
@     60 IN SOA ns h 1 2 3 4 5
@     60 IN NS ns
ns    60 IN A 192.0.2.53
www   60 IN A 192.0.2.1
www   60 IN A 192.0.2.2 ;@ pop=ams1
out   60 IN CNAME www.example.net.
other 60 IN CNAME elsewhere.example.com.
big   60 IN TXT "`+strings.Repeat("x", 250)+`" "`+strings.Repeat("y", 250)+`"
`), "test.zone", zone.MustParseName("example.org."))
	if err != nil {
		tb.Fatal(err)
	}
	z := &oneZone{snapshot: s, kinds: map[zone.Kind]uint64{}}
	r := &responder{}
	r.use(&view{server: "dns://test:53", blocks: []zoneBlock{
		{zone.MustParseName("stock.example.org."), nil},
		{zone.MustParseName("example.org."), &block{authority: z, steerer: &byClient{}, claimants: []edge.Claimant{claims("\x06_fresh")}}},
		{zone.MustParseName("example.net."), nil},
	}})
	return r, z
}

var client = netip.MustParseAddr("198.51.100.7")

func TestResponderLeavesToTheChainWhatItMust(t *testing.T) {
	ask := func(name string, typ uint16) func(m *dns.Msg) {
		return func(m *dns.Msg) { m.SetQuestion(name, typ) }
	}
	for _, tc := range []struct {
		what   string
		query  func(m *dns.Msg)
		change func(z *oneZone)
		want   missReason
	}{
		{"address", ask("www.example.org.", dns.TypeA), nil, 0},
		{"missing name", ask("x.example.org.", dns.TypeA), nil, 0},
		{"missing name, fallthrough", ask("x.example.org.", dns.TypeA), func(z *oneZone) { z.passesOn = true }, missResult},
		{"no data", ask("www.example.org.", dns.TypeA), func(z *oneZone) { z.empty = true }, missZone},
		{"alias to another block", ask("out.example.org.", dns.TypeA), nil, missResult},
		{"alias to nowhere here", ask("other.example.org.", dns.TypeA), nil, 0},
		{"too big", ask("big.example.org.", dns.TypeTXT), nil, missSize},
		{"longer block", ask("www.stock.example.org.", dns.TypeA), nil, missBlock},
		{"DS where a block of the parent is", ask("stock.example.org.", dns.TypeDS), nil, missBlock},
		{"no block", ask("www.example.com.", dns.TypeA), nil, missBlock},
		{"claimed", ask("_fresh.example.org.", dns.TypeTXT), nil, missPlugin},
	} {
		r, z := newResponder(t)
		if tc.change != nil {
			tc.change(z)
		}
		reply, reason := r.answer(packed(t, tc.query), client, nil)
		if reason != tc.want || (reply == nil) != (tc.want != 0) {
			t.Errorf("%s: %q with a reply of %d octets, want %q", tc.what, reason, len(reply), tc.want)
		}
	}
}

func TestResponderStepsAllocateNothingAndAreCounted(t *testing.T) {
	r, z := newResponder(t)
	out := make([]byte, 0, maxReply)
	queries := [][]byte{
		packed(t, nil), packed(t, withOptions(cookie, subnet)),
		packed(t, func(m *dns.Msg) { m.SetQuestion("nobody.example.org.", dns.TypeAAAA) }),
		packed(t, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }),
	}
	step := func() {
		for _, q := range queries {
			_, _ = r.answer(q, client, out)
		}
	}
	step()
	const steps = 100
	if n := testing.AllocsPerRun(steps, step); n > 0 {
		t.Errorf("%v allocations", n)
	}
	r.tallies.flush(r.view.server)
	if z.kinds[zone.Success] != 2*(steps+2) || z.kinds[zone.NXDomain] != steps+2 {
		t.Errorf("counted %v", z.kinds)
	}
	reply, _ := r.answer(queries[1], client, out)
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil || len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != "192.0.2.2" || m.Answer[0].Header().Name != "wWw.Example.ORG." {
		t.Errorf("steered reply, %v:\n%s", err, m)
	}
	if s := m.IsEdns0().Option[0].(*dns.EDNS0_SUBNET); len(m.IsEdns0().Option) != 1 || s.SourceScope != 24 || s.SourceNetmask != 24 {
		t.Errorf("options %v", m.IsEdns0())
	}
}

// BenchmarkAnswer is what the fast path takes of a query without the kernel.
func BenchmarkAnswer(b *testing.B) {
	r, _ := newResponder(b)
	out := make([]byte, 0, maxReply)
	for name, q := range map[string][]byte{
		"address": packed(b, nil), "EDNS": packed(b, withOptions()), "subnet": packed(b, withOptions(subnet)),
		"nxdomain": packed(b, func(m *dns.Msg) { m.SetQuestion("nobody.example.org.", dns.TypeAAAA) }),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, reason := r.answer(q, client, out); reason != 0 {
					b.Fatal(reason)
				}
			}
		})
	}
}
