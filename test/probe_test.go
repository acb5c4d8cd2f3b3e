package test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/store/zktest"
)

const probedZone = `$ORIGIN example.org.
@    60 IN SOA ns h 1 2 3 4 5
@    60 IN NS ns
ns   60 IN A 192.0.2.53
www  60 IN A 192.0.2.1 ;@ pop=ams1 map=edge service=web
www  60 IN A 192.0.2.2 ;@ pop=iad2
www  60 IN A 192.0.2.3 ;@ pop=sin1
www  60 IN A 192.0.2.9
`

// site is a web server that can be broken.
func site(t *testing.T) (addr string, broken *atomic.Bool) {
	t.Helper()
	broken = &atomic.Bool{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), broken
}

// deadAddress is one where nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestProbersTakeAPoPOutOfTheAnswersAndOneThatLiesDoesNot(t *testing.T) {
	zk := zktest.Start(t)
	url := zk.URL("/popdns")
	ams, amsBroken := site(t)
	iad, iadBroken := site(t)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tcp.Close() })
	popctl(t, url, 0, "init")
	popctl(t, url, 0, "pop", "apply", writeFile(t, "pops.yaml", "ams1: {}\niad2: {}\nsin1: {}\n"))
	popctl(t, url, 0, "map", "publish", "edge", writeFile(t, "edge.yaml", "default: [ams1, iad2, sin1]\n"))
	popctl(t, url, 0, "zone", "publish", "example.org", writeFile(t, "example.org.zone", probedZone))
	port := freePort(t)
	addr := loopback(port)
	startCoreDNS(t, fmt.Sprintf("example.org:%d {\n bind 127.0.0.1\n popmap\n zkzone {\n source %s\n }\n}\n", port, url), addr)
	answer := func() string {
		r, err := exchange(addr, question("www.example.org", dns.TypeA))
		if err != nil {
			return err.Error()
		}
		return values(r)
	}
	becomes := func(what, want string) {
		t.Helper()
		eventually(t, what, func() error {
			if got := answer(); got != want {
				return fmt.Errorf("the answer is %q, want %q", got, want)
			}
			return nil
		})
	}
	becomes("the first PoP answers", "192.0.2.1")

	spec := func(ams, iad string) string {
		return writeFile(t, "probes.yaml", fmt.Sprintf(`interval: 1s
timeout: 900ms
up_thresh: 2
ok_thresh: 2
down_thresh: 2
checks:
  - service: web
    url: http://www.example.org/health
    pops: {ams1: "%s", iad2: "%s", sin1: "%s"}
  - tcp: 1
    pops: {ams1: "%s", iad2: "%s", sin1: "%s"}
`, ams, iad, iad, tcp.Addr(), tcp.Addr(), tcp.Addr()))
	}
	metrics := loopback(freePort(t))
	probers := map[string]*daemon{}
	for name, file := range map[string]string{"a": spec(ams, iad), "b": spec(ams, iad), "c": spec(deadAddress(t), iad)} {
		args := []string{"probe", file, "--name", name}
		if name == "a" {
			args = append(args, "--metrics", metrics)
		}
		probers[name] = startDaemon(t, t.TempDir(), "popctl", []string{"POPDNS_STORE=" + url}, args...)
	}
	counted := func(who string) {
		t.Helper()
		eventually(t, who+" count", func() error {
			if log := probers["a"].log.String(); !strings.Contains(log, "probers="+who+" ") {
				return fmt.Errorf("its log has no such line")
			}
			return nil
		})
	}
	counted("a,b,c")
	// Prober c can't reach ams1: it has had the time to be sure, and to say so.
	eventually(t, "c finds ams1 down", func() error {
		if log := probers["c"].log.String(); !strings.Contains(log, "target is down") {
			return fmt.Errorf("its log has no such line")
		}
		return nil
	})
	time.Sleep(1200 * time.Millisecond)
	if got := answer(); got != "192.0.2.1" {
		t.Errorf("one prober that lies takes ams1 down: %s", got)
	}

	amsBroken.Store(true)
	becomes("ams1 is passed over", "192.0.2.2")
	if out, _ := popctl(t, url, 0, "pop", "list"); !strings.Contains(out, "web failing") {
		t.Errorf("pop list says\n%s", out)
	}
	eventually(t, "prober a's metrics say so", func() error { // the other two may have been enough
		r, err := http.Get("http://" + metrics + "/metrics")
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if page := readAll(r.Body); !strings.Contains(page, `popdns_probe_up{pop="ams1",service="web"} 0`) || !strings.Contains(page, "popdns_probe_live_probers 3") {
			return fmt.Errorf("metrics:\n%s", page)
		}
		return nil
	})
	// An operator's word stands.
	popctl(t, url, 0, "pop", "drain", "iad2")
	becomes("iad2 is drained", "192.0.2.3")
	amsBroken.Store(false)
	becomes("ams1 is back", "192.0.2.1")
	if out, _ := popctl(t, url, 0, "pop", "list"); !strings.Contains(out, "iad2  up     100%") {
		t.Errorf("the drain did not stay:\n%s", out)
	}
	popctl(t, url, 0, "pop", "undrain", "iad2")

	// Flapping: failures, never two without two successes in between.
	serial, _ := popctl(t, url, 0, "pop", "list", "-o", "json")
	for range 2 {
		iadBroken.Store(true)
		time.Sleep(300 * time.Millisecond)
		iadBroken.Store(false)
		time.Sleep(2300 * time.Millisecond)
	}
	if now, _ := popctl(t, url, 0, "pop", "list", "-o", "json"); now != serial {
		t.Errorf("a target that flaps is published:\n%s", now)
	}

	// Too few probers change nothing; a prober that stops on purpose counts no longer at once.
	for _, name := range []string{"b", "c"} {
		if err := probers[name].cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-probers[name].done
		if code := probers[name].cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("prober %s ends with status %d", name, code)
		}
	}
	before := len(probers["a"].log.String())
	amsBroken.Store(true)
	eventually(t, "a finds ams1 down", func() error {
		if log := probers["a"].log.String()[before:]; !strings.Contains(log, "target is down") || !strings.Contains(log, "held") {
			return fmt.Errorf("its log has no such line")
		}
		return nil
	})
	time.Sleep(time.Second)
	if got := answer(); got != "192.0.2.1" {
		t.Errorf("a prober alone takes ams1 down: %s", got)
	}
}
