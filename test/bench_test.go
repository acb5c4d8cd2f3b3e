package test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// benchRecords is the size of the zone that both servers answer from.
const benchRecords = 100_000

// BenchmarkZkzoneAgainstFile asks the stock file plugin and zkzone, in one
// process and in turn, for the same names of the same zone, and reports how
// many times file's queries per second zkzone answers. Absolute rates say
// little: the client shares the processors.
func BenchmarkZkzoneAgainstFile(b *testing.B) {
	var text strings.Builder
	text.WriteString("$ORIGIN example.org.\n@ 60 IN SOA ns h 1 2 3 4 5\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53\n")
	for i := range benchRecords {
		fmt.Fprintf(&text, "h%d.d%d 60 IN A 10.%d.%d.%d\n", i, i%977, i>>16, i>>8&255, i&255)
	}
	path := b.TempDir() + "/example.org.zone"
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	store := "dir://" + b.TempDir()
	popctl(b, store, 0, "init")
	popctl(b, store, 0, "zone", "publish", "example.org", path)
	file, ours := freePort(b), freePort(b)
	startCoreDNS(b, fmt.Sprintf("example.org:%d {\n bind 127.0.0.1\n file %s\n}\nexample.org:%d {\n bind 127.0.0.1\n zkzone {\n source %s\n startup_timeout 20s\n }\n}\n",
		file, path, ours, store), loopback(ours))

	var fileTime, ourTime time.Duration
	rounds := 0
	for b.Loop() {
		fileTime += burst(b, loopback(file))
		ourTime += burst(b, loopback(ours))
		rounds++
	}
	b.ReportMetric(fileTime.Seconds()/ourTime.Seconds(), "x-file")
	b.ReportMetric(float64(rounds*burstQueries)/ourTime.Seconds(), "zkzone-queries/s")
	b.ReportMetric(float64(rounds*burstQueries)/fileTime.Seconds(), "file-queries/s")
}

const (
	burstQueries = 20_000
	burstClients = 16
)

// burst asks for random names of the zone, see burstOf.
func burst(b *testing.B, addr string) time.Duration {
	b.Helper()
	return burstOf(b, addr, func(i int) string { return fmt.Sprintf("h%d.d%d.example.org.", i, i%977) }, benchRecords)
}

// burstOf asks burstQueries random ones of n names from burstClients sockets, each
// with one query under way, and returns how long that took.
func burstOf(b *testing.B, addr string, name func(i int) string, n int) time.Duration {
	b.Helper()
	var failed atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for c := range burstClients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(c), 1))
			conn, err := net.Dial("udp", addr)
			if err != nil {
				failed.Add(1)
				return
			}
			defer conn.Close()
			reply := make([]byte, 4096)
			for range burstQueries / burstClients {
				wire, err := question(name(rnd.IntN(n)), dns.TypeA).Pack()
				if err == nil {
					_, err = conn.Write(wire)
				}
				if err == nil {
					_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
					_, err = conn.Read(reply)
				}
				if err != nil || reply[3]&15 != dns.RcodeSuccess || reply[7] != 1 {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := failed.Load(); n > burstQueries/100 {
		b.Fatalf("%d of %d queries failed", n, burstQueries)
	}
	return time.Since(began)
}
