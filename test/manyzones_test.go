package test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store/zktest"
)

// manyZones is how many zones a server of the catalog is asked to bear.
const manyZones = 10_000

func manyZoneName(i int) string { return fmt.Sprintf("zone%05d.customer%d.example", i, i%97) }

// BenchmarkManyZones publishes ten thousand zones to a ZooKeeper and starts a
// server of the catalog from it, then from the disk cache alone, each time until
// every zone has data; and compares its queries per second with those of a server
// of one zone, in turn. It runs once, whatever -benchtime says.
func BenchmarkManyZones(b *testing.B) {
	for b.Loop() { // forgets what was reported before
	}
	zk := zktest.Start(b)
	url := zk.URL("/popdns")
	files := b.TempDir()
	for i := range manyZones {
		text := fmt.Sprintf("$ORIGIN %s.\n@ 3600 IN SOA ns1 host 1 7200 900 1209600 60\n@ 3600 IN NS ns1\n@ 3600 IN NS ns2\n@ 300 IN MX 10 mail\n"+
			"@ 300 IN A 192.0.2.1\nns1 3600 IN A 192.0.2.53\nns2 3600 IN A 198.51.100.53\nmail 300 IN A 192.0.2.25\nwww 300 IN A 192.0.2.1\nwww 300 IN AAAA 2001:db8::1\n", manyZoneName(i))
		if err := os.WriteFile(filepath.Join(files, manyZoneName(i)+".zone"), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	popctl(b, url, 0, "init")
	began := time.Now()
	popctlFor(b, 10*time.Minute, url, 0, "zone", "publish", "--dir", files)
	published := time.Since(began)
	b.ReportMetric(published.Seconds(), "s-publish")

	cache := b.TempDir()
	live := startMany(b, url, cache)
	loaded := time.Now()
	b.ReportMetric(live.ready.Seconds(), "s-ready-zookeeper")
	began = time.Now()
	for cached := 0; cached < manyZones; time.Sleep(100 * time.Millisecond) {
		heads, err := filepath.Glob(filepath.Join(cache, "zones", "*", "head*"))
		if cached = len(heads); err != nil || time.Since(began) > 5*time.Minute {
			b.Fatalf("%d zones are in the disk cache: %v", cached, err)
		}
	}
	b.ReportMetric(time.Since(loaded).Seconds(), "s-cache-written")
	b.ReportMetric(float64(live.rss(b))/manyZones, "B-resident/zone")
	b.ReportMetric(float64(live.goroutines(b))/manyZones, "goroutines/zone")
	b.ReportMetric(float64(watches(b, zk))/manyZones, "watches/zone")

	one := freePort(b)
	startCoreDNS(b, fmt.Sprintf("%s:%d {\n bind 127.0.0.1\n zkzone {\n source %s\n startup_timeout 20s\n }\n}\n", manyZoneName(0), one, url), loopback(one))
	var manyTime, oneTime time.Duration
	rounds := 0
	for range 3 {
		oneTime += burstOf(b, loopback(one), func(int) string { return "www." + manyZoneName(0) + "." }, 1)
		manyTime += burstOf(b, live.addr, func(i int) string { return "www." + manyZoneName(i) + "." }, manyZones)
		rounds++
	}
	b.ReportMetric(oneTime.Seconds()/manyTime.Seconds(), "x-one-zone")
	b.ReportMetric(float64(rounds*burstQueries)/manyTime.Seconds(), "queries/s")

	live.daemon.stop()
	zk.Kill()
	disk := startMany(b, url, cache)
	b.ReportMetric(disk.ready.Seconds(), "s-ready-disk")
}

// many is a running server of the catalog.
type many struct {
	daemon      *daemon
	addr        string
	pprof, http string
	ready       time.Duration // from its start to all zones having data
}

func startMany(b *testing.B, url, cache string) *many {
	b.Helper()
	m := &many{addr: loopback(freePort(b)), pprof: loopback(freePort(b)), http: loopback(freePort(b))}
	_, port, _ := net.SplitHostPort(m.addr)
	corefile := fmt.Sprintf(".:%s {\n bind 127.0.0.1\n pprof %s\n ready %s\n zkzone {\n source %s\n cache %s\n zones catalog\n startup_timeout 60s\n }\n errors\n}\n",
		port, m.pprof, m.http, url, cache)
	dir := b.TempDir()
	path := filepath.Join(dir, "Corefile")
	if err := os.WriteFile(path, []byte(corefile), 0o600); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	m.daemon = startDaemon(b, dir, "coredns", nil, "-conf", path)
	for ; ; time.Sleep(10 * time.Millisecond) {
		if code, _ := page(m.http, "/ready"); code == http.StatusOK {
			break
		}
		if time.Since(began) > 3*time.Minute {
			b.Fatalf("not ready:\n%s", m.daemon.log)
		}
	}
	m.ready = time.Since(began)
	return m
}

func (m *many) rss(b *testing.B) int64 {
	b.Helper()
	time.Sleep(8 * time.Second) // freed memory is given back once things are quiet
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.daemon.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		b.Fatal(err)
	}
	return kib << 10
}

func (m *many) goroutines(b *testing.B) int {
	b.Helper()
	_, text := page(m.pprof, "/debug/pprof/goroutine?debug=1")
	var n int
	if _, err := fmt.Sscanf(text, "goroutine profile: total %d", &n); err != nil {
		b.Fatalf("%v: %.100s", err, text)
	}
	return n
}

// page returns status and body of a page, 0 when there is no answer.
func page(addr, path string) (int, string) {
	client := http.Client{Timeout: 5 * time.Second}
	r, err := client.Get("http://" + addr + path)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	return r.StatusCode, readAll(r.Body)
}

// watches is the number of watches that the server keeps.
func watches(tb testing.TB, zk *zktest.Server) int {
	tb.Helper()
	conn, err := net.DialTimeout("tcp", zk.Addr(), 5*time.Second)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("wchs"))
	text, _ := io.ReadAll(io.LimitReader(conn, 1<<16))
	_, rest, _ := strings.Cut(string(text), "Total watches:")
	var n int
	if _, err := fmt.Sscan(rest, &n); err != nil {
		tb.Fatalf("wchs: %v: %q", err, text)
	}
	return n
}
