package test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const (
	canaryZone = `$ORIGIN example.org.
@    60 IN SOA ns h 1 2 3 4 5
@    60 IN NS ns
ns   60 IN A 192.0.2.53
www  60 IN A 192.0.2.1 ;@ pop=ams1 map=edge
www  60 IN A 192.0.2.2 ;@ pop=iad2
www  60 IN A 192.0.2.9
`
	oldAnswer, newAnswer = "192.0.2.1", "192.0.2.2"
)

// canaryClients are networks that the two maps send elsewhere.
func canaryClients() (subnets []string) {
	for i := range 300 {
		subnets = append(subnets, fmt.Sprintf("45.%d.%d.0/24", i%7, i%250))
	}
	for i := range 100 {
		subnets = append(subnets, fmt.Sprintf("2a0f:db8:%x::/56", i*3))
	}
	return subnets
}

// startEdge serves canaryZone as the edge called name.
func startEdge(t *testing.T, url, name string) (addr string) {
	t.Helper()
	port := freePort(t)
	addr = loopback(port)
	startCoreDNS(t, fmt.Sprintf("example.org:%d {\n bind 127.0.0.1\n freshness\n popmap {\n edge %s\n }\n zkzone {\n source %s\n }\n errors\n}\n", port, name, url), addr)
	eventually(t, name+" answers", func() error {
		if got, _, err := askFor(addr, "45.0.0.0/24"); err != nil || got == "" {
			return fmt.Errorf("%q, %w", got, err)
		}
		return nil
	})
	return addr
}

// waitForFreshness returns once the freshness records of all edges say so of the map, since half of a sweep may be answered before a switch.
func waitForFreshness(t *testing.T, says string, addrs ...string) {
	t.Helper()
	for _, addr := range addrs {
		eventually(t, "freshness says "+says, func() error {
			r, err := exchange(addr, question("_freshness.example.org", dns.TypeTXT))
			if err == nil && !strings.Contains(values(r), " "+says+`"`) {
				err = fmt.Errorf("it says %s", values(r))
			}
			return err
		})
	}
}

// askFor asks on behalf of a client network.
func askFor(addr, subnet string) (answer string, scope int, err error) {
	r, err := exchange(addr, withECS(question("www.example.org", dns.TypeA), subnet))
	if err != nil {
		return "", 0, err
	}
	return values(r), ecsScope(r), nil
}

// askClients returns who has the new answer, once the answers of all clients have been what ok wants.
func askClients(t *testing.T, addr, what string, ok func(moved map[string]bool) error) map[string]bool {
	t.Helper()
	moved := map[string]bool{}
	eventually(t, what, func() error {
		clear(moved)
		for _, subnet := range canaryClients() {
			got, scope, err := askFor(addr, subnet)
			if err != nil {
				return err
			}
			if got != oldAnswer && got != newAnswer {
				t.Fatalf("%s gets %q", subnet, got)
			}
			if most := map[bool]int{false: 24, true: 48}[strings.Contains(subnet, ":")]; scope > most || scope < 1 {
				t.Fatalf("%s: scope %d", subnet, scope)
			}
			moved[subnet] = got == newAnswer
		}
		return ok(moved)
	})
	return moved
}

func countMoved(moved map[string]bool) (n int) {
	for _, m := range moved {
		if m {
			n++
		}
	}
	return n
}

func between(from, to int) func(map[string]bool) error {
	return func(moved map[string]bool) error {
		if n := countMoved(moved); n < from || n > to {
			return fmt.Errorf("%d of %d clients have the new answer, want %d to %d", n, len(moved), from, to)
		}
		return nil
	}
}

// watchSwitches asks for every client again and again until the test ends the context, and returns how often a client's answer changed.
func watchSwitches(ctx context.Context, t *testing.T, addr string) func() map[string]int {
	t.Helper()
	changes, last := map[string]int{}, map[string]string{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			for _, subnet := range canaryClients() {
				got, _, err := askFor(addr, subnet)
				if err != nil || got == "" {
					t.Errorf("%s: %q, %v", subnet, got, err)
					return
				}
				if last[subnet] != "" && last[subnet] != got {
					changes[subnet]++
				}
				last[subnet] = got
			}
		}
	})
	return func() map[string]int { wg.Wait(); return changes }
}

func TestCanaryServesItsShareAndIsPromotedAndRolledBackUnderQueries(t *testing.T) {
	url := "dir://" + t.TempDir()
	popctl(t, url, 0, "init")
	popctl(t, url, 0, "pop", "apply", writeFile(t, "pops.yaml", "ams1: {}\niad2: {}\n"))
	// The maps differ in 45.0.0.0/8 and 2a0f:db8::/32, and agree elsewhere.
	rest := "default: [ams1]\necs:\n  44.0.0.0/8: [ams1]\n"
	old := writeFile(t, "old.yaml", rest+"  45.0.0.0/8: [ams1]\n  2a0f:db8::/32: [ams1]\n")
	next := writeFile(t, "new.yaml", rest+"  45.0.0.0/8: [iad2]\n  2a0f:db8::/32: [iad2]\n")
	popctl(t, url, 0, "map", "publish", "edge", old)
	popctl(t, url, 0, "zone", "publish", "example.org", writeFile(t, "example.org.zone", canaryZone))
	one, two, lab := startEdge(t, url, "ams1-a"), startEdge(t, url, "iad2-a"), startEdge(t, url, "lab1")
	none, all := between(0, 0), between(400, 400)
	askClients(t, one, "the old map serves", none)

	// Five percent, and the lab's edge.
	popctl(t, url, 0, "map", "publish", "edge", next, "--canary", "5%", "--canary-edges", "lab*")
	waitForFreshness(t, "canary=1", one, two)
	five := askClients(t, one, "5 % have the new map", between(6, 40))
	if again := askClients(t, two, "5 % have the new map", between(6, 40)); fmt.Sprint(again) != fmt.Sprint(five) {
		t.Error("two edges chose different clients")
	}
	askClients(t, lab, "everybody at the lab's edge has the new map", all)
	if got, scope, err := askFor(one, "44.1.2.0/24"); err != nil || got != oldAnswer || scope != 8 {
		t.Errorf("where both maps agree: %q with scope %d, %v; want the scope as wide as without a canary, 8", got, scope, err)
	}
	if got, scope, err := askFor(one, "45.1.2.0/24"); err != nil || scope != 24 {
		t.Errorf("where they differ: %q with scope %d, %v; want 24", got, scope, err)
	}

	// Half: nobody goes back.
	popctl(t, url, 0, "map", "canary", "edge", "50%")
	waitForFreshness(t, "canary=2", one)
	half := askClients(t, one, "50 % have the new map", between(150, 250))
	for subnet, moved := range five {
		if moved && !half[subnet] {
			t.Errorf("%s had the new map at 5 %% and not at 50 %%", subnet)
		}
	}

	// Promotion and rollback under queries: each client changes once at most.
	ctx, cancel := context.WithCancel(t.Context())
	changes := watchSwitches(ctx, t, one)
	time.Sleep(100 * time.Millisecond) // so that there is something to change from
	popctl(t, url, 0, "map", "promote", "edge")
	askClients(t, one, "everybody has the new map", all)
	cancel()
	for subnet, n := range changes() {
		if n > 1 || half[subnet] {
			t.Errorf("%s, which had the new map before: %v, changed its answer %d times while it was promoted", subnet, half[subnet], n)
		}
	}
	if _, scope, err := askFor(one, "45.1.2.0/24"); err != nil || scope != 8 {
		t.Errorf("after the canary the scope is %d, %v; want 8", scope, err)
	}
	popctl(t, url, 0, "map", "rollback", "edge")
	askClients(t, one, "everybody has the old map again", none)
	askClients(t, lab, "everybody at the lab's edge has the old map again", none)

	// A canary that is taken back.
	popctl(t, url, 0, "map", "publish", "edge", next, "--canary", "50%")
	waitForFreshness(t, "canary=4", two)
	if again := askClients(t, two, "50 % have the new map", between(150, 250)); fmt.Sprint(again) != fmt.Sprint(half) {
		t.Error("another canary of the same share has other clients")
	}
	popctl(t, url, 0, "map", "rollback", "edge")
	askClients(t, two, "everybody has the published map", none)
}
