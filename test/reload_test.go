package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store/zktest"

	"github.com/miekg/dns"
)

// TestReloadsLeakNoSessionAndNoGoroutine runs two server blocks on one source,
// reloads ten times in a row by signal, then with a Corefile that fails to
// start, and compares sessions (as ZooKeeper counts them) and goroutines.
func TestReloadsLeakNoSessionAndNoGoroutine(t *testing.T) {
	zk := zktest.Start(t)
	url := zk.URL("/popdns")
	publishExample(t, url)
	popctl(t, url, 0, "zone", "publish", "example.net", writeFile(t, "example.net.zone",
		"example.net. 60 IN SOA ns.example.net. h.example.net. 1 2 3 4 5\nexample.net. 60 IN NS ns.example.net.\nns.example.net. 60 IN A 192.0.2.53\n"))
	port, pprofPort := freePort(t), freePort(t)
	secondary := freePort(t) // nobody is there: every NOTIFY fails
	block := "%s:%d {\n bind 127.0.0.1\n transfer {\n to " + loopback(secondary) + "\n }\n freshness\n popmap {\n map edge\n }\n zkzone {\n source %s\n startup_timeout 100ms\n }\n errors\n}\n"
	corefile := fmt.Sprintf(block, "example.org", port, url) + fmt.Sprintf(block, "example.net", port, url) +
		fmt.Sprintf(".:%d {\n bind 127.0.0.1\n pprof 127.0.0.1:%d\n}\n", port, pprofPort)
	dir := t.TempDir()
	addr := loopback(port)
	server := startCoreDNSIn(t, dir, corefile, addr)
	answers := func() {
		t.Helper()
		if got := values(ask(t, addr, question("api.example.org", dns.TypeA))); got != "192.0.2.80" {
			t.Fatalf("api.example.org is %q", got)
		}
		if got := values(ask(t, addr, question("ns.example.net", dns.TypeA))); got != "192.0.2.53" {
			t.Fatalf("ns.example.net is %q", got)
		}
	}
	answers()
	if n := sessions(t, zk); n != 1 {
		t.Errorf("two blocks with one source have %d sessions, want 1", n)
	}

	reload(t, server, 1) // so that what a reload starts once is there
	before, listed := goroutines(t, pprofPort)
	for i := range 10 {
		reload(t, server, 2+i)
		answers()
	}
	// A reload that fails after every zkzone has started: CoreDNS runs no
	// shutdown callback for it, and a port is taken only at the very end.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	broken := corefile + fmt.Sprintf(block, "example.com", taken.Addr().(*net.TCPAddr).Port, zk.URL("/other"))
	if err := os.WriteFile(filepath.Join(dir, "Corefile"), []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	signal(t, server, "Restart failed", 1)
	answers()
	if err := os.WriteFile(filepath.Join(dir, "Corefile"), []byte(corefile), 0o600); err != nil {
		t.Fatal(err)
	}
	reload(t, server, 12)
	answers()

	eventually(t, "one session is left", func() error {
		if n := sessions(t, zk); n != 1 {
			return fmt.Errorf("%d sessions", n)
		}
		return nil
	})
	eventually(t, "no goroutine is left behind", func() error {
		if after, now := goroutines(t, pprofPort); after > before {
			return fmt.Errorf("%d goroutines, %d after the first reload; then\n%s\nnow\n%s", after, before, listed, now)
		}
		return nil
	})
	server.stop()
	eventually(t, "a stopped server leaves no session", func() error {
		if n := sessions(t, zk); n != 0 {
			return fmt.Errorf("%d sessions", n)
		}
		return nil
	})
}

func reload(t *testing.T, d *daemon, times int) {
	t.Helper()
	signal(t, d, "Reloading complete", times)
}

// signal asks for a reload and waits until line was logged so many times.
func signal(t *testing.T, d *daemon, line string, times int) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	eventually(t, line, func() error {
		if n := strings.Count(d.log.String(), line); n < times {
			return fmt.Errorf("logged %d times, want %d", n, times)
		}
		return nil
	})
}

var aliveConnections = regexp.MustCompile(`zk_num_alive_connections\s+(\d+)`)

// sessions is how many clients ZooKeeper has, without the asking one.
func sessions(t *testing.T, zk *zktest.Server) int {
	t.Helper()
	conn, err := net.Dial("tcp", zk.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("mntr")); err != nil {
		t.Fatal(err)
	}
	out := readAll(conn)
	m := aliveConnections.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("mntr says nothing of connections:\n%s", out)
	}
	n, _ := strconv.Atoi(m[1])
	return n - 1
}

var goroutineGroup = regexp.MustCompile(`(?m)^(\d+) @ `)

// goroutines is how many the server has, and their stacks. Those of HTTP
// servers don't count: the stock pprof plugin leaves one behind after a failed
// reload.
func goroutines(t *testing.T, port int) (total int, stacks string) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/goroutine?debug=1", port))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	stacks = readAll(r.Body)
	for group := range strings.SplitSeq(stacks, "\n\n") {
		m := goroutineGroup.FindStringSubmatch(group)
		if m == nil || strings.Contains(group, "net/http.") {
			continue
		}
		n, _ := strconv.Atoi(m[1])
		total += n
	}
	if total == 0 {
		t.Fatalf("pprof says nothing of goroutines:\n%s", stacks)
	}
	return total, stacks
}
