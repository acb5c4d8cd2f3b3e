package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/storeurl"
	"github.com/popdns/popdns/internal/store/zktest"

	"github.com/miekg/dns"
)

// TestWipedStoreIsRestoredFromAnEdgesCacheAndAdopted is a bad night: everything
// in the store is deleted under a running server. The operator initialises it
// anew, publishes an old zone file in vain, restores the rest from the server's
// disk cache, and adopts: the server follows again, by itself.
func TestWipedStoreIsRestoredFromAnEdgesCacheAndAdopted(t *testing.T) {
	zk := zktest.Start(t)
	url := zk.URL("/popdns")
	publishExample(t, url)
	cache := t.TempDir()
	corefile, addr := corefileFor(t, url, cache)
	server := startCoreDNS(t, corefile, addr)
	popctl(t, url, 0, "pop", "drain", "ams1")
	for i := range 3 {
		popctl(t, url, 0, "zone", "set", "example.org", "mark", "60", "A", fmt.Sprintf("192.0.2.%d", i+1))
	}
	popctl(t, url, 0, "pulse", "--once")
	eventually(t, "all of it is served, and in the cache", func() error {
		f, err := freshness(addr, "_freshness.example.org")
		if err == nil && (f.serial != 4 || !has(f, "pops serial=2") || !has(f, "map=edge serial=1")) {
			err = fmt.Errorf("the TXT is %q", f.text)
		}
		return err
	})
	eventually(t, "the disk cache has it too", func() error {
		zones, _ := popctl(t, "dir://"+cache, 0, "zone", "show", "example.org", "mark")
		pops, err := os.ReadFile(filepath.Join(cache, "pops", "head", ".node"))
		if err == nil && (!strings.Contains(zones, "192.0.2.3") || !strings.Contains(string(pops), `"serial":2`)) {
			err = fmt.Errorf("%s\n%s", zones, pops)
		}
		return err
	})
	fromAms := withECS(question("www.example.org", dns.TypeA), "192.0.2.0/24")
	if got := values(ask(t, addr, fromAms)); got != "198.51.100.10" { // ams1 is drained
		t.Fatalf("www is %q", got)
	}

	wipe(t, url)
	waitState(t, addr, "frozen")
	popctl(t, url, 0, "init")
	popctl(t, url, 0, "zone", "publish", "example.org", "../build/example/example.org.zone") // serial 1
	line := refusal(t, server, "cluster")
	old := regexp.MustCompile(`run popctl adopt ([0-9a-f-]{36})`).FindStringSubmatch(line)
	if old == nil {
		t.Fatalf("the refusal does not say what to do: %s", line)
	}
	// Adoption alone brings no serial back.
	popctl(t, url, 0, "adopt", old[1])
	refusal(t, server, "serial")
	waitState(t, addr, "frozen")
	if got := values(ask(t, addr, question("mark.example.org", dns.TypeA))); got != "192.0.2.3" {
		t.Errorf("frozen, mark is %q, want the last good one", got)
	}

	plan, _ := popctl(t, url, 2, "adopt", "--restore", cache, "--dry-run")
	done, _ := popctl(t, url, 0, "adopt", "--restore", cache)
	for _, want := range []string{"pops: the cache's serial 2, 5 items, ", "maps/edge: the cache's serial 1, ", "zones/example.org: the cache's serial 4, "} {
		if !strings.Contains(plan, want) || !strings.Contains(done, want) {
			t.Errorf("want %q in the plan\n%s\nand the receipt\n%s", want, plan, done)
		}
	}
	popctl(t, url, 0, "pulse", "--once")
	eventually(t, "the server follows", func() error {
		f, err := freshness(addr, "_freshness.example.org")
		if err == nil && (f.state != "live" || f.serial != 5 || !has(f, "pops serial=3") || !has(f, "map=edge serial=2") || !has(f, "source=heartbeat")) {
			err = fmt.Errorf("the TXT is %q", f.text)
		}
		return err
	})
	if got := values(ask(t, addr, question("mark.example.org", dns.TypeA))); got != "192.0.2.3" {
		t.Errorf("restored, mark is %q", got)
	}
	if got := values(ask(t, addr, fromAms)); got != "198.51.100.10" {
		t.Errorf("restored, www is %q: the drain is lost", got)
	}
	popctl(t, url, 0, "pop", "undrain", "ams1")
	popctl(t, url, 0, "zone", "set", "example.org", "mark", "60", "A", "192.0.2.9")
	eventually(t, "changes arrive again", func() error {
		got := values(ask(t, addr, question("mark.example.org", dns.TypeA))) + " " + values(ask(t, addr, fromAms))
		if got != "192.0.2.9 192.0.2.10" {
			return fmt.Errorf("mark and www are %q", got)
		}
		return nil
	})
	if out, _ := popctl(t, url, 0, "adopt", "--restore", cache); strings.Contains(out, "was published") {
		t.Errorf("a second time restores something: %s", out)
	}
}

// TestServerThatIsMovedToAnotherEnsembleFollowsOnceThatAdopts keeps the disk
// cache and changes the address, with keys: an adoption without a signature
// counts for nothing, one with it thaws a server that started frozen.
func TestServerThatIsMovedToAnotherEnsembleFollowsOnceThatAdopts(t *testing.T) {
	zk := zktest.Start(t)
	old, other := zk.URL("/old"), zk.URL("/other")
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	popctl(t, old, 0, "key", "generate", key)
	signed := func(url string, args ...string) { t.Helper(); popctl(t, url, 0, append(args, "--sign-key", key)...) }
	for _, url := range []string{old, other} {
		popctl(t, url, 0, "init")
		signed(url, "zone", "publish", "example.org", "../build/example/example.org.zone")
	}
	signed(other, "zone", "set", "example.org", "moved", "60", "A", "192.0.2.7")
	cache := t.TempDir()
	corefile, addr := corefileFor(t, old, cache)
	corefile = strings.Replace(corefile, "cache "+cache, "cache "+cache+"\n        verify "+key+".pub", 1)
	server := startCoreDNS(t, corefile, addr)
	waitState(t, addr, "live")
	server.stop()

	signed(other, "pulse", "--once")
	server = startCoreDNS(t, strings.Replace(corefile, old, other, 1), addr)
	line := refusal(t, server, "cluster")
	waitState(t, addr, "frozen")
	if f, err := freshness(addr, "_freshness.example.org"); err != nil || !has(f, "source=commit") {
		t.Errorf("another store's pulse dates what is served: %q, %v", f.text, err)
	}
	id := regexp.MustCompile(`run popctl adopt ([0-9a-f-]{36})`).FindStringSubmatch(line)[1]
	popctl(t, other, 0, "adopt", id) // as would somebody who may write there, and has no key
	refusal(t, server, "signature")
	if r := ask(t, addr, question("moved.example.org", dns.TypeA)); r.Rcode != dns.RcodeNameError {
		t.Errorf("an unsigned adoption is followed: %s", r)
	}
	signed(other, "adopt", id)
	began := time.Now()
	eventually(t, "the signed adoption thaws the zone", func() error {
		if got := values(ask(t, addr, question("moved.example.org", dns.TypeA))); got != "192.0.2.7" {
			return fmt.Errorf("moved is %q", got)
		}
		return nil
	})
	t.Logf("thawed %v after the adoption", time.Since(began).Round(time.Millisecond))
	eventually(t, "the new store's pulse counts", func() error {
		f, err := freshness(addr, "_freshness.example.org")
		if err == nil && (f.state != "live" || !has(f, "source=heartbeat")) {
			err = fmt.Errorf("the TXT is %q", f.text)
		}
		return err
	})
	server.stop()
	// From its cache it is the new store's now, whose adoption is not needed any more.
	signed(other, "adopt", "--undo", id)
	startCoreDNS(t, strings.Replace(corefile, old, other, 1), addr)
	waitState(t, addr, "live")
}

// wipe deletes all that is in the store, as a slip with deleteall does.
func wipe(t *testing.T, url string) {
	t.Helper()
	st, err := storeurl.Open(url, storeurl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	var remove func(path string)
	remove = func(path string) {
		names, err := st.Children(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			remove(store.Join(path, name))
		}
		if path == "" {
			return
		}
		if err := st.Commit(t.Context(), store.Delete(path, store.AnyVersion)); err != nil {
			t.Fatal(err)
		}
	}
	remove("")
}

// refusal waits for the server's log line of a refused zone and returns it.
func refusal(t *testing.T, server *daemon, reason string) string {
	t.Helper()
	var found string
	eventually(t, "a refusal ("+reason+")", func() error {
		for _, line := range refusals(server) {
			if strings.Contains(line, zonePath) && strings.Contains(line, "("+reason+")") {
				found = line
				return nil
			}
		}
		return os.ErrNotExist
	})
	return found
}

// has tells whether a string of the TXT begins so.
func has(f fresh, prefix string) bool {
	for _, s := range f.text {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}
