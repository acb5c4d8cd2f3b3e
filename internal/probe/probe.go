// Package probe checks from outside whether PoPs serve, and publishes what several probers agree on.
//
// A [Spec] lists the checks. Each [Prober] runs them, keeps the [Health] of every target by thresholds against flapping, and writes its
// [View] into the store. [Judge] makes of all views what a quorum of live probers says; a change goes into the PoP table, where it
// stands apart from what operators set. Everything that decides is a pure function: the clock, the network and the store are around it.
package probe

import (
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// A Target is what is found up or down: a PoP, or one service of it.
type Target struct{ PoP, Service string } // Service is "" for the PoP itself

// String returns "ams1" or "ams1/web".
func (t Target) String() string {
	if t.Service == "" {
		return t.PoP
	}
	return t.PoP + "/" + t.Service
}

func parseTarget(s string) Target {
	pop, service, _ := strings.Cut(s, "/")
	return Target{pop, service}
}

// A Check tells how one target is asked.
type Check struct {
	Target   Target
	Address  netip.AddrPort // where to connect
	URL      *url.URL       // http or https; nil is a check that only connects. Its host is the Host header and the name in TLS
	Status   []int          // of a good answer
	Insecure bool           // don't verify the certificate
	Roots    []byte         // PEM of the authorities that may sign it, nil for the system's
	Interval time.Duration
	Timeout  time.Duration
	Thresholds
}

// A Spec is a list of checks, each with another target.
type Spec struct{ Checks []Check }

// Bounds of a Spec.
const (
	MaxChecks      = 5000
	MinInterval    = time.Second
	MaxInterval    = time.Hour
	maxStatusCodes = 20
)
