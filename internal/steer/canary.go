package steer

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/popdns/popdns/internal/rendezvous"
	"github.com/popdns/popdns/internal/setsum"
)

// A Canary is a version of a map that stands beside the published one and answers a part of the clients, until it is promoted or
// taken back. It is immutable and safe for concurrent use. A nil *Canary and one without a map stage nothing.
type Canary struct {
	m        *Map // nil: nothing is staged
	rule     CanaryRule
	promoted uint32
	serial   uint32
	sum      setsum.Sum // of the map's items and the rule's, see canaryItem
}

// A CanaryRule says who gets the staged version: a share of all client blocks, and everybody who asks one of some edges.
type CanaryRule struct {
	Share Share
	Edges []string // names of edges or patterns of path.Match, sorted
}

// NewCanary stages m for whom the rule says.
func NewCanary(m *Map, rule CanaryRule) (*Canary, error) {
	if err := rule.check(); err != nil {
		return nil, err
	}
	if rule.none() {
		return nil, fmt.Errorf("stage map %s: for no share and no edge: give one of them", m.Name())
	}
	return newCanary(m, rule, 0), nil
}

// EndedCanary is what follows a Canary. promoted is the serial of the published map that took its content over, 0 if it was taken
// back.
func EndedCanary(promoted uint32) *Canary { return newCanary(nil, CanaryRule{}, promoted) }

// newCanary takes what was checked.
func newCanary(m *Map, rule CanaryRule, promoted uint32) *Canary {
	c := &Canary{m: m, rule: rule, promoted: promoted}
	if m != nil {
		c.sum = m.sum
	}
	c.sum.Add(canaryItem(rule, promoted))
	return c
}

// Map returns the staged version, nil if there is none.
func (c *Canary) Map() *Map {
	if c == nil {
		return nil
	}
	return c.m
}

// Rule returns who gets the staged version. Its Edges must not be changed.
func (c *Canary) Rule() CanaryRule {
	if c == nil {
		return CanaryRule{}
	}
	return c.rule
}

// Serial returns the canary's version number, which counts apart from the map's.
func (c *Canary) Serial() uint32 {
	if c == nil {
		return 0
	}
	return c.serial
}

// Promoted returns the serial of the published map that took the canary's content over, 0 unless it ended so.
func (c *Canary) Promoted() uint32 {
	if c == nil {
		return 0
	}
	return c.promoted
}

// Decide is stable.Decide at the named edge while c is staged. The version is chosen as a whole, never one plane of each, by the
// unit of whoever's address decides: the client's, or the resolver's where neither version has a row for the client. The scope then
// covers no address that gets another list: DESIGN.md says why, TestCanaryAgreesWithBruteForce that. It allocates nothing.
func (c *Canary) Decide(stable *Map, edge string, client Client) Decision {
	if c == nil || c.m == nil {
		return stable.Decide(client)
	}
	if c.rule.Share == All || c.rule.Names(edge) {
		d := c.m.Decide(client)
		d.Canary = true
		return d
	}
	if c.rule.Share == 0 {
		return stable.Decide(client)
	}
	now, staged := stable.Decide(client), c.m.Decide(client)
	resolver := client.Resolver.Unmap().WithZone("")
	if !client.usable() || !stable.HasPlane(ECS) && !c.m.HasPlane(ECS) {
		// The reply is for this resolver alone and its scope stays 0.
		return c.split(now, staged, Resolver, stable, resolver, resolver, max(now.Block.Bits(), staged.Block.Bits()))
	}
	// From here on the answer may depend on the client, so even a version without an ecs plane answers for a block: scope 0 is its
	// own leaf's depth then.
	a, bits := client.ECS.Masked().Addr(), int(max(now.Scope, staged.Scope))
	var d Decision
	if now.Plane == Resolver && staged.Plane == Resolver {
		d = c.split(now, staged, Resolver, stable, resolver, a, bits)
	} else {
		d = c.split(now, staged, ECS, stable, a, a, bits)
	}
	d.Scope = uint8(d.Block.Bits()) //nolint:gosec // at most 128
	return d
}

// split chooses between two decisions by the unit of the address by. The reply is for the block of bits around the address at: both versions
// are uniform there. It gets narrower only if they differ and its addresses lie in more than one unit.
func (c *Canary) split(now, staged Decision, p Plane, stable *Map, by, at netip.Addr, bits int) Decision {
	if !by.IsValid() {
		return now
	}
	d := now
	if !slices.Equal(now.List, staged.List) {
		unit, unitBits := canaryUnit(by, stable.tables[p].embeds|c.m.tables[p].embeds)
		if c.hit(unit) {
			d = staged
			d.Canary = true
		}
		if by == at {
			bits = max(bits, unitBits)
		}
	}
	d.Block, _ = at.Prefix(bits)
	return d
}

// canaryUnit returns the block that changes over as one, and its length around a itself. An address that carries an IPv4 one goes with that.
func canaryUnit(a netip.Addr, embeds embedSet) (unit netip.Prefix, bits int) {
	if a.Is4() {
		unit, _ = a.Prefix(shardBitsV4)
		return unit, shardBitsV4
	}
	if inner, offset, ok := embedded(netip.PrefixFrom(a, a.BitLen()), embeds); ok {
		unit, _ = inner.Addr().Prefix(shardBitsV4)
		return unit, offset + shardBitsV4
	}
	unit, _ = a.Prefix(shardBitsV6)
	return unit, shardBitsV6
}

// hit tells whether the unit is in the share. The hash is fixed for ever and knows neither version nor share: every edge agrees, a
// greater share only adds units, and a staged version that is replaced keeps its clients.
func (c *Canary) hit(unit netip.Prefix) bool {
	sum := appendBlock(rendezvous.Append(rendezvous.New("canary"), c.m.name), unit).Sum()
	return (sum>>32)*uint64(All)>>32 < uint64(c.rule.Share)
}

// Names tells whether the edge is one of the rule's.
func (r CanaryRule) Names(edge string) bool {
	for _, pattern := range r.Edges {
		if ok, _ := path.Match(pattern, edge); ok {
			return true
		}
	}
	return false
}

// String returns the rule in a few words: "5 % of client blocks and edges ams1-*, lab".
func (r CanaryRule) String() string {
	edges := "edges " + strings.Join(r.Edges, ", ")
	if len(r.Edges) == 1 {
		edges = "edge " + r.Edges[0]
	}
	switch {
	case len(r.Edges) == 0:
		return r.Share.String() + " of client blocks"
	case r.Share == 0:
		return edges
	}
	return r.Share.String() + " of client blocks and " + edges
}

func (r CanaryRule) none() bool { return r.Share == 0 && len(r.Edges) == 0 }

// MaxCanaryEdges bounds the names and patterns of one canary.
const MaxCanaryEdges = 64

func (r CanaryRule) check() error {
	if r.Share > All {
		return fmt.Errorf("share %d is above %d hundredths of a percent", r.Share, All)
	}
	if len(r.Edges) > MaxCanaryEdges {
		return fmt.Errorf("%d edges: %w, at most %d", len(r.Edges), ErrTooLarge, MaxCanaryEdges)
	}
	for i, pattern := range r.Edges {
		if err := checkEdge(pattern, "*?[]^"); err != nil {
			return err
		}
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("edge pattern %q: %w", pattern, err)
		}
		if i > 0 && r.Edges[i-1] >= pattern {
			return fmt.Errorf("edge %s is given twice or out of order", pattern)
		}
	}
	return nil
}

// CheckEdgeName returns an error unless name can be an edge's: what a host may be called, in lower case.
func CheckEdgeName(name string) error { return checkEdge(name, "") }

func checkEdge(name, special string) error {
	const most = 253 // of a host's name
	if name == "" || len(name) > most {
		return fmt.Errorf("edge name %q has %d bytes, want 1 to %d", name, len(name), most)
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-._"+special, r) {
			return fmt.Errorf("edge name %q has %q: only a-z, 0-9, '-', '.' and '_' may be used", name, r)
		}
	}
	return nil
}

// A Share is a part of all client blocks, in hundredths of a percent.
type Share uint16

// All is the share of everybody.
const All Share = 100 * 100

// ParseShare reads a percentage above 0 and up to 100 with at most two decimals, with or without the sign: "5%", "0.25".
func ParseShare(s string) (Share, error) {
	whole, decimals, _ := strings.Cut(strings.TrimSpace(strings.TrimSuffix(s, "%")), ".")
	n, err := strconv.ParseUint((whole + (decimals + "00")[:max(2, len(decimals))]), 10, 16)
	if err != nil || whole == "" || len(decimals) > 2 || n == 0 || n > uint64(All) {
		return 0, fmt.Errorf("share %q: want a percentage above 0 and up to 100 with at most two decimals, like 5%% or 0.25%%", s)
	}
	return Share(n), nil
}

// String returns "5 %" or "0.25 %".
func (s Share) String() string {
	return strconv.FormatFloat(float64(s)/100, 'f', -1, 64) + " %"
}
