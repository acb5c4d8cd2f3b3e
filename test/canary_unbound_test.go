package test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// nextVersion is a map after some days: most rows as they were, some with another list, some gone, some new.
func (m *steeredMap) nextVersion(rnd *rand.Rand) *steeredMap {
	next := &steeredMap{pops: m.pops, hole: m.hole}
	have := map[netip.Prefix]bool{}
	for _, r := range slices.Concat(m.rows, randomSteeredMap(rnd, 6, m.pops).rows) {
		switch rnd.IntN(6) {
		case 0:
			continue
		case 1, 2:
			r.list = m.pops[rnd.IntN(len(m.pops))]
		}
		if !have[r.prefix] {
			have[r.prefix] = true
			next.rows = append(next.rows, r)
		}
	}
	return next
}

// TestUnboundInFrontOfACanaryGivesEveryClientItsOwnVersion asks through a resolver that caches by client subnet while half of the client blocks
// have another version of the map: whatever is cached already, a client gets what it gets without a cache between.
func TestUnboundInFrontOfACanaryGivesEveryClientItsOwnVersion(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	m := randomSteeredMap(rnd, 40, []string{"p0", "p1", "p2", "p3", "p4", "p5"})
	next := m.nextVersion(rnd)
	metrics := freePort(t)
	// Both versions have their own idea of the resolver too, which decides in holes.
	url := "dir://" + t.TempDir()
	ours := m.serveFrom(t, url, "ecs", fmt.Sprintf("resolver:\n  127.0.0.0/8: [%s]\n", m.hole), fmt.Sprintf(" prometheus 127.0.0.1:%d\n freshness\n", metrics))
	popctl(t, url, 0, "map", "publish", "edge", writeFile(t, "next.yaml", next.text("ecs", "resolver:\n  127.0.0.0/8: [p5]\n")), "--canary", "50%", "--force")
	waitForFreshness(t, "canary=1", ours)
	unbound := startUnbound(t, ours)

	wanted, both := map[netip.Prefix]string{}, map[bool]int{}
	var subnets []netip.Prefix
	for _, c := range m.clients(rnd) {
		subnet := netip.PrefixFrom(c, 24).Masked()
		if c.Is6() {
			subnet = netip.PrefixFrom(c, 56).Masked()
		}
		if wanted[subnet] != "" {
			continue
		}
		subnets = append(subnets, subnet)
		r := ask(t, ours, withECS(question("direct.www.example.org", dns.TypeA), subnet.String()))
		wanted[subnet] = m.popOf(values(r))
		if a, b := m.pop(subnet.Addr()), next.pop(subnet.Addr()); !strings.HasPrefix(wanted[subnet], "p") {
			t.Fatalf("%s gets %q", subnet, wanted[subnet])
		} else if a != b {
			both[wanted[subnet] == b]++
		}
	}
	if both[true] == 0 || both[false] == 0 {
		t.Fatalf("of the clients for which the versions differ %d have the staged one and %d the published one", both[true], both[false])
	}
	asked, before := 0, steeredAnswers(t, metrics)
	for i := range 25 {
		rnd.Shuffle(len(subnets), func(i, j int) { subnets[i], subnets[j] = subnets[j], subnets[i] })
		name := fmt.Sprintf("walk%d.www.example.org", i)
		for n, subnet := range subnets {
			r := ask(t, unbound, withECS(recursive(name, dns.TypeA), subnet.String()))
			if got := m.popOf(values(r)); got != wanted[subnet] {
				t.Errorf("%s got %s, want %s, after %v", subnet, got, wanted[subnet], subnets[:n])
			}
			asked++
		}
	}
	came := steeredAnswers(t, metrics) - before
	t.Logf("%d questions to Unbound, %d from it to us; versions differ for %v clients", asked, came, both)
	if came > asked*19/20 {
		t.Error("hardly any question could be answered from the cache: the test shows nothing about sharing")
	}
}
