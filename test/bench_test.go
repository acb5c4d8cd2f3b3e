package test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// BenchmarkZkzoneAgainstFile asks the stock file plugin and zkzone, in one process and in turn, the same questions about the same zone through the
// ordinary plugin chain, and reports how many times file's queries per second zkzone answers. The server has one processor to itself
// where there are two or more, so that it, and not the client, is what is measured.
func BenchmarkZkzoneAgainstFile(b *testing.B) {
	b.Run("100k", func(b *testing.B) { againstFile(b, 100_000, "2 x") })
	b.Run("1M", func(b *testing.B) { againstFile(b, million, "2.5 x") })
}

func againstFile(b *testing.B, records int, aim string) {
	b.Helper()
	in := benchZone(b, records)
	store := "dir://" + b.TempDir()
	popctl(b, store, 0, "init")
	popctl(b, store, 0, "zone", "publish", "example.org", in.path)
	file, ours := freePort(b), freePort(b)
	d, _ := launch(b, fmt.Sprintf("example.org:%d {\n bind 127.0.0.1\n file %s\n}\nexample.org:%d {\n bind 127.0.0.1\n zkzone {\n source %s\n startup_timeout 60s\n }\n}\n",
		file, in.path, ours, store), loopback(ours), in, "GOMAXPROCS=1") // more would spin on the processor that it is pinned to
	ask(b, loopback(file), question(in.Probe, dns.TypeA))
	pin(b, d)
	settled(b, d)
	load := newQueryLoad(b, in)

	var fileTime, ourTime, fileCPU, ourCPU time.Duration
	rounds := 0
	for b.Loop() {
		wall, cpu := load.burst(b, d, loopback(file))
		fileTime, fileCPU = fileTime+wall, fileCPU+cpu
		wall, cpu = load.burst(b, d, loopback(ours))
		ourTime, ourCPU = ourTime+wall, ourCPU+cpu
		rounds++
	}
	queries := float64(rounds * burstQueries)
	per := func(cpu time.Duration) float64 { return cpu.Seconds() * 1e6 / queries }
	report(fmt.Sprintf("%d records: queries a second through the plugin chain, of file's", records), aim, "%.2f x (%.0f a second, file %.0f)",
		fileTime.Seconds()/ourTime.Seconds(), queries/ourTime.Seconds(), queries/fileTime.Seconds())
	report(fmt.Sprintf("%d records: server's processor time a query", records), "", "%.1f us, file %.1f us, %.2f x", per(ourCPU), per(fileCPU), per(fileCPU)/per(ourCPU))
	b.ReportMetric(fileTime.Seconds()/ourTime.Seconds(), "x-file")
	b.ReportMetric(per(fileCPU)/per(ourCPU), "x-file-cpu")
	b.ReportMetric(queries/ourTime.Seconds(), "zkzone-queries/s")
	b.ReportMetric(queries/fileTime.Seconds(), "file-queries/s")
}

// pin gives the server the first processor and us the others.
func pin(b *testing.B, d *daemon) {
	b.Helper()
	const first, others = "1", "fffffffffffffffe"
	for mask, pid := range map[string]int{first: d.cmd.Process.Pid, others: os.Getpid()} {
		if !pinProcess(b, mask, fmt.Sprint(pid)) {
			return
		}
	}
	b.Cleanup(func() { _ = exec.Command("taskset", "-a", "-p", "ffffffffffffffff", fmt.Sprint(os.Getpid())).Run() })
}

func pinProcess(b *testing.B, mask, pid string) bool {
	b.Helper()
	if out, err := exec.Command("taskset", "-a", "-p", mask, pid).CombinedOutput(); err != nil {
		b.Logf("not pinned to processors, the client takes part of the server's: %v %s", err, out)
		return false
	}
	return true
}

const (
	burstQueries = 100_000
	burstClients = 8
	burstWindow  = 8 // queries under way from each client
)

// queryLoad is the zone's questions, packed.
type queryLoad struct{ wires [][]byte }

func newQueryLoad(b *testing.B, in benchInput) *queryLoad {
	b.Helper()
	l := &queryLoad{}
	for _, q := range in.Questions {
		l.add(b, q.Name, q.Type)
	}
	return l
}

func (l *queryLoad) add(b *testing.B, name string, qtype uint16) {
	b.Helper()
	wire, err := question(name, qtype).Pack()
	if err != nil {
		b.Fatal(err)
	}
	l.wires = append(l.wires, wire)
}

// burst asks burstQueries questions, burstWindow at a time from each of burstClients sockets, and returns how long that took and the server's processor
// time.
func (l *queryLoad) burst(b *testing.B, d *daemon, addr string) (wall, cpu time.Duration) {
	b.Helper()
	var failed atomic.Int64
	var wg sync.WaitGroup
	before, began := cpuTime(b, d), time.Now()
	for c := range burstClients {
		wg.Go(func() {
			conn, err := net.Dial("udp", addr)
			if err != nil {
				failed.Add(burstQueries)
				return
			}
			defer conn.Close()
			const each = burstQueries / burstClients
			reply := make([]byte, 4096)
			wires := l.wires[c*each:][:each]
			for sent, answered := 0, 0; answered < each; answered++ {
				for ; sent < each && sent-answered < burstWindow; sent++ {
					_, _ = conn.Write(wires[sent]) // a lost query shows as a missing answer
				}
				_ = conn.SetReadDeadline(time.Now().Add(time.Second))
				_, err := conn.Read(reply)
				if rcode := reply[3] & 15; err != nil || rcode != dns.RcodeSuccess && rcode != dns.RcodeNameError {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	wall, cpu = time.Since(began), cpuTime(b, d)-before
	if n := failed.Load(); n > burstQueries/100 {
		b.Fatalf("%d of %d queries failed", n, burstQueries)
	}
	return wall, cpu
}
