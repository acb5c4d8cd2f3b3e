package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// exampleCorefile is corefile.example with free ports, so that it runs beside
// anything. Every replacement must hit: the test serves what users are given.
func exampleCorefile(t *testing.T) (text, authority, resolver string) {
	t.Helper()
	raw, err := os.ReadFile("../corefile.example")
	if err != nil {
		t.Fatal(err)
	}
	text = string(raw)
	ports := map[string]int{"1053": freePort(t), "1054": freePort(t), "8181": freePort(t), "9153": freePort(t)}
	for port, free := range ports {
		if !strings.Contains(text, ":"+port) {
			t.Fatalf("corefile.example does not mention port %s", port)
		}
		text = strings.ReplaceAll(text, ":"+port, ":"+strconv.Itoa(free))
	}
	return text, loopback(ports["1053"]), loopback(ports["1054"])
}

// TestMakeRunServesTheExample runs the script behind `make run`, for both kinds
// of store, and asks what a new user is told to ask.
func TestMakeRunServesTheExample(t *testing.T) {
	for _, kind := range []string{"dir", "zk"} {
		t.Run(kind, func(t *testing.T) {
			if kind == "zk" && os.Getenv("POPDNS_SKIP_ZK") == "1" {
				t.Skip("POPDNS_SKIP_ZK=1: not run against a real ZooKeeper")
			}
			corefile, authority, resolver := exampleCorefile(t)
			root := exampleRoot(t, corefile)
			script := startProcess(t, exec.Command("build/run.sh", kind), root, []string{"POPDNS_ZK_PORT=" + strconv.Itoa(freePort(t))})
			t.Cleanup(func() {
				if log, err := os.ReadFile(filepath.Join(root, "run", "zookeeper", "log")); t.Failed() && err == nil {
					t.Logf("log of ZooKeeper:\n%s", log)
				}
			})
			eventually(t, "make run answers", func() error {
				select {
				case <-script.done:
					t.Fatalf("build/run.sh ended:\n%s", script.log)
				default:
				}
				r, err := exchange(authority, question("www.example.org", dns.TypeA))
				if err == nil && len(r.Answer) == 0 {
					err = fmt.Errorf("rcode %s", dns.RcodeToString[r.Rcode])
				}
				return err
			})
			if !strings.Contains(script.log.String(), "+subnet=") {
				t.Errorf("build/run.sh does not show a dig line with +subnet:\n%s", script.log)
			}

			checkSteered(t, authority)
			checkPlain(t, authority)
			checkFreshThisMinute(t, authority)
			// The resolver block answers our names past its cache, each client its own.
			checkSteered(t, resolver)
		})
	}
}

// exampleRoot lays out a folder in which build/run.sh finds what it needs.
func exampleRoot(t *testing.T, corefile string) string {
	t.Helper()
	root := t.TempDir()
	repo, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"bin": bin, "build": filepath.Join(repo, "build")} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "corefile.example"), []byte(corefile), 0o600); err != nil {
		t.Fatal(err)
	}
	return root
}

func checkSteered(t *testing.T, addr string) {
	t.Helper()
	for _, tc := range []struct {
		subnet string
		want   string
		scope  int
	}{
		{"192.0.2.0/24", "192.0.2.10", 24},
		{"198.51.100.0/25", "198.51.100.10", 25},
		{"198.51.100.0/24", "198.51.100.10", 25}, // more specific than asked: RFC 7871 7.2.1
		{"198.51.100.192/26", "192.0.2.110", 25},
		{"203.0.113.0/24", "203.0.113.10", 24},
	} {
		r := ask(t, addr, withECS(question("www.example.org", dns.TypeA), tc.subnet))
		if got := values(r); got != tc.want || ecsScope(r) != tc.scope {
			t.Errorf("www.example.org A +subnet=%s: got %q scope %d, want %q scope %d", tc.subnet, got, ecsScope(r), tc.want, tc.scope)
		}
	}
	r := ask(t, addr, question("www.example.org", dns.TypeA))
	if got := values(r); got != "192.0.2.10" {
		t.Errorf("www.example.org A from loopback: got %q, want the map's default PoP 192.0.2.10", got)
	}
	if ecsScope(r) != -1 {
		t.Error("a reply to a query without ECS carries ECS")
	}
}

func checkPlain(t *testing.T, addr string) {
	t.Helper()
	for _, tc := range []struct {
		name  string
		qtype uint16
		want  string
		rcode int
	}{
		{"api.example.org", dns.TypeA, "192.0.2.80", dns.RcodeSuccess},
		{"anything.dyn.example.org", dns.TypeA, "192.0.2.99", dns.RcodeSuccess},
		{"fixed.dyn.example.org", dns.TypeA, "", dns.RcodeSuccess},
		{"docs.example.org", dns.TypeA, "192.0.2.10", dns.RcodeSuccess},
		{"host.lab.example.org", dns.TypeA, "", dns.RcodeSuccess},
		{"missing.example.org", dns.TypeA, "", dns.RcodeNameError},
	} {
		r := ask(t, addr, withECS(question(tc.name, tc.qtype), "192.0.2.0/24"))
		if got := values(r); got != tc.want || r.Rcode != tc.rcode {
			t.Errorf("%s %s: got %q %s, want %q %s", tc.name, dns.TypeToString[tc.qtype], got, dns.RcodeToString[r.Rcode], tc.want, dns.RcodeToString[tc.rcode])
		}
		if len(r.Answer) == 0 && ecsScope(r) != 0 {
			t.Errorf("%s: a negative answer or delegation has ECS scope %d, want 0", tc.name, ecsScope(r))
		}
	}
	r := ask(t, addr, question("host.lab.example.org", dns.TypeA))
	if r.Authoritative || len(r.Ns) != 1 || len(r.Extra) < 2 {
		t.Errorf("below the delegation: want a referral with glue, got\n%s", r)
	}
}

func checkFreshThisMinute(t *testing.T, addr string) {
	t.Helper()
	eventually(t, "the freshness TXT is live and of this minute", func() error {
		f, err := freshness(addr, "_freshness.example.org")
		if err != nil {
			return err
		}
		if age := time.Since(f.source); age < -2*time.Second || age > time.Minute {
			return fmt.Errorf("source time is %s old: %v", age, f.text)
		}
		if f.state != "live" {
			return fmt.Errorf("state is %q, want live: %v", f.state, f.text)
		}
		return nil
	})
}

// fresh is a freshness TXT, taken apart.
type fresh struct {
	source time.Time
	age    int
	serial uint32
	state  string
	text   []string
}

func freshness(addr, name string) (fresh, error) {
	r, err := exchange(addr, question(name, dns.TypeTXT))
	if err != nil {
		return fresh{}, err
	}
	if len(r.Answer) != 1 {
		return fresh{}, fmt.Errorf("%s has %d TXT records: %s", name, len(r.Answer), dns.RcodeToString[r.Rcode])
	}
	txt := r.Answer[0].(*dns.TXT).Txt
	f := fresh{text: txt}
	unix, err := strconv.ParseInt(txt[0], 10, 64)
	if err != nil {
		return f, fmt.Errorf("first string %q is no Unix time", txt[0])
	}
	f.source = time.Unix(unix, 0)
	for _, s := range txt[1:] {
		switch key, value, _ := strings.Cut(s, "="); key {
		case "age":
			f.age, err = strconv.Atoi(value)
		case "serial":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 32)
			f.serial = uint32(n)
		case "state":
			f.state = value
		}
		if err != nil {
			return f, fmt.Errorf("string %q: %w", s, err)
		}
	}
	return f, nil
}
