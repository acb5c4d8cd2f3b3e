// Package directives puts popdns's plugins into CoreDNS's plugin order. It is
// a package of its own so that tests start servers with the binary's order.
package directives

import (
	"fmt"
	"slices"

	"github.com/coredns/coredns/core/dnsserver"
)

// Ours are popdns's plugins in chain order. freshness answers a name that
// zkzone would call NXDOMAIN, and popmap prepares the choice that zkzone asks
// for, so both stand before it. fastpath is in no chain; it must come after shed,
// whose hook it calls.
var Ours = []string{"fastpath", "freshness", "popmap", "zkzone"}

// Anchor is the stock plugin before which ours stand: below cache, dnssec,
// transfer and everything that rewrites answers, above file and forward.
const Anchor = "file"

// Insert returns stock with Ours inserted before Anchor. It fails when the
// anchor is missing or one of ours is already there: a CoreDNS whose order
// changed must not be built silently with our plugins in a wrong place.
func Insert(stock []string) ([]string, error) {
	at := slices.Index(stock, Anchor)
	if at < 0 {
		return nil, fmt.Errorf("plugin order: CoreDNS has no %q directive to put %v before; choose a new anchor in build/directives", Anchor, Ours)
	}
	for _, name := range Ours {
		if slices.Contains(stock, name) {
			return nil, fmt.Errorf("plugin order: CoreDNS already has a %q directive", name)
		}
	}
	return slices.Insert(slices.Clone(stock), at, Ours...), nil
}

// Install makes the order the process's own. Call it once, before any server
// is started.
func Install() error {
	all, err := Insert(dnsserver.Directives)
	if err != nil {
		return err
	}
	return dnsserver.SetDirectives(all)
}
