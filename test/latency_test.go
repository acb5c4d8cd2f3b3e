package test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store/storeurl"
	"github.com/popdns/popdns/internal/store/zktest"
	"github.com/popdns/popdns/internal/zone"

	"github.com/miekg/dns"
)

// TestRecordSetIsServedWithin25Milliseconds makes 200 changes with `zone set`'s
// own code over one session and asks the server, as fast as it answers, until
// the change shows. Timed from the start of the change. A machine that does
// other work meanwhile only ever adds time, so the best of a few rounds counts,
// and all are printed.
func TestRecordSetIsServedWithin25Milliseconds(t *testing.T) {
	origin := zone.MustParseName("example.org.")
	zk := zktest.Start(t)
	url := zk.URL("/popdns")
	popctl(t, url, 0, "init")
	popctl(t, url, 0, "zone", "publish", "example.org", "../build/example/example.org.zone")
	port := freePort(t)
	addr := loopback(port)
	startCoreDNS(t, fmt.Sprintf("example.org:%d {\n bind 127.0.0.1\n zkzone {\n source %s\n }\n errors\n}\n", port, url), addr)

	st, err := storeurl.Open(url, storeurl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	publisher := publish.New(st, publish.Options{By: "test"})
	conn, err := dns.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	const rounds, changes = 4, 200
	best := time.Hour
	for round := range rounds {
		committed, visible := measureChanges(t, publisher, conn, origin, round, changes)
		t.Logf("commit returns after   %s", distribution(committed))
		t.Logf("change is served after %s", distribution(visible))
		if best = min(best, quantile(visible, 0.99)); best <= 25*time.Millisecond {
			return
		}
	}
	t.Errorf("99th percentile from the start of a change to its answer is %s in the best round, want under 25ms", best)
}

// measureChanges makes the changes one after the other. For each it returns how
// long it took until the commit returned, and until the server's answer showed
// it.
func measureChanges(t *testing.T, publisher *publish.Publisher, conn *dns.Conn, origin zone.Name, round, changes int) (committed, visible []time.Duration) {
	t.Helper()
	for i := range changes {
		want := fmt.Sprintf("10.%d.%d.%d", round, i/250, i%250+1)
		began := time.Now()
		set, err := publish.ParseRRset(publish.RecordText{Name: "latency", TTL: "60", Type: "A", Rdata: []string{want}}, origin)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := publisher.SetRecord(t.Context(), origin, set); err != nil {
			t.Fatal(err)
		}
		committed = append(committed, time.Since(began))
		for {
			q := question("latency.example.org", dns.TypeA)
			if err := conn.WriteMsg(q); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			r, err := conn.ReadMsg()
			if err != nil {
				t.Fatal(err)
			}
			if values(r) == want {
				break
			}
			if time.Since(began) > deadline {
				t.Fatalf("change %d is not served after %s", i, deadline)
			}
		}
		visible = append(visible, time.Since(began))
	}
	return committed, visible
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
