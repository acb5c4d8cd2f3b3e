package steer

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/popdns/popdns/internal/rendezvous"
)

// A Choice is the PoP that serves a client.
type Choice struct {
	PoP string // "" if no PoP of the list is left
	// Away tells that the client's own PoP, which has a variant, was passed over for its state: the answer will change when
	// that is over.
	Away bool
}

// Choose returns the first PoP of the list that is up, not drained for this block, and has a variant of the answer; of
// neighbours with weights, the one whose share the block is. States are the PoP's own and those of the service, "" for none.
// Without a choice the default variant answers. Choose allocates nothing. A nil or empty table (not yet received) counts
// every PoP as up; a PoP that a table does not know is passed over.
func (d *Decision) Choose(p *PoPs, service string, has func(pop string) bool) Choice {
	var c Choice
	for i := 0; i < len(d.List); {
		name, weight := SplitEntry(d.List[i])
		if weight > 0 {
			end := groupEnd(d.List, i)
			pop, away := d.share(d.List[i:end], p, service, has)
			c.Away = c.Away || away
			if i = end; pop != "" {
				c.PoP = pop
				return c
			}
			continue
		}
		i++
		if obstacle := d.obstacle(p, service, name); obstacle == usable {
			if has(name) {
				c.PoP = name
				return c
			}
		} else if !c.Away && obstacle != unknown {
			c.Away = has(name)
		}
	}
	return c
}

// groupEnd returns where the run of entries with weights ends that begins at i.
func groupEnd(list []string, i int) int {
	for i++; i < len(list); i++ {
		if _, weight := SplitEntry(list[i]); weight == 0 {
			break
		}
	}
	return i
}

// share returns the PoP of the group whose share the block is, "" if none can serve it. away tells that it is another's but for
// that one's state. Only the share of the one that goes away moves.
func (d *Decision) share(group []string, p *PoPs, service string, has func(string) bool) (pop string, away bool) {
	key := appendBlock(rendezvous.New("share"), d.unit())
	var own string // the best of all states
	var best, bestOwn rendezvous.Score
	for _, entry := range group {
		name, weight := SplitEntry(entry)
		if !has(name) {
			continue
		}
		obstacle := d.obstacle(p, service, name)
		if obstacle == unknown {
			continue
		}
		score := rendezvous.Weigh(rendezvous.Append(key, name).Sum(), weight)
		if own == "" || score.Beats(bestOwn) {
			own, bestOwn = name, score
		}
		if obstacle == usable && (pop == "" || score.Beats(best)) {
			pop, best = name, score
		}
	}
	return pop, pop != own
}

// Passed is a PoP that Choose passed over.
type Passed struct{ PoP, Why string }

// Explain makes Choose's choice and says why each PoP before it was passed over. chosen is "" if all were.
func (d *Decision) Explain(p *PoPs, service string, has func(pop string) bool) (chosen string, passed []Passed) {
	for i, entry := range d.List {
		name, weight := SplitEntry(entry)
		why := d.why(p, service, name, has)
		if why == "" && weight > 0 {
			end := groupEnd(d.List, i)
			if own, _ := d.share(d.List[i:end], p, service, has); own != name {
				why = fmt.Sprintf("%s is in the share of %s", d.unit(), own)
			}
		}
		if why == "" {
			return name, passed
		}
		passed = append(passed, Passed{name, why})
	}
	return "", passed
}

// why says what keeps a PoP from being chosen, "" for nothing.
func (d *Decision) why(p *PoPs, service, name string, has func(string) bool) string {
	switch d.obstacle(p, service, name) {
	case unknown:
		return "not in the pop table"
	case down:
		site, _ := p.Get(name)
		state, _ := site.ServiceState(service)
		switch {
		case site.State == Down:
			return "down"
		case service != "" && state == Down:
			return "service " + service + " is down"
		case slices.Contains(site.Failing, ""):
			return "failing its checks"
		}
		return "service " + service + " is failing its checks"
	case draining:
		site, _ := p.Get(name)
		_, percent := site.For(service)
		return fmt.Sprintf("drained by %d%%, which includes %s", percent, d.unit())
	}
	if !has(name) {
		return "no variant"
	}
	return ""
}

// obstacle is what keeps a PoP from being chosen.
type obstacle uint8

const (
	usable obstacle = iota
	unknown
	down
	draining
)

func (d *Decision) obstacle(p *PoPs, service, name string) obstacle {
	if p.Len() == 0 {
		return usable
	}
	i, ok := p.index[name]
	if !ok {
		return unknown
	}
	state, drain := p.list[i].For(service)
	switch {
	case state == Down:
		return down
	case drain > 0 && drained(d.unit(), name, drain):
		return draining
	}
	return usable
}

// Sticky returns a number that all clients of the block share, the same on every edge, to make further choices by.
func (d *Decision) Sticky() uint64 { return appendBlock(rendezvous.New("answer"), d.unit()).Sum() }

// unit returns the block that a partial drain moves as one. It is what the reply's scope names, since a resolver may answer all
// of it from its cache; where the answer is the resolver's own, it is the resolver's subnet (/24, /48, or its leaf if
// that is longer), because a leaf may span a continent.
func (d *Decision) unit() netip.Prefix {
	if d.shard.IsValid() {
		return d.shard
	}
	return d.Block
}

// drained tells whether a drain of percent moves block away from pop. The hash is fixed for ever and keyed by nothing else, so
// every edge agrees; raising the percentage only adds blocks; and the PoP's name in it lets two drained PoPs pick different
// blocks, so that one's share doesn't all land on the other's.
func drained(block netip.Prefix, pop string, percent int) bool {
	sum := rendezvous.Append(appendBlock(rendezvous.New(""), block), pop).Sum()
	return (sum>>32)*100>>32 < uint64(max(percent, 0))
}

func appendBlock(h rendezvous.Hash, block netip.Prefix) rendezvous.Hash {
	a := block.Addr().As16()
	return rendezvous.Append(h, a[:]).Byte(byte(block.Bits())) //nolint:gosec // -1 to 128, and -1 is a value too
}
