package test

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// breaker is a server that asks another and spoils its answers.
type breaker struct {
	behind string
	spoil  atomic.Pointer[func(q, reply *dns.Msg) *dns.Msg] // nil from it: no answer
}

func (b *breaker) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	reply, err := exchange(b.behind, q)
	if err != nil {
		return
	}
	if spoil := b.spoil.Load(); spoil != nil {
		if reply = (*spoil)(q, reply); reply == nil {
			return
		}
	}
	reply.Id = q.Id
	_ = w.WriteMsg(reply)
}

// startBreaker starts one in front of a server.
func startBreaker(t *testing.T, behind string) (b *breaker, addr string) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b = &breaker{behind: behind}
	started := make(chan struct{})
	s := &dns.Server{PacketConn: pc, Handler: b, NotifyStartedFunc: func() { close(started) }}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.ActivateAndServe()
	}()
	<-started
	t.Cleanup(func() {
		_ = s.Shutdown()
		<-done
	})
	return b, pc.LocalAddr().String()
}

// subnetOf returns the message's Client Subnet option, nil without one.
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

func TestSelftestFindsNothingAtARightServerAndEveryFaultAtABrokenOne(t *testing.T) {
	url := "dir://" + t.TempDir()
	popctl(t, url, 0, "init")
	popctl(t, url, 0, "pop", "apply", writeFile(t, "pops.yaml", "ams1: {drain: 40}\niad2: {}\nsin1: {}\n"))
	rows := ecsMap
	for i := range 100 {
		rows += fmt.Sprintf("  45.%d.0.0/16: [%s]\n  2600:%d::/32: [%s]\n", i, []string{"ams1*2, iad2*1", "sin1, ams1", "iad2"}[i%3], i, []string{"sin1", "ams1, iad2"}[i%2])
	}
	rows += "  2600:1:2:3:4::/80: [iad2]\n"
	popctl(t, url, 0, "map", "publish", "edge", writeFile(t, "edge.yaml", rows))
	popctl(t, url, 0, "zone", "publish", "example.org", writeFile(t, "example.org.zone", fmt.Sprintf(ecsZone, `"x"`)+
		"few 60 IN A 192.0.2.11 ;@ pop=ams1 map=edge answers=1 choose=weighted\nfew 60 IN A 192.0.2.12 ;@ pop=ams1\nfew 60 IN A 192.0.2.13\n"))
	port := freePort(t)
	server := loopback(port)
	startCoreDNS(t, fmt.Sprintf("example.org:%d {\n bind 127.0.0.1\n popmap {\n map edge\n }\n zkzone {\n source %s\n startup_timeout 20s\n }\n errors\n}\n", port, url), server)

	for _, name := range []string{"www.example.org", "any.wild.example.org", "few.example.org"} {
		out, _ := popctl(t, url, 0, "map", "selftest", "edge", name, "--server", server, "--rate", "5000")
		if !strings.Contains(out, " blocks of the ecs plane asked from, and 127.0.0.0/8 as 127.0.0.1; 0 wrong\n") || !strings.Contains(out, "other blocks of the resolver plane can't be tested from here\n") {
			t.Errorf("%s: %s", name, out)
		}
	}

	b, broken := startBreaker(t, server)
	popctl(t, url, 0, "map", "selftest", "edge", "www.example.org", "--server", broken, "--rate", "5000") // it spoils nothing yet
	first := func(m *dns.Msg) *dns.A { return m.Answer[0].(*dns.A) }
	in := func(q *dns.Msg, prefix string) bool {
		_, network, err := net.ParseCIDR(prefix)
		e := subnetOf(q)
		return err == nil && e != nil && network.Contains(e.Address)
	}
	for _, tc := range []struct {
		what  string
		spoil func(q, reply *dns.Msg) *dns.Msg
		lines []string // of the output
	}{
		{"another PoP's answer for one block", func(q, m *dns.Msg) *dns.Msg {
			if in(q, "45.2.0.0/16") {
				first(m).A = net.IPv4(192, 0, 2, 3)
			}
			return m
		}, []string{"ecs 45.2.0.0/16: the answer of sin1 (192.0.2.3), want that of iad2", "; 1 wrong"}},
		{"an answer from nowhere", func(q, m *dns.Msg) *dns.Msg {
			if in(q, "45.2.0.0/16") {
				first(m).A = net.IPv4(203, 0, 113, 1)
			}
			return m
		}, []string{"ecs 45.2.0.0/16: records of no variant (203.0.113.1), want those of iad2", "; 1 wrong"}},
		{"no record", func(q, m *dns.Msg) *dns.Msg {
			if in(q, "2600:7::/32") {
				m.Answer = nil
			}
			return m
		}, []string{"ecs 2600:7::/32: no records, want those of ", "; 1 wrong"}},
		{"the matched prefix of a nested map as the scope", func(q, m *dns.Msg) *dns.Msg {
			if e := subnetOf(m); in(q, "44.0.0.0/8") && !in(q, "44.1.0.0/16") {
				e.SourceScope = 8
			}
			return m
		}, []string{"ecs 44.0.0.0/16: scope 8, want 16", "ecs 44.128.0.0/9: scope 8, want 9", "; 8 wrong"}},
		{"no option", func(q, m *dns.Msg) *dns.Msg {
			if in(q, "45.2.0.0/16") {
				m.Extra = nil
			}
			return m
		}, []string{"ecs 45.2.0.0/16: no Client Subnet option in the reply", "; 1 wrong"}},
		{"another client's option", func(q, m *dns.Msg) *dns.Msg {
			if in(q, "45.2.0.0/16") {
				subnetOf(m).Address = net.IPv4(45, 3, 0, 0).To4()
			}
			return m
		}, []string{"ecs 45.2.0.0/16: Client Subnet 45.3.0.0/16, want 45.2.0.0/16 as it was sent", "; 1 wrong"}},
		{"SERVFAIL", func(q, m *dns.Msg) *dns.Msg {
			if in(q, "45.2.0.0/16") {
				m.Rcode, m.Answer = dns.RcodeServerFailure, nil
			}
			return m
		}, []string{"ecs 45.2.0.0/16: rcode SERVFAIL, want NOERROR", "; 1 wrong"}},
		{"silence", func(q, m *dns.Msg) *dns.Msg {
			if in(q, "45.2.0.0/16") {
				return nil
			}
			return m
		}, []string{"ecs 45.2.0.0/16: no answer: ", "; 1 wrong"}},
		{"an option that nobody asked for, and the resolver's answer for all", func(q, m *dns.Msg) *dns.Msg {
			first(m).A = net.IPv4(192, 0, 2, 2)
			if subnetOf(q) == nil {
				withECS(m, "45.2.0.0/16")
			}
			return m
		}, []string{"resolver 127.0.0.0/8: a Client Subnet option that nobody asked for", "want that of sin1", " more\n"}},
	} {
		b.spoil.Store(&tc.spoil)
		out, _ := popctl(t, url, 2, "map", "selftest", "edge", "www.example.org", "--server", broken, "--rate", "5000", "--try-timeout", "300ms", "--tries", "1")
		for _, line := range tc.lines {
			if !strings.Contains(out, line) {
				t.Errorf("%s: the output lacks %q:\n%s", tc.what, line, out)
			}
		}
	}

	// A server that is not there ends the test at once.
	began := time.Now()
	if _, stderr := popctl(t, url, 1, "map", "selftest", "edge", "www.example.org", "--server", loopback(freePort(t)), "--try-timeout", "200ms", "--tries", "2"); !strings.Contains(stderr, " does not answer: ") {
		t.Errorf("no server: %s", stderr)
	}
	if took := time.Since(began); took > deadline {
		t.Errorf("no server: found out after %s", took)
	}
}
