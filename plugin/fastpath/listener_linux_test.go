package fastpath

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/coredns/coredns/core/dnsserver"

	"github.com/miekg/dns"
)

// newServer is a CoreDNS server that refuses all names.
func newServer(t *testing.T, addr string) *dnsserver.Server {
	t.Helper()
	s, err := dnsserver.NewServer("dns://"+addr, []*dnsserver.Config{{Zone: "stock.example.", ListenHosts: []string{""}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// freeAddr is an address of loopback that was free a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	return pc.LocalAddr().String()
}

// TestListenerAnswersEveryQueryWhileInstancesFollowOneAnother has no socket of CoreDNS's beside it, so what it does not answer nobody does.
func TestListenerAnswersEveryQueryWhileInstancesFollowOneAnother(t *testing.T) {
	addr := freeAddr(t)
	p := &plan{sockets: 0, workers: 2}
	instances := [3]*instance{}
	start := func(i int) {
		r, _ := newResponder(t)
		p := *p
		p.blocks = r.view.blocks
		instances[i] = &instance{plans: map[string]*plan{addr: &p}}
		listeners.claim(instances[i])
		instances[i].serving(newServer(t, addr))
	}
	start(0)

	hit, miss := packed(t, withOptions(subnet)), packed(t, func(m *dns.Msg) { m.SetQuestion("www.stock.example.", dns.TypeA) })
	done := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		conn, err := net.Dial("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		clients.Go(func() {
			defer conn.Close()
			buf := make([]byte, 4096)
			for id := uint16(0); ; id++ {
				select {
				case <-done:
					return
				default:
				}
				wire, want := append([]byte(nil), hit...), dns.RcodeSuccess
				if id%4 == 0 {
					wire, want = append([]byte(nil), miss...), dns.RcodeRefused
				}
				binary.BigEndian.PutUint16(wire, id)
				if _, err := conn.Write(wire); err != nil {
					t.Error(err)
					return
				}
				_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				n, err := conn.Read(buf)
				if err != nil || n < headerSize || binary.BigEndian.Uint16(buf) != id || int(buf[3]&15) != want {
					t.Errorf("query %d: %v % x", id, err, buf[:n])
					return
				}
			}
		})
	}
	for i := 1; i < len(instances); i++ {
		time.Sleep(50 * time.Millisecond) // load on each
		start(i)
		if err := instances[i-1].release(); err != nil {
			t.Error(err)
		}
		if v := listeners.open[addr].view.Load(); v.owner != instances[i] {
			t.Errorf("instance %d did not take over", i)
		}
	}
	time.Sleep(50 * time.Millisecond)
	listeners.sweep(map[*instance]bool{instances[2]: true})
	if listeners.open[addr] == nil {
		t.Error("a sweep ended the listener of a live instance")
	}
	close(done)
	clients.Wait()
	listeners.sweep(nil)
	if len(listeners.open)+len(listeners.claims) > 0 {
		t.Errorf("left open: %v, claims %v", listeners.open, listeners.claims)
	}
	if pc, err := net.ListenPacket("udp", addr); err != nil {
		t.Errorf("the address is still taken: %v", err)
	} else {
		pc.Close()
	}
}
