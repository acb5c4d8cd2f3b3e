package test

import (
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store/zktest"

	"github.com/miekg/dns"
)

// corefileFor serves example.org from url on a free port.
func corefileFor(t *testing.T, url, cache string, extra ...string) (text, addr string) {
	t.Helper()
	port := freePort(t)
	text = fmt.Sprintf(`example.org:%d {
    bind 127.0.0.1
    freshness
    popmap {
        map edge
    }
    zkzone {
        source %s
        cache %s
        startup_timeout 2s
    }
    errors
    %s
}
`, port, url, cache, strings.Join(extra, "\n    "))
	return text, loopback(port)
}

// publishExample fills a store with the example.
func publishExample(t *testing.T, url string) {
	t.Helper()
	popctl(t, url, 0, "init")
	popctl(t, url, 0, "pop", "apply", "../build/example/pops.yaml")
	popctl(t, url, 0, "map", "publish", "edge", "../build/example/edge.yaml")
	popctl(t, url, 0, "zone", "publish", "example.org", "../build/example/example.org.zone")
}

// TestKilledZooKeeperHarmsNoQuery is the outage as an operator lives it: the
// store dies, queries go on, the TXT ages; it comes back, a change arrives;
// it dies again, and a server that starts meanwhile answers from its disk.
func TestKilledZooKeeperHarmsNoQuery(t *testing.T) {
	zk := zktest.Start(t)
	url := zk.URL("/popdns")
	publishExample(t, url)
	pulse := startDaemon(t, t.TempDir(), "popctl", []string{"POPDNS_STORE=" + url}, "pulse", "--every", "1s")
	cache := t.TempDir()
	web := loopback(freePort(t))
	corefile, addr := corefileFor(t, url, cache, "prometheus "+web)
	server := startCoreDNS(t, corefile, addr)
	waitState(t, addr, "live")
	exports(t, web, `state{dataset="zones/example.org"} 0`, `store_connected{store="`+url+`"} 1`)

	var asked, failed atomic.Int64
	stop := make(chan struct{})
	asking := make(chan struct{})
	go func() {
		defer close(asking)
		for {
			select {
			case <-stop:
				return
			default:
			}
			asked.Add(1)
			r, err := exchange(addr, question("www.example.org", dns.TypeA))
			if err != nil || r.Rcode != dns.RcodeSuccess || len(r.Answer) != 1 {
				failed.Add(1)
			}
			time.Sleep(time.Millisecond)
		}
	}()

	zk.Kill()
	waitState(t, addr, "stale")
	for _, dataset := range []string{"zones/example.org", "maps/edge", "pops"} {
		exports(t, web, fmt.Sprintf("state{dataset=%q} 1", dataset))
	}
	exports(t, web, `datasets{kind="map",state="stale",store="`+url+`"} 1`, `store_connected{store="`+url+`"} 0`)
	first, err := freshness(addr, "_freshness.example.org")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the age grows while ZooKeeper is dead", func() error {
		f, err := freshness(addr, "_freshness.example.org")
		if err == nil && f.age < first.age+2 {
			err = fmt.Errorf("age is %d, was %d", f.age, first.age)
		}
		return err
	})

	zk.Restart()
	waitState(t, addr, "live")
	popctl(t, url, 0, "zone", "set", "example.org", "after", "60", "A", "192.0.2.200")
	eventually(t, "a change made after the restart is served", func() error {
		r, err := exchange(addr, question("after.example.org", dns.TypeA))
		if err == nil && values(r) != "192.0.2.200" {
			err = fmt.Errorf("answer is %q", values(r))
		}
		return err
	})
	close(stop)
	<-asking
	if failed.Load() > 0 || asked.Load() < 100 {
		t.Errorf("%d of %d queries failed during the outage, want none of at least 100", failed.Load(), asked.Load())
	}
	t.Logf("%d queries asked during the outage, %d failed", asked.Load(), failed.Load())

	waitCached(t, cache, "after.example.org.")
	pulse.stop()
	server.stop()
	zk.Kill()
	began := time.Now()
	startCoreDNS(t, corefile, addr)
	t.Logf("without ZooKeeper the first answer came %s after the start", time.Since(began).Round(time.Millisecond))
	if got := values(ask(t, addr, question("after.example.org", dns.TypeA))); got != "192.0.2.200" {
		t.Errorf("started from the disk cache: after.example.org is %q, want 192.0.2.200", got)
	}
	if got := values(ask(t, addr, withECS(question("www.example.org", dns.TypeA), "203.0.113.0/24"))); got != "203.0.113.10" {
		t.Errorf("started from the disk cache: www.example.org for 203.0.113.0/24 is %q, want its PoP's 203.0.113.10", got)
	}
	waitState(t, addr, "disk")
	exports(t, web, `state{dataset="zones/example.org"} 2`, `datasets{kind="pops",state="disk",store="`+url+`"} 1`)
}

// exports checks lines of zkzone's metrics, given without the prefix.
func exports(t *testing.T, web string, lines ...string) {
	t.Helper()
	text := scrape(t, web)
	for _, line := range lines {
		if !strings.Contains(text, "\ncoredns_zkzone_"+line+"\n") {
			t.Errorf("the metrics lack %s:\n%s", line, strings.Join(regexp.MustCompile(`(?m)^coredns_zkzone_(state|store|datasets).*`).FindAllString(text, -1), "\n"))
		}
	}
}

func waitState(t *testing.T, addr, state string) {
	t.Helper()
	eventually(t, "state "+state, func() error {
		f, err := freshness(addr, "_freshness.example.org")
		if err == nil && f.state != state {
			err = fmt.Errorf("state is %q: %v", f.state, f.text)
		}
		return err
	})
}

// waitCached waits until the disk cache, which is a directory store itself,
// holds the name.
func waitCached(t *testing.T, cache, name string) {
	t.Helper()
	eventually(t, name+" is in the disk cache", func() error {
		out, _ := popctl(t, "dir://"+cache, 0, "zone", "show", "example.org", name)
		if !strings.Contains(out, "192.0.2.200") {
			return fmt.Errorf("the cache has %q", out)
		}
		return nil
	})
}

// TestServerWithoutAnyDataSaysServfailAndRecovers starts a server whose store
// is away and whose cache is empty: SERVFAIL, never NXDOMAIN, until the store
// comes.
func TestServerWithoutAnyDataSaysServfailAndRecovers(t *testing.T) {
	zk := zktest.Start(t)
	url := zk.URL("/popdns")
	publishExample(t, url)
	zk.Kill()
	corefile, addr := corefileFor(t, url, t.TempDir())
	startCoreDNS(t, corefile, addr)
	if r := ask(t, addr, question("www.example.org", dns.TypeA)); r.Rcode != dns.RcodeServerFailure {
		t.Errorf("without any data: got %s, want SERVFAIL", dns.RcodeToString[r.Rcode])
	}
	zk.Restart()
	eventually(t, "the zone is served once the store is there", func() error {
		r, err := exchange(addr, question("www.example.org", dns.TypeA))
		if err == nil && len(r.Answer) == 0 {
			err = fmt.Errorf("rcode %s", dns.RcodeToString[r.Rcode])
		}
		return err
	})
}
