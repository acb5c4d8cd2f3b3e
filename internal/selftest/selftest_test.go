package selftest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/ecs"
	"github.com/popdns/popdns/internal/pick"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"
)

const records = `@ 60 SOA ns h 1 2 3 4 5
@ 60 NS ns.example.net.
www 60 A 192.0.2.1 ;@ pop=ams1
www 60 A 192.0.2.2 ;@ pop=iad2
*.w 60 A 192.0.2.1 ;@ pop=ams1
*.w 60 A 192.0.2.2 ;@ pop=iad2
x.w 60 TXT "x"
`

// edge is a server as an edge is, in a few lines.
type edge struct {
	m     *steer.Map
	z     *zone.Snapshot
	asked atomic.Int64
	spoil func(*dns.Msg) // nil for none
}

type lookup struct{ d *steer.Decision }

func (l lookup) Pick(s zone.Steering, v zone.Variants, hasDefault bool) zone.Choice {
	return pick.Pick(l.d, nil, &s, v, hasDefault).Choice
}

func (e *edge) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	e.asked.Add(1)
	opt, present, err := ecs.FromMsg(q)
	if err != nil {
		return
	}
	client := steer.Client{Resolver: netip.MustParseAddr("127.0.0.1"), HasECS: present && opt.Usable()}
	if client.HasECS {
		client.ECS = opt.Prefix()
	}
	d := e.m.Decide(client)
	m := new(dns.Msg)
	m.SetReply(q)
	name := zone.MustParseName(q.Question[0].Name)
	var res zone.Result
	e.z.Lookup(zone.Question{Name: name, Type: q.Question[0].Qtype}, lookup{&d}, &res)
	if res.Fill(m, name, q.Question[0].Name) != nil {
		return
	}
	if present {
		opt.AddTo(m, d.Scope)
	}
	if e.spoil != nil {
		e.spoil(m)
	}
	_ = w.WriteMsg(m)
}

// start returns a test of a server with so many rows in its map. spoil changes its answers, if not nil.
func start(t *testing.T, rows int, spoil func(*dns.Msg)) (*Test, *edge) {
	t.Helper()
	b := steer.NewMapBuilder("edge")
	if err := b.Default([]string{"ams1"}); err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{44, byte(i >> 7), byte(i << 1), 0}), 24)
		if err := b.Add(steer.ECS, p, []string{[]string{"ams1", "iad2"}[i%2]}); err != nil {
			t.Fatal(err)
		}
	}
	m, err := b.Build(1)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zonefile.Read(strings.NewReader(records), "z", zone.MustParseName("example.org"))
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{m: m, z: z, spoil: spoil}
	up, done := make(chan struct{}), make(chan struct{})
	s := &dns.Server{PacketConn: pc, Handler: e, NotifyStartedFunc: func() { close(up) }}
	go func() {
		defer close(done)
		_ = s.ActivateAndServe()
	}()
	<-up
	t.Cleanup(func() {
		_ = s.Shutdown()
		<-done
	})
	return &Test{
		Map: m, Zone: z, Name: zone.MustParseName("www.example.org"), Type: dns.TypeA,
		Server: pc.LocalAddr().String(), Rate: 1e6, Parallel: 8, Timeout: 5 * time.Second, Tries: 3,
	}, e
}

func TestEveryBlockIsAskedFromOnce(t *testing.T) {
	for _, name := range []string{"www.example.org", "any.w.example.org"} {
		test, e := start(t, 500, nil)
		test.Name = zone.MustParseName(name)
		blocks := 0
		for range test.Map.Leaves(steer.ECS) {
			blocks++
		}
		var mu sync.Mutex
		last := 0
		test.Progress = func(done, total int) {
			mu.Lock()
			defer mu.Unlock()
			if last = max(last, done); total != blocks {
				t.Errorf("progress to %d, want %d", total, blocks)
			}
		}
		r, err := test.Run(t.Context())
		if err != nil || r.Wrong != 0 || len(r.Findings) != 0 {
			t.Fatalf("%s: %+v, %v", name, r, err)
		}
		if r.Blocks != blocks || int(e.asked.Load()) != blocks+1 || last != blocks || r.ResolverBlocks != 2 || r.ResolverBlock != "0.0.0.0/0" {
			t.Errorf("%s: %+v, %d asked, progress to %d; want %d blocks", name, r, e.asked.Load(), last, blocks)
		}
	}
}

func TestTheFirstFindingsAreKeptInOrder(t *testing.T) {
	test, _ := start(t, 500, func(m *dns.Msg) { m.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, 2) }) // iad2 for all
	r, err := test.Run(t.Context())
	if err != nil || len(r.Findings) != MaxFindings || r.Wrong <= MaxFindings {
		t.Fatalf("%d findings of %d, %v", len(r.Findings), r.Wrong, err)
	}
	if first := r.Findings[0]; first.Plane != "resolver" || first.What != "the answer of iad2 (192.0.2.2), want that of ams1" {
		t.Errorf("%+v", first)
	}
	for i := 2; i < len(r.Findings); i++ {
		if a, b := netip.MustParsePrefix(r.Findings[i-1].Block), netip.MustParsePrefix(r.Findings[i].Block); !a.Addr().Less(b.Addr()) {
			t.Fatalf("%s before %s", a, b)
		}
	}
}

func TestTheRateIsKept(t *testing.T) {
	test, e := start(t, 10, nil)
	test.Rate = 50
	began := time.Now()
	if _, err := test.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took, least := time.Since(began), time.Duration(e.asked.Load()-2)*time.Second/50; took < least {
		t.Errorf("%d queries in %s, want at least %s", e.asked.Load(), took, least)
	}
}

func TestTheEndOfTheContextEndsTheTest(t *testing.T) {
	test, _ := start(t, 500, nil)
	ctx, cancel := context.WithCancel(t.Context())
	test.Rate = 10
	test.Progress = func(int, int) { cancel() }
	if _, err := test.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestOwnerOf(t *testing.T) {
	test, _ := start(t, 1, nil)
	for name, want := range map[string]string{"www": "www", "a.w": "*.w", "a.b.w": "*.w", "x.w": "x.w", "a.x.w": "a.x.w", "nothing": "nothing"} {
		full := func(s string) zone.Name { return zone.MustParseName(fmt.Sprintf("%s.example.org", s)) }
		if got := ownerOf(test.Zone, full(name)); got != full(want) {
			t.Errorf("%s: %s, want %s", name, got, full(want))
		}
	}
}
