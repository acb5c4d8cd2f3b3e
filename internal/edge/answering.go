package edge

import (
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"
)

// What a server that answers without the plugin chain asks the chain's plugins for, so that it comes to the same answers: the interfaces below are
// implemented by the plugins of a block, and found by type on Config.Handlers once all have started.

// An Authority answers questions for zones in memory: zkzone.
type Authority interface {
	// Answering returns the zone that a question is answered from, nil if the block has none. Callable on every query.
	Answering(name zone.Name, qtype uint16) ZoneAnswers
	// PassesOn tells whether the next plugin is asked for names that do not exist.
	PassesOn() bool
}

// ZoneAnswers is one zone of an Authority. It is comparable: the same zone is the same value as long as the block serves it.
type ZoneAnswers interface {
	// Origin is the zone's, as people write it.
	Origin() string
	// Snapshot returns what to answer from, nil while the zone has nothing that may be served. One call for one query.
	Snapshot() *zone.Snapshot
	// CountAnswers adds to the zone's own metrics what was answered at the server with that address.
	CountAnswers(server string, kind zone.Kind, n uint64)
}

// A Steerer chooses variants by client: popmap.
type Steerer interface {
	// Steers tells whether the queries for a name are steered, and their client subnets answered.
	Steers(name zone.Name) bool
	// NewSteering returns what chooses for queries of the server with that address, one after the other.
	NewSteering(server string) Steering
}

// Steering chooses for one query at a time; it belongs to one goroutine and allocates nothing.
type Steering interface {
	zone.Picker
	// Begin makes it choose for the next query's client.
	Begin(client steer.Client)
	// Scope returns the scope that the reply names: positive tells that it answers the question with data.
	Scope(positive bool) uint8
	// Count books the choice, and the reply's scope if the query had a client subnet: scope is -1 otherwise, and family 4 or 6.
	Count(scope int, family int)
}

// A Claimant answers some names itself, before the zone is asked.
type Claimant interface {
	// Claims tells whether it might answer for the name. Callable on every query.
	Claims(name zone.Name) bool
}
