package test

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store/storeurl"
	"github.com/popdns/popdns/internal/store/zktest"
	"github.com/popdns/popdns/internal/zone"

	"github.com/miekg/dns"
)

// changedWithin25Milliseconds makes 200 changes over one session, as popctl's verbs
// do, and asks the server, as fast as it answers, until each shows; 99 of 100 must
// within 25 ms, timed from the start of the change. A machine that does
// other work meanwhile only ever adds time, so the best of a few rounds counts,
// and all are printed. change makes the nth change, and says by what values the
// answer to q shows it.
func changedWithin25Milliseconds(t *testing.T, addr string, q *dns.Msg, change func(n int) (want string)) {
	t.Helper()
	conn, err := dns.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const rounds, changes = 4, 200
	best := time.Hour
	for round := range rounds {
		committed, visible := make([]time.Duration, 0, changes), make([]time.Duration, 0, changes)
		for i := range changes {
			began := time.Now()
			want := change(round*changes + i)
			committed = append(committed, time.Since(began))
			awaitValues(t, conn, q, want)
			visible = append(visible, time.Since(began))
		}
		t.Logf("commit returns after   %s", distribution(committed))
		t.Logf("change is served after %s", distribution(visible))
		if best = min(best, quantile(visible, 0.99)); best <= 25*time.Millisecond {
			return
		}
	}
	t.Errorf("99th percentile from the start of a change to its answer is %s in the best round, want under 25ms", best)
}

// awaitValues asks until the answer has the values.
func awaitValues(t *testing.T, conn *dns.Conn, q *dns.Msg, want string) {
	t.Helper()
	for end := time.Now().Add(deadline); ; {
		if err := conn.WriteMsg(q); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		r, err := conn.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		if values(r) == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the answer is %s after %s, want %s", values(r), deadline, want)
		}
	}
}

func TestRecordSetIsServedWithin25Milliseconds(t *testing.T) {
	origin := zone.MustParseName("example.org.")
	publisher, addr := serveExampleFromZooKeeper(t)
	changedWithin25Milliseconds(t, addr, question("latency.example.org", dns.TypeA), func(n int) string {
		want := fmt.Sprintf("10.0.%d.%d", n/250, n%250+1)
		set, err := publish.ParseRRset(publish.RecordText{Name: "latency", TTL: "60", Type: "A", Rdata: []string{want}}, origin)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := publisher.SetRecord(t.Context(), origin, set); err != nil {
			t.Fatal(err)
		}
		return want
	})
}

// TestDrainIsServedWithin25Milliseconds drains a PoP and takes it back, in turn.
func TestDrainIsServedWithin25Milliseconds(t *testing.T) {
	publisher, addr := serveExampleFromZooKeeper(t)
	client := withECS(question("www.example.org", dns.TypeA), "198.51.100.0/25")
	changedWithin25Milliseconds(t, addr, client, func(n int) string {
		percent, want := 100, "192.0.2.110" // gru1's
		if n%2 == 1 {
			percent, want = 0, "198.51.100.10" // iad2's
		}
		if _, err := publisher.DrainPoP(t.Context(), "iad2", percent); err != nil {
			t.Fatal(err)
		}
		return want
	})
}

// serveExampleFromZooKeeper publishes the example, with its map and PoPs, to a real
// ZooKeeper and serves it.
func serveExampleFromZooKeeper(t *testing.T) (publisher *publish.Publisher, addr string) {
	t.Helper()
	url := zktest.Start(t).URL("/popdns")
	publishExample(t, url)
	addr = loopback(freePort(t))
	_, port, _ := net.SplitHostPort(addr)
	startCoreDNS(t, fmt.Sprintf("example.org:%s {\n bind 127.0.0.1\n popmap\n zkzone {\n source %s\n }\n errors\n}\n", port, url), addr)
	st, err := storeurl.Open(url, storeurl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return publish.New(st, publish.Options{By: "test"}), addr
}

func distribution(d []time.Duration) string {
	return fmt.Sprintf("p50 %s  p90 %s  p99 %s  max %s  (%d changes)",
		quantile(d, 0.5), quantile(d, 0.9), quantile(d, 0.99), quantile(d, 1), len(d))
}

// quantile is the smallest value that at least the share q of d does not exceed.
func quantile(d []time.Duration, q float64) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[max(0, min(len(s)-1, int(q*float64(len(s))+0.999999)-1))].Round(10 * time.Microsecond)
}
