package test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/miekg/dns"
)

// TestUnboundInFrontGivesEveryClientItsOwnPoP asks through a real resolver that
// caches by client subnet, for mapped, unmapped and nested clients, in every
// order: each gets its own PoP whatever is cached already. And the resolver asks
// us no oftener than a cache must that knows the widest scopes there are.
func TestUnboundInFrontGivesEveryClientItsOwnPoP(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	m := randomSteeredMap(rnd, 40, []string{"p0", "p1", "p2", "p3", "p4", "p5"})
	metrics := freePort(t)
	// What the resolver plane says for the resolver itself is nobody's in the ecs plane.
	resolver := fmt.Sprintf("resolver:\n  127.0.0.0/8: [%s]\n", m.hole)
	ours := m.serve(t, "ecs", resolver, fmt.Sprintf(" prometheus 127.0.0.1:%d\n", metrics))
	unbound := startUnbound(t, ours)

	all := m.clients(rnd)
	asked, must := 0, 0
	before := steeredAnswers(t, metrics)
	// walk asks for one name, for clients one after the other, so that what is
	// cached for it comes from those before.
	walk := func(name string, clients []netip.Addr) {
		t.Helper()
		cached := map[netip.Prefix]bool{}
		for i, c := range clients {
			source := 24
			if c.Is6() {
				source = 56
			}
			subnet := netip.PrefixFrom(c, source).Masked()
			r := ask(t, unbound, withECS(recursive(name, dns.TypeA), subnet.String()))
			if got, want := m.popOf(values(r)), m.pop(subnet.Addr()); got != want {
				t.Errorf("%s after %v got %s, want %s (rcode %s)", subnet, clients[:i], got, want, dns.RcodeToString[r.Rcode])
			}
			asked++
			if !isCached(cached, subnet) {
				must++
				block := netip.PrefixFrom(subnet.Addr(), min(source, m.scope(subnet.Addr()))).Masked()
				cached[block] = true
			}
		}
	}

	// Every order of five clients around one row: two in it, one beside it, one
	// in a hole, one anywhere.
	row := m.rows[rnd.IntN(len(m.rows))].prefix
	some := []netip.Addr{
		row.Addr(), randomAddress(rnd, row), lastAddress(row).Next(), netip.MustParseAddr("203.0.113.1"), all[rnd.IntN(len(all))],
	}
	n := 0
	permutations(some, func(order []netip.Addr) {
		walk(fmt.Sprintf("order%d.www.example.org", n), order)
		n++
	})
	if n != 120 {
		t.Fatalf("%d orders", n)
	}
	// Longer walks through all of the map.
	for i := range 20 {
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		walk(fmt.Sprintf("walk%d.www.example.org", i), all)
	}
	came := steeredAnswers(t, metrics) - before
	t.Logf("%d questions to Unbound, %d from it to us; %d must come", asked, came, must)
	if came != must {
		t.Errorf("Unbound asked us %d times, by the widest scopes it must %d times", came, must)
	}
	if must > asked*9/10 {
		t.Error("hardly any question could be answered from the cache: the test shows nothing about sharing")
	}
}

// isCached tells whether a cached block covers the subnet.
func isCached(cached map[netip.Prefix]bool, subnet netip.Prefix) bool {
	for block := range cached {
		if block.Bits() <= subnet.Bits() && block.Contains(subnet.Addr()) {
			return true
		}
	}
	return false
}

// recursive makes a question for a resolver.
func recursive(name string, qtype uint16) *dns.Msg {
	m := question(name, qtype)
	m.RecursionDesired = true
	return m
}

// permutations calls fn with every order of the list (Heap's algorithm).
func permutations[T any](list []T, fn func([]T)) {
	var permute func(k int)
	permute = func(k int) {
		if k == 1 {
			fn(list)
			return
		}
		for i := range k {
			permute(k - 1)
			if k%2 == 0 {
				list[i], list[k-1] = list[k-1], list[i]
			} else {
				list[0], list[k-1] = list[k-1], list[0]
			}
		}
	}
	permute(len(list))
}

// startUnbound starts Debian's Unbound with its module subnetcache, which asks
// the authority at addr for example.org.
func startUnbound(t *testing.T, authority string) (addr string) {
	t.Helper()
	dir, port := t.TempDir(), freePort(t)
	host, authorityPort, _ := net.SplitHostPort(authority)
	conf := fmt.Sprintf(`server:
    interface: 127.0.0.1
    port: %[1]d
    directory: %[2]q
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    num-threads: 1
    do-not-query-localhost: no
    access-control: 127.0.0.0/8 allow
    module-config: "subnetcache iterator"
    send-client-subnet: %[3]s
    max-client-subnet-ipv4: 24
    max-client-subnet-ipv6: 56
    max-ecs-tree-size-ipv4: 10000
    max-ecs-tree-size-ipv6: 10000
    qname-minimisation: no
    root-hints: ""
    trust-anchor-file: ""
remote-control:
    control-enable: no
stub-zone:
    name: "example.org"
    stub-addr: %[3]s@%[4]s
`, port, dir, host, authorityPort)
	if err := os.WriteFile(filepath.Join(dir, "unbound.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startProcess(t, exec.Command(systemBinary(t, "unbound", "unbound"), "-d", "-c", filepath.Join(dir, "unbound.conf")), dir, nil)
	eventually(t, "Unbound answers", func() error {
		select {
		case <-d.done:
			t.Fatalf("unbound ended:\n%s", d.log)
		default:
		}
		r, err := exchange(loopback(port), recursive("example.org", dns.TypeSOA))
		if err == nil && len(r.Answer) == 0 {
			err = fmt.Errorf("rcode %s", dns.RcodeToString[r.Rcode])
		}
		return err
	})
	return loopback(port)
}

var choicesMetric = regexp.MustCompile(`(?m)^coredns_popmap_choices_total\{.*\} (\d+)$`)

// steeredAnswers is how many steered answers the server has given.
func steeredAnswers(t *testing.T, metricsPort int) (sum int) {
	t.Helper()
	for _, m := range choicesMetric.FindAllStringSubmatch(metricsText(t, metricsPort), -1) {
		n, _ := strconv.Atoi(m[1])
		sum += n
	}
	return sum
}
