package test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/miekg/dns"
)

// packer is a response writer that packs the reply and drops it.
type packer struct {
	dns.ResponseWriter
	remote *net.UDPAddr
	buf    []byte
	reply  *dns.Msg
}

func (p *packer) RemoteAddr() net.Addr { return p.remote }
func (p *packer) LocalAddr() net.Addr  { return p.remote }
func (p *packer) TsigStatus() error    { return nil }

func (p *packer) WriteMsg(m *dns.Msg) (err error) {
	p.reply = m
	p.buf, err = m.PackBuffer(p.buf)
	return err
}

// steeredServer starts a server in this process whose zone has two names of the same records, one of them steered by a map of many rows.
func steeredServer(tb testing.TB) *dnsserver.Server {
	tb.Helper()
	store := "dir://" + tb.TempDir()
	popctl(tb, store, 0, "init")
	popctl(tb, store, 0, "pop", "apply", writeFile(tb, "pops.yaml", "ams1: {}\niad2: {}\nsin1: {}\n"))
	var rows strings.Builder
	rows.WriteString("default: [sin1, ams1]\necs:\n")
	for i := range 10_000 {
		fmt.Fprintf(&rows, "  44.%d.%d.0/24: [%s]\n", i/250, i%250, []string{"ams1, iad2", "iad2, ams1", "sin1, iad2"}[i%3])
	}
	popctl(tb, store, 0, "map", "publish", "edge", writeFile(tb, "edge.yaml", rows.String()))
	popctl(tb, store, 0, "zone", "publish", "example.org", writeFile(tb, "example.org.zone", `$ORIGIN example.org.
@       60 IN SOA ns h 1 2 3 4 5
@       60 IN NS ns
ns      60 IN A 192.0.2.53
plain   60 IN A 192.0.2.1
steered 60 IN A 192.0.2.1 ;@ pop=ams1 map=edge
steered 60 IN A 192.0.2.2 ;@ pop=iad2
steered 60 IN A 192.0.2.3 ;@ pop=sin1
`))
	corefile := fmt.Sprintf("example.org:0 {\n bind 127.0.0.1\n capture steered\n popmap\n zkzone {\n source %s\n startup_timeout 20s\n }\n}\n", store)
	return startCaptured(tb, corefile, "steered")[0].Server
}

// serveECS sends n queries with a client subnet through the whole chain, from wire to wire, and returns the processor time that took, of all threads: the
// garbage is part of the price, and waiting for others on the machine is not.
func serveECS(tb testing.TB, s *dnsserver.Server, name string, n int) time.Duration {
	tb.Helper()
	q := withECS(question(name, dns.TypeA), "44.7.9.0/24")
	wire, err := q.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	w := &packer{remote: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 200).To4(), Port: 40212}, buf: make([]byte, 0, 4096)}
	ctx := context.WithValue(context.WithValue(context.Background(), dnsserver.Key{}, s), dnsserver.LoopKey{}, 0)
	began := processorTime(tb)
	for range n {
		r := new(dns.Msg)
		if err := r.Unpack(wire); err != nil {
			tb.Fatal(err)
		}
		s.ServeDNS(ctx, w, r)
	}
	took := processorTime(tb) - began
	want := map[string]int{"steered.example.org": 24, "plain.example.org": 0}[name]
	if len(w.reply.Answer) != 1 || ecsScope(w.reply) != want {
		tb.Fatalf("%s: want one record and scope %d, got\n%s", name, want, w.reply)
	}
	return took
}

func processorTime(tb testing.TB) time.Duration {
	tb.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkSteeredAnswerAgainstUnsteered pairs runs of steered and of unsteered answers to queries with a client subnet, through the chain of one
// server without the network, and reports the ratio of their times.
func BenchmarkSteeredAnswerAgainstUnsteered(b *testing.B) {
	s := steeredServer(b)
	const run = 5_000
	serveECS(b, s, "steered.example.org", run)
	serveECS(b, s, "plain.example.org", run)
	b.Run("ratio", func(b *testing.B) {
		var steered, plain time.Duration
		for b.Loop() {
			plain += serveECS(b, s, "plain.example.org", run)
			steered += serveECS(b, s, "steered.example.org", run)
		}
		b.ReportMetric(steered.Seconds()/plain.Seconds(), "x-unsteered")
		b.ReportMetric(steered.Seconds()*1e9/float64(b.N*run), "ns/steered")
		b.ReportMetric(plain.Seconds()*1e9/float64(b.N*run), "ns/unsteered")
	})
	for _, name := range []string{"plain", "steered"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			serveECS(b, s, name+".example.org", b.N)
		})
	}
}
