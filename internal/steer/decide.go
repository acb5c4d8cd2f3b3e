package steer

import "net/netip"

// Client is what a query says about who asks.
type Client struct {
	Resolver netip.Addr   // source address of the query; v4-mapped is IPv4
	ECS      netip.Prefix // the option's address and source length, if HasECS
	HasECS   bool         // the option is present and usable (RFC 7871: source length above 0)
}

// usable tells whether the client subnet may decide. Section 7.1.2: source 0 asks for the resolver's own answer.
func (c *Client) usable() bool { return c.HasECS && c.ECS.IsValid() && c.ECS.Bits() != 0 }

// Reason says which rule decided. It is a bounded set, fit for a metric label.
type Reason uint8

// The rules.
const (
	ReasonDefault  Reason = iota // the resolver's address decided, and has the map's default list
	ReasonResolver               // the resolver's address decided: no usable ECS, source length 0, or no ecs plane
	ReasonPrivate                // a special-purpose client subnet: the resolver's address decided for that whole block
	ReasonHole                   // no row of the ecs plane covers the client: the resolver's address decided for the hole
	ReasonECS                    // a row of the ecs plane decided
)

// String returns one word: "default", "resolver", "private", "hole" or "ecs".
func (r Reason) String() string {
	switch r {
	case ReasonResolver:
		return "resolver"
	case ReasonPrivate:
		return "private"
	case ReasonHole:
		return "hole"
	case ReasonECS:
		return "ecs"
	}
	return "default"
}

// Decision is where a client's answer should come from, before the state of PoPs is looked at.
type Decision struct {
	Plane  Plane        // whose list it is
	Block  netip.Prefix // what Scope names; with scope 0 the resolver's leaf. Invalid if the resolver's address was
	List   []string     // best first, never empty; shared, not to be changed
	Scope  uint8        // to be sent in reply to an ECS query: 0 unless the ecs plane or a special-purpose block decided
	Reason Reason
	// Unmapped tells that the default list decided: no row covers the client, or one that names the same list.
	Unmapped bool
	Canary   bool // the staged version of the map decided; for a share of the clients only where it differs from the published one

	shard netip.Prefix // the unit of a partial drain, see drained
}

// Resolvers of one operator often send from many addresses of one subnet and share a cache, so a drain moves them together.
const (
	shardBitsV4 = 24
	shardBitsV6 = 48
)

// Decide applies RFC 7871's rules for an authoritative server to one query. It allocates nothing.
//
// A special-purpose client subnet (section 10: private, shared, loopback, link-local, …) is ignored for its whole block, unless
// the ecs plane has rows inside that block, which then decide.
func (m *Map) Decide(c Client) Decision {
	d := m.decideResolver(c.Resolver)
	if !c.usable() || !m.HasPlane(ECS) {
		return d
	}
	client := c.ECS.Masked()
	if block, ok := m.privateBlock(client); ok {
		d.Block, d.Scope, d.Reason = block, uint8(block.Bits()), ReasonPrivate //nolint:gosec // at most 128
		return d
	}
	leaf := m.Lookup(ECS, client.Addr())
	d.Scope = leaf.Bits
	d.Block, _ = client.Addr().Prefix(int(leaf.Bits))
	d.shard = d.Block // the answer is cached for all of the block, so the block moves as one
	d.Reason = ReasonHole
	if leaf.List != Fallback {
		d.Plane, d.List, d.Reason, d.Unmapped = ECS, m.lists[leaf.List], ReasonECS, false
	}
	return d
}

// decideResolver is the decision without ECS: the reply is good for this resolver only and carries scope 0.
func (m *Map) decideResolver(resolver netip.Addr) Decision {
	d := Decision{Plane: Resolver, List: m.lists[m.initial], Unmapped: true}
	a := resolver.Unmap().WithZone("")
	if !a.IsValid() {
		return d
	}
	leaf := m.Lookup(Resolver, a)
	d.List = m.lists[leaf.List]
	if leaf.List != m.initial {
		d.Reason, d.Unmapped = ReasonResolver, false
	}
	d.Block, _ = a.Prefix(int(leaf.Bits))
	bits := shardBitsV4
	if a.Is6() {
		bits = shardBitsV6
	}
	d.shard, _ = a.Prefix(max(bits, int(leaf.Bits)))
	return d
}
