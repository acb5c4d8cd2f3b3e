package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/storeurl"
	"github.com/popdns/popdns/internal/store/zktest"

	"github.com/miekg/dns"
)

// catalogServer starts a server of the catalog of url, in dir.
func catalogServer(t *testing.T, dir, url, cache string, port int) *daemon {
	t.Helper()
	return startCoreDNSIn(t, dir, fmt.Sprintf(`.:%d {
    bind 127.0.0.1
    freshness
    transfer {
        to *
    }
    zkzone {
        source %s
        cache %s
        zones catalog
        startup_timeout 2s
    }
    errors
}
`, port, url, cache), loopback(port))
}

// publishSmall publishes a zone whose www is the address.
func publishSmall(t *testing.T, url, origin, address string) {
	t.Helper()
	popctl(t, url, 0, "zone", "publish", origin, "--force", writeFile(t, origin+".zone", fmt.Sprintf(
		"$ORIGIN %s.\n@ 60 IN SOA ns h 1 2 3 4 60\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53\nwww 60 IN A %s\n", origin, address)))
}

// wantZone waits until www of the zone is the address, or refused for "".
func wantZone(t *testing.T, addr, origin, address string) {
	t.Helper()
	eventually(t, fmt.Sprintf("www.%s is %q", origin, address), func() error { return isZone(addr, origin, address) })
}

func isZone(addr, origin, address string) error {
	m, err := exchange(addr, question("www."+origin, dns.TypeA))
	if err != nil {
		return err
	}
	if got := values(m); got != address || (m.Rcode == dns.RcodeRefused) != (address == "") {
		return fmt.Errorf("%s with %q", dns.RcodeToString[m.Rcode], got)
	}
	return nil
}

// TestZonesComeAndGoWithTheCatalog is the life of a server that is told of no zone:
// all that it serves, and all that it stops to serve, comes from the store while
// it is asked.
func TestZonesComeAndGoWithTheCatalog(t *testing.T) {
	zk := zktest.Start(t)
	url := zk.URL("/popdns")
	popctl(t, url, 0, "init")
	publishSmall(t, url, "first.example", "192.0.2.1")
	dir, cache, port := t.TempDir(), t.TempDir(), freePort(t)
	addr := loopback(port)
	server := catalogServer(t, dir, url, cache, port)
	wantZone(t, addr, "first.example", "192.0.2.1")
	wantZone(t, addr, "second.example", "")

	failed, stop := asking(t, addr, "first.example", "192.0.2.1")
	for _, origin := range []string{"second.example", "sub.second.example", "third.example"} {
		publishSmall(t, url, origin, "192.0.2.2")
		wantZone(t, addr, origin, "192.0.2.2")
		if txt := values(ask(t, addr, question("_freshness."+origin, dns.TypeTXT))); !strings.Contains(txt, "state=live") {
			t.Errorf("freshness of %s: %s", origin, txt)
		}
	}
	if n := transferred(t, addr, "third.example"); n != 4 {
		t.Errorf("%d records of third.example are transferred, want 4", n)
	}

	// Nothing that somebody does by hand, or that a store loses, ends a zone.
	tamper(t, url, server)
	for _, origin := range []string{"second.example", "sub.second.example", "third.example"} {
		wantZone(t, addr, origin, "192.0.2.2")
	}

	popctl(t, url, 0, "zone", "remove", "second.example", "--confirm", "second.example")
	wantZone(t, addr, "second.example", "")
	wantZone(t, addr, "sub.second.example", "192.0.2.2")
	eventually(t, "the removed zone is off the disk", func() error {
		if _, err := os.Stat(filepath.Join(cache, "zones", "second.example")); err == nil {
			return fmt.Errorf("it is still there")
		}
		return nil
	})
	before := ask(t, addr, question("sub.second.example", dns.TypeSOA)).Answer[0].(*dns.SOA).Serial
	popctl(t, url, 0, "zone", "remove", "sub.second.example", "--force") // its head was lost above
	wantZone(t, addr, "sub.second.example", "")
	publishSmall(t, url, "sub.second.example", "192.0.2.9")
	wantZone(t, addr, "sub.second.example", "192.0.2.9")
	if after := ask(t, addr, question("sub.second.example", dns.TypeSOA)).Answer[0].(*dns.SOA).Serial; after <= before {
		t.Errorf("serial %d after the removal, %d before it", after, before)
	}

	reload(t, server, 1)
	all := map[string]string{"first.example": "192.0.2.1", "second.example": "", "sub.second.example": "192.0.2.9", "third.example": "192.0.2.2"}
	for origin, address := range all {
		if err := isZone(addr, origin, address); err != nil {
			t.Errorf("after the reload, %s: %v", origin, err)
		}
	}
	publishSmall(t, url, "fourth.example", "192.0.2.4")
	wantZone(t, addr, "fourth.example", "192.0.2.4")
	all["fourth.example"] = "192.0.2.4"
	stop()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d queries for a zone that was there all the time failed", n)
	}

	server.stop()
	if err := zk.Kill(); err != nil {
		t.Fatal(err)
	}
	catalogServer(t, t.TempDir(), url, cache, port)
	for origin, address := range all {
		if err := isZone(addr, origin, address); err != nil {
			t.Errorf("without the store, %s: %v", origin, err)
		}
	}
}

// tamper deletes the head of one zone and all nodes of another, and takes both out
// of the catalog's list. It returns when the server has seen that.
func tamper(t *testing.T, url string, server *daemon) {
	t.Helper()
	s, err := storeurl.Open(url, storeurl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Commit(t.Context(), store.Delete("zones/sub.second.example/head", store.AnyVersion)); err != nil {
		t.Fatal(err)
	}
	if err := store.DeleteAll(t.Context(), s, "zones/third.example"); err != nil {
		t.Fatal(err)
	}
	c, err := dataset.ReadCatalog(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	whole := c
	c.Rev++
	c.Zones = []string{"first.example", "second.example"}
	set := func(c dataset.Catalog) {
		t.Helper()
		b, err := json.Marshal(c)
		if err == nil {
			err = s.Commit(t.Context(), store.Set("catalog", b, store.AnyVersion))
		}
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the edited catalog is seen", func() error {
			if !strings.Contains(server.log.String(), fmt.Sprintf("Catalog revision %d:", c.Rev)) {
				return fmt.Errorf("not yet")
			}
			return nil
		})
	}
	set(c)
	whole.Rev = c.Rev + 1 // so that the lost head can be removed by the book
	set(whole)
}

// asking asks for www of a zone all the time until stop; failed counts what was
// not the address.
func asking(t *testing.T, addr, origin, address string) (failed *atomic.Int64, stop func()) {
	t.Helper()
	failed = &atomic.Int64{}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			case <-time.After(2 * time.Millisecond):
			}
			if err := isZone(addr, origin, address); err != nil {
				failed.Add(1)
				t.Logf("%s: %v", origin, err)
			}
		}
	}()
	return failed, func() { close(quit); <-done }
}

// transferred is the number of records of a zone that comes by AXFR, without the
// closing SOA.
func transferred(t *testing.T, addr, origin string) int {
	t.Helper()
	ch, err := new(dns.Transfer).In(new(dns.Msg).SetAxfr(dns.Fqdn(origin)), addr)
	if err != nil {
		t.Fatal(err)
	}
	n := -1
	for e := range ch {
		if e.Error != nil {
			t.Fatal(e.Error)
		}
		n += len(e.RR)
	}
	return n
}
