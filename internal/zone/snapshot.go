package zone

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/setsum"
)

// Snapshot is one version of a zone. It is immutable and may be used by any number of goroutines. Names and rdata that it hands out are views into
// it and keep it in memory as long as they are held.
type Snapshot struct {
	origin     Name
	originHash uint64
	apex       node
	image      *image
	changed    overlay
	tally
}

// Origin is the zone's name.
func (s *Snapshot) Origin() Name { return s.origin }

// Serial is the SOA's serial.
func (s *Snapshot) Serial() uint32 {
	soa := s.soa()
	return u32(soa, len(soa)-20)
}

// soa is the SOA's rdata.
func (s *Snapshot) soa() string { return s.apex.sets().ofType(dns.TypeSOA).at(0).Wire }

// SerialFrozen tells whether the apex holds a signature over the SOA, so that nobody but the signer may set the serial.
func (s *Snapshot) SerialFrozen() bool { return signed(s.apex.sets(), dns.TypeSOA, "") }

// Len counts the RRset variants.
func (s *Snapshot) Len() int { return s.variants }

// Records counts the records of all variants.
func (s *Snapshot) Records() int { return s.records }

// Items counts what Sum is over: variants and steering settings.
func (s *Snapshot) Items() int { return s.variants + s.settings }

// Sum is the sum over every variant and every steering setting; equal zones have equal sums, however they came about.
func (s *Snapshot) Sum() setsum.Sum { return s.sum }

// PoPs lists the PoPs that have variants, sorted.
func (s *Snapshot) PoPs() []string { return slices.Sorted(maps.Keys(s.pops)) }

// PoPsAt lists the PoPs that have variants at the owner, sorted.
func (s *Snapshot) PoPsAt(owner Name) []string {
	var pops []string
	if n := s.lookup(owner); n != "" {
		for sets := n.sets(); sets != ""; sets = sets.rest() {
			if pop := sets.pop(); pop != "" {
				pops = append(pops, pop)
			}
		}
	}
	slices.Sort(pops)
	return slices.Compact(pops)
}

// Maps lists the maps that steering settings name, sorted.
func (s *Snapshot) Maps() []string { return slices.Sorted(maps.Keys(s.maps)) }

// RRsets yields all variants in canonical order of the owner, then by type (SOA first), then by PoP. It copies rdata.
func (s *Snapshot) RRsets() iter.Seq[RRset] {
	return func(yield func(RRset) bool) {
		for n := range s.nodes {
			for sets := n.sets(); sets != ""; sets = sets.rest() {
				if !yield(sets.rrset(n.name())) {
					return
				}
			}
		}
	}
}

// Steerings yields the owners that have steering settings, in canonical order.
func (s *Snapshot) Steerings() iter.Seq2[Name, Steering] {
	return func(yield func(Name, Steering) bool) {
		for n := range s.nodes {
			if n.has(flagSettings) && !yield(n.name(), n.steering()) {
				return
			}
		}
	}
}

// Get gives one variant.
func (s *Snapshot) Get(k Key) (RRset, bool) {
	if n := s.lookup(k.Owner); n != "" {
		if set := n.sets().ofType(k.Type).variant(k.PoP); set != "" {
			return set.rrset(k.Owner), true
		}
	}
	return RRset{}, false
}

// Steering gives the owner's settings, the zero value if it has none.
func (s *Snapshot) Steering(owner Name) Steering {
	if n := s.lookup(owner); n != "" {
		return n.steering()
	}
	return Steering{}
}

// Has tells whether the name exists: it owns records, or a name below it does. A name that only a wildcard matches does not exist.
func (s *Snapshot) Has(name Name) bool { return s.lookup(name) != "" }

// lookup gives the node of a name, "" if there is none.
func (s *Snapshot) lookup(name Name) node { return s.find(hashName(name), "", name) }

// find is lookup for a name in two parts, see image.find.
func (s *Snapshot) find(hash uint64, label string, parent Name) node {
	if s.changed.root != nil {
		if l := s.changed.find(hash, label, parent); l != nil {
			return l.node
		}
	}
	return s.image.find(hash, label, parent)
}

// nodes calls yield for all nodes in canonical order, empty non-terminals included.
func (s *Snapshot) nodes(yield func(node) bool) {
	changed := make([]*leaf, 0, s.changed.leaves)
	for l := range s.changed.all {
		changed = append(changed, l)
	}
	slices.SortFunc(changed, func(a, b *leaf) int { return a.name.Compare(b.name) })
	for n := range s.image.all {
		for len(changed) > 0 {
			c := changed[0].name.Compare(n.name())
			if c > 0 {
				break
			}
			if c == 0 {
				n = ""
			}
			if l := changed[0]; l.node != "" && !yield(l.node) {
				return
			}
			if changed = changed[1:]; c == 0 {
				break
			}
		}
		if n != "" && !yield(n) {
			return
		}
	}
	for _, l := range changed {
		if l.node != "" && !yield(l.node) {
			return
		}
	}
}

// tally is what a snapshot knows about all its nodes, kept up to date by Apply.
type tally struct {
	sum      setsum.Sum
	variants int
	records  int
	settings int
	pops     map[string]int // variants of each PoP
	maps     map[string]int // owners whose settings name each map
	own      bool           // pops and maps are this tally's own and may be changed
	item     []byte         // room to build an item in
}

// count adds (by = 1) or removes (by = -1) the first RRset of the run.
func (t *tally) count(owner Name, set rrsets, by int) {
	t.variants += by
	t.records += by * set.count()
	t.item = appendSetItem(t.item[:0], owner, set)
	t.hash(by)
	if pop := set.pop(); pop != "" {
		t.ownMaps()
		bump(t.pops, pop, by)
	}
}

// countSteering is count for an owner's settings; the zero value counts nothing.
func (t *tally) countSteering(owner Name, st Steering, by int) {
	if st == (Steering{}) {
		return
	}
	t.settings += by
	t.item = appendSteeringItem(t.item[:0], owner, st)
	t.hash(by)
	if st.Map != "" {
		t.ownMaps()
		bump(t.maps, st.Map, by)
	}
}

// countNode counts all that a node owns.
func (t *tally) countNode(n node) {
	for sets := n.sets(); sets != ""; sets = sets.rest() {
		t.count(n.name(), sets, 1)
	}
	t.countSteering(n.name(), n.steering(), 1)
}

func (t *tally) hash(by int) {
	if by > 0 {
		t.sum.Add(t.item)
	} else {
		t.sum.Remove(t.item)
	}
}

// ownMaps copies the counts before the first change, because the snapshot before shares them. There are as many as PoPs and maps: few.
func (t *tally) ownMaps() {
	if t.own {
		return
	}
	t.pops, t.maps, t.own = maps.Clone(t.pops), maps.Clone(t.maps), true
	if t.pops == nil {
		t.pops = map[string]int{}
	}
	if t.maps == nil {
		t.maps = map[string]int{}
	}
}

// merge adds what another tally counted.
func (t *tally) merge(o *tally) {
	t.sum.Merge(o.sum)
	t.variants += o.variants
	t.records += o.records
	t.settings += o.settings
	t.ownMaps()
	for k, n := range o.pops {
		bump(t.pops, k, n)
	}
	for k, n := range o.maps {
		bump(t.maps, k, n)
	}
}

// share ends the counting.
func (t *tally) share() { t.own, t.item = false, nil }

func bump(m map[string]int, key string, by int) {
	n, ok := m[key]
	switch {
	case n+by == 0:
		delete(m, key)
	case ok:
		m[key] = n + by
	default:
		m[strings.Clone(key)] = n + by // a view would keep a whole image alive
	}
}
