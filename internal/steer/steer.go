// Package steer chooses the PoP (point of presence) whose answer a DNS client gets.
//
// A [Map] says which PoPs serve which prefixes, in order of preference, on two planes: one keyed by the resolver's address, one by
// EDNS Client Subnet (RFC 7871). Built once with a [MapBuilder], it is immutable, and one lookup yields the list and the
// ECS scope together. [PoPs] is the table of sites with their states. Per query:
//
//	d := m.Decide(steer.Client{Resolver: src, ECS: prefix, HasECS: ok})
//	c := d.Choose(pops, service, has)   // first healthy PoP of the list that has a variant
//
// Scope depends on the map alone, never on the state of a PoP, so a drain or an outage changes answers and not the shape of
// resolvers' caches. [MapCodec] and [PoPsCodec] carry both through the store.
//
// The package knows nothing of ZooKeeper, CoreDNS or files. DESIGN.md beside this file says why the table looks as it does.
package steer

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds on what a map and a PoP table may hold. Builders and decoders enforce them before they allocate.
const (
	MaxNameBytes = 63        // of a PoP's name: it fits a DNS label and a metric label
	MaxListLen   = 64        // PoPs in one list: more than anyone's failover depth
	MaxLists     = 1 << 20   // distinct lists in one map
	MaxRows      = 8_000_000 // rows of both planes: eight times the Internet's routing table
	MaxPoPs      = 10_000    // in the PoP table
	MaxServices  = 256       // of one PoP that are out of order
)

// ErrTooLarge is wrapped by errors about input beyond one of the bounds.
var ErrTooLarge = errors.New("too large")

// Plane is one of a map's two lookup tables.
type Plane uint8

// A map's planes.
const (
	Resolver Plane = iota // keyed by the source address of the query
	ECS                   // keyed by the client subnet of the query
	planes                // how many there are
)

// String returns "resolver" or "ecs".
func (p Plane) String() string {
	if p == ECS {
		return "ecs"
	}
	return "resolver"
}

// CheckName returns an error unless name can be a PoP's: 1 to 63 of a-z, 0-9 and '-'.
func CheckName(name string) error {
	if name == "" || len(name) > MaxNameBytes {
		return fmt.Errorf("pop name %q has %d bytes, want 1 to %d", name, len(name), MaxNameBytes)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			if lower := strings.ToLower(name); lower != name && CheckName(lower) == nil {
				return fmt.Errorf("pop name %q is not lower case: write %s", name, lower)
			}
			return fmt.Errorf("pop name %q has %q: only a-z, 0-9 and '-' may be used", name, c)
		}
	}
	return nil
}

// CheckMapName returns an error unless name can be a map's: the same letters as a PoP's, so that it needs no quoting in a
// store path, a Corefile or a zone file's mark.
func CheckMapName(name string) error {
	if CheckName(name) != nil {
		return fmt.Errorf("map name %q: want 1 to %d of a-z, 0-9 and '-'", name, MaxNameBytes)
	}
	return nil
}
