package steer

import (
	"fmt"
	"net/netip"
)

// Choose returns the first PoP of the list that is up, not drained for this block, and has a variant of the answer. ok is
// false if there is none: the default variant answers then, and without a default variant LastResort. has is called
// in list order, at most once per PoP. Choose allocates nothing. A nil or empty table (not yet received) counts every
// PoP as up; a PoP that a table does not know is passed over.
func (d Decision) Choose(p *PoPs, has func(pop string) bool) (pop string, ok bool) {
	for _, name := range d.List {
		if d.obstacle(p, name) == usable && has(name) {
			return name, true
		}
	}
	return "", false
}

// LastResort returns the first PoP of the list that has a variant, whatever its state: an answer that may not work is better
// than an empty one, which resolvers would cache. ok is false if no PoP of the list has a variant.
func (d Decision) LastResort(has func(pop string) bool) (pop string, ok bool) {
	for _, name := range d.List {
		if has(name) {
			return name, true
		}
	}
	return "", false
}

// Passed is a PoP that Choose passed over.
type Passed struct{ PoP, Why string }

// Explain makes Choose's choice and says why each PoP before it was passed over. chosen is "" if all were.
func (d Decision) Explain(p *PoPs, has func(pop string) bool) (chosen string, passed []Passed) {
	for _, name := range d.List {
		var why string
		switch d.obstacle(p, name) {
		case unknown:
			why = "not in the pop table"
		case down:
			why = "down"
		case draining:
			site, _ := p.Get(name)
			why = fmt.Sprintf("drained by %d%%, which includes %s", site.Drain, d.unit())
		default:
			if has(name) {
				return name, passed
			}
			why = "no variant"
		}
		passed = append(passed, Passed{name, why})
	}
	return "", passed
}

// obstacle is what keeps a PoP from being chosen.
type obstacle uint8

const (
	usable obstacle = iota
	unknown
	down
	draining
)

func (d Decision) obstacle(p *PoPs, name string) obstacle {
	if p.Len() == 0 {
		return usable
	}
	site, ok := p.Get(name)
	switch {
	case !ok:
		return unknown
	case site.State == Down:
		return down
	case site.Drain > 0 && drained(d.unit(), name, site.Drain):
		return draining
	}
	return usable
}

// unit returns the block that a partial drain moves as one. It is what the reply's scope names, since a resolver may answer all
// of it from its cache; where the answer is the resolver's own, it is the resolver's subnet (/24, /48, or its leaf if
// that is longer), because a leaf may span a continent.
func (d Decision) unit() netip.Prefix {
	if d.shard.IsValid() {
		return d.shard
	}
	return d.Block
}

// drained tells whether a drain of percent moves block away from pop. The hash is fixed for ever and keyed by nothing else, so
// every edge agrees; raising the percentage only adds blocks; and the PoP's name in it lets two drained PoPs pick different
// blocks, so that one's share doesn't all land on the other's.
func drained(block netip.Prefix, pop string, percent int) bool {
	// FNV-1a, whose high bits mix too little for short input; hence the finisher of MurmurHash3.
	const prime = 1099511628211
	h := uint64(14695981039346656037)
	a := block.Addr().As16()
	for _, b := range a {
		h = (h ^ uint64(b)) * prime
	}
	h = (h ^ uint64(byte(block.Bits()))) * prime //nolint:gosec // -1 to 128, and -1 is a value too
	for i := range len(pop) {
		h = (h ^ uint64(pop[i])) * prime
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return (h>>32)*100>>32 < uint64(max(percent, 0))
}
