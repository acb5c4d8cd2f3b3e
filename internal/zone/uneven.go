package zone

import (
	"iter"
	"slices"

	"github.com/miekg/dns"
)

// Uneven is an owner at which two PoPs have variants of different types: a client of the one that lacks a type is sent to another PoP for it, and a
// cache keeps the two side by side.
type Uneven struct {
	Owner       Name
	PoPs        [2]string
	Types       [2][]uint16 // of each of them, in the order of the zone
	Missing     uint16      // the first type that one has and the other lacks
	MissingFrom string      // the PoP that lacks it
}

// Uneven yields each owner whose PoPs have different types, with the first two that differ. Signatures don't count: they come and go with what they cover.
func (s *Snapshot) Uneven() iter.Seq[Uneven] {
	return func(yield func(Uneven) bool) {
		for n := range s.nodes {
			if u, ok := unevenNode(n); ok && !yield(u) {
				return
			}
		}
	}
}

// UnevenAt is Uneven for one owner.
func (s *Snapshot) UnevenAt(owner Name) (u Uneven, ok bool) {
	if n := s.lookup(owner); n != "" {
		return unevenNode(n)
	}
	return u, false
}

func unevenNode(n node) (u Uneven, ok bool) {
	if !n.has(flagTagged) {
		return u, false
	}
	var pops []string
	types := map[string][]uint16{}
	for sets := n.sets(); sets != ""; sets = sets.rest() {
		pop, typ := sets.pop(), sets.typ()
		if pop == "" || typ == dns.TypeRRSIG {
			continue
		}
		if types[pop] == nil {
			pops = append(pops, pop)
		}
		types[pop] = append(types[pop], typ)
	}
	slices.Sort(pops)
	for _, pop := range pops {
		first, this := types[pops[0]], types[pop]
		if slices.Equal(first, this) {
			continue
		}
		u = Uneven{Owner: n.name(), PoPs: [2]string{pops[0], pop}, Types: [2][]uint16{first, this}}
		u.Missing, u.MissingFrom = missing(u)
		return u, true
	}
	return u, false
}

func missing(u Uneven) (typ uint16, pop string) {
	for i := range u.Types {
		other := u.Types[1-i]
		if at := slices.IndexFunc(u.Types[i], func(t uint16) bool { return !slices.Contains(other, t) }); at >= 0 {
			return u.Types[i][at], u.PoPs[1-i]
		}
	}
	return 0, ""
}

// Bare is a steered name and type without a default variant.
type Bare struct {
	Owner Name
	Type  uint16
	Map   string   // that decides: the owner's, otherwise the apex's, "" for the server's
	PoPs  []string // that have a variant and are allowed to answer, sorted
}

// Bare yields what has variants and no default one: for a client whose list names none of the PoPs the answer is anybody's.
func (s *Snapshot) Bare() iter.Seq[Bare] {
	return func(yield func(Bare) bool) {
		for n := range s.nodes {
			if !n.has(flagTagged) {
				continue
			}
			st := n.steering()
			b := Bare{Owner: n.name(), Map: st.Map}
			if b.Map == "" {
				b.Map = s.apex.steering().Map
			}
			for sets := n.sets(); sets != ""; {
				b.Type, b.PoPs = sets.typ(), nil
				hasDefault := false
				for ; sets.is(b.Type); sets = sets.rest() {
					pop := sets.pop()
					hasDefault = hasDefault || pop == ""
					if pop != "" && st.Allows(pop) {
						b.PoPs = append(b.PoPs, pop)
					}
				}
				if !hasDefault && b.Type != dns.TypeRRSIG && !yield(b) {
					return
				}
			}
		}
	}
}
