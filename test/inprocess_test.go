package test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
)

// capture is a directive of the tests' own, "capture NAME": it hands out the server
// that its block runs in, so that a test can call it without sockets between.
const capture = "capture"

var captured sync.Map // NAME → *dnsserver.Server

func init() {
	plugin.Register(capture, func(c *caddy.Controller) error {
		if !c.Next() || !c.NextArg() {
			return c.ArgErr()
		}
		name := c.Val()
		dnsserver.GetConfig(c).UDPDecorateWriterFunc = func(s *dnsserver.Server) dns.DecorateWriter {
			captured.Store(name, s)
			return nil
		}
		return nil
	})
}

// inProcess is a server of this process that is asked by calling it. Nothing but
// the sockets is left out: queries and replies go through their wire form.
type inProcess struct{ *dnsserver.Server }

// startCaptured starts a Corefile in this process and returns the servers that it
// captures under the names.
func startCaptured(t *testing.T, corefile string, names ...string) []inProcess {
	t.Helper()
	caddy.Quiet, dnsserver.Quiet = true, true
	inst, err := caddy.Start(caddy.CaddyfileInput{Contents: []byte(corefile), Filepath: "Corefile", ServerTypeName: "dns"})
	if err != nil {
		t.Fatalf("start: %v\n%s", err, corefile)
	}
	t.Cleanup(func() {
		if errs := inst.ShutdownCallbacks(); errs != nil {
			t.Errorf("shutdown: %v", errs)
		}
		if err := inst.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	servers := make([]inProcess, len(names))
	for i, name := range names {
		eventually(t, name+" serves", func() error {
			s, ok := captured.LoadAndDelete(name)
			if !ok {
				return fmt.Errorf("not yet")
			}
			servers[i].Server = s.(*dnsserver.Server)
			return nil
		})
	}
	return servers
}

// ask gives the reply to a query in wire form, as it comes by the network: of one that
// can't be read what can.
func (s inProcess) ask(network string, query []byte) (*dns.Msg, error) {
	r := new(dns.Msg)
	if err := r.Unpack(query); err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	w := &replyWriter{network: network}
	ctx := context.WithValue(context.WithValue(context.Background(), dnsserver.Key{}, s.Server), dnsserver.LoopKey{}, 0)
	s.ServeDNS(ctx, w, r)
	if w.replies != 1 {
		return nil, fmt.Errorf("%d replies to %s", w.replies, r.Question[0].String())
	}
	m := new(dns.Msg)
	if err := m.Unpack(w.wire); err != nil {
		return m, fmt.Errorf("reply to %s: %w", r.Question[0].String(), err)
	}
	return m, nil
}

// replyWriter keeps one reply in wire form.
type replyWriter struct {
	network string
	replies int
	wire    []byte
}

var _ dns.ResponseWriter = (*replyWriter)(nil)

// WriteMsg keeps no reply that can't be packed: the client would get none.
func (w *replyWriter) WriteMsg(m *dns.Msg) error {
	wire, err := m.Pack()
	if err != nil {
		return err
	}
	_, err = w.Write(wire)
	return err
}

func (w *replyWriter) Write(wire []byte) (int, error) {
	w.wire = wire
	w.replies++
	return len(wire), nil
}

func (w *replyWriter) addr(port int) net.Addr {
	if strings.HasPrefix(w.network, "tcp") {
		return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	}
	return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
}

func (w *replyWriter) LocalAddr() net.Addr  { return w.addr(53) }
func (w *replyWriter) RemoteAddr() net.Addr { return w.addr(5353) }
func (w *replyWriter) Network() string      { return w.network }
func (w *replyWriter) Close() error         { return nil }
func (w *replyWriter) TsigStatus() error    { return nil }
func (w *replyWriter) TsigTimersOnly(bool)  {}
func (w *replyWriter) Hijack()              {}
