package zone

import (
	"cmp"
	"encoding/binary"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/tightheap"
)

// The overlay is folded into a fresh image when it holds more names than minFold and than a foldPart-th of the image's. Below it a change
// costs what it touches; the fold costs the zone, 0.3 s for a million records (BenchmarkFold), but comes once per so many changes, so that a changed
// name pays for copying foldPart others on the average.
const (
	minFold  = 512
	foldPart = 16
)

// Apply makes the next snapshot: it deletes, then puts, then sets the settings. An owner that loses its last record loses its settings. Its cost is that of
// the delta; now and then it includes a fold of the changes so far, see DESIGN.md. What the delta touches and the apex are checked as by
// Builder; on an *Error s stands and nothing is made.
func (s *Snapshot) Apply(d Delta) (*Snapshot, error) {
	if d.Empty() {
		return s, nil
	}
	owners, err := s.perOwner(d)
	if err != nil {
		return nil, err
	}
	next := *s
	next.share()
	t := &applying{Snapshot: &next}
	for _, owner := range slices.SortedFunc(maps.Keys(owners), Name.Compare) {
		if err := t.apply(owner, owners[owner]); err != nil {
			return nil, err
		}
	}
	for c := range chains {
		next.changed.joined[c] = next.changed.joined[c].with(t.joined[c])
	}
	next.apex = next.find(next.originHash, "", next.origin)
	if err := checkApex(next.origin, next.apex); err != nil {
		return nil, err
	}
	if n := next.changed.leaves; n > minFold && n > next.image.names/foldPart || next.changed.left > maxLeft {
		next.fold()
	}
	next.share()
	return &next, nil
}

// WithSerial is the snapshot with another serial in its SOA. If the SOA is signed it is s itself: see SerialFrozen.
func (s *Snapshot) WithSerial(serial uint32) *Snapshot {
	if s.SerialFrozen() || s.Serial() == serial {
		return s
	}
	soa := s.apex.sets().ofType(dns.TypeSOA).rrset(s.origin)
	wire := soa.Rdata[0].Wire
	binary.BigEndian.PutUint32(wire[len(wire)-20:], serial)
	next, err := s.Apply(Delta{Put: []RRset{soa}})
	if err != nil {
		panic("zone: a serial made a valid zone invalid: " + err.Error()) // only a fault of this package can
	}
	return next
}

// SerialNewer tells whether serial a is newer than b (RFC 1982 3.2). Serials half the circle apart are neither newer nor older.
func SerialNewer(a, b uint32) bool { return a != b && a-b < 1<<31 }

// ownerChange is a delta's part that concerns one owner.
type ownerChange struct {
	del   map[Key]struct{}
	put   []RRset
	steer *Steering
}

// perOwner sorts the delta by owner and checks each part by itself.
func (s *Snapshot) perOwner(d Delta) (map[Name]*ownerChange, error) {
	owners := make(map[Name]*ownerChange, 1)
	of := func(owner Name) (*ownerChange, error) {
		if !owner.IsSubdomainOf(s.origin) {
			return nil, &Error{owner, 0, "is not in the zone " + s.origin.String()}
		}
		c := owners[owner]
		if c == nil {
			c = &ownerChange{}
			owners[owner] = c
		}
		return c, nil
	}
	for _, k := range d.Delete {
		c, err := of(k.Owner)
		if err != nil {
			return nil, err
		}
		if c.del == nil {
			c.del = map[Key]struct{}{}
		}
		c.del[k] = struct{}{}
	}
	for _, p := range d.Put {
		c, err := of(p.Owner)
		if err != nil {
			return nil, err
		}
		if p, err = NewRRset(p.Owner, p.Type, p.TTL, p.PoP, p.Rdata...); err != nil {
			return nil, err
		}
		if _, ok := c.del[p.Key()]; ok {
			return nil, &Error{p.Owner, p.Type, "both deleted and put by one delta"}
		}
		c.put = append(c.put, p)
	}
	for owner, st := range d.Steer {
		c, err := of(owner)
		if err != nil {
			return nil, err
		}
		if err := st.check(); err != nil {
			return nil, &Error{owner, 0, err.Error()}
		}
		c.steer = &st
	}
	return owners, nil
}

// applying is a snapshot in the making. Nobody else sees it yet.
type applying struct {
	*Snapshot
	edit   edit
	joined [chains][]Name // in canonical order, as owners are
}

// apply makes the owner's new node, puts it in place of the old, and keeps the count of everything.
func (a *applying) apply(owner Name, c *ownerChange) error {
	old := a.lookup(owner)
	n, err := c.node(owner, old)
	if err != nil || n == old {
		return err
	}
	if err := checkNode(a.origin, n); err != nil {
		return err
	}
	diffSets(old, n, func(was, is rrsets) {
		if was != "" {
			a.count(owner, was, -1)
		}
		if is != "" {
			a.count(owner, is, 1)
		}
	})
	if was, is := steeringOf(old), n.steering(); was != is {
		a.countSteering(owner, was, -1)
		a.countSteering(owner, is, 1)
	}
	a.place(owner, old, n)
	return nil
}

// node is the owner's node after the change.
func (c *ownerChange) node(owner Name, old node) (node, error) {
	slices.SortFunc(c.put, func(x, y RRset) int { return compareKeys(x.Key(), y.Key()) })
	put := make([]byte, 0, 128)
	for i := range c.put {
		if i > 0 && c.put[i].Key() == c.put[i-1].Key() {
			return "", &Error{owner, c.put[i].Type, "put twice by one delta"}
		}
		put = appendSet(put, &c.put[i])
	}
	var keep []rrsets
	for was, is := setsOf(old), rrsets(put); was != "" || is != ""; {
		order := compareSets(was, is)
		if order >= 0 {
			keep = append(keep, is.first())
			is = is.rest()
		} else if _, ok := c.del[Key{owner, was.typ(), was.pop()}]; !ok {
			keep = append(keep, was.first())
		}
		if order <= 0 {
			was = was.rest()
		}
	}
	st := steeringOf(old)
	if len(keep) == 0 {
		st = Steering{}
	}
	if c.steer != nil {
		st = *c.steer
	}
	return assemble(owner, old, st, keep), nil
}

// assemble writes a node with the old one's children.
func assemble(owner Name, old node, st Steering, sets []rrsets) node {
	var children uint32
	if old != "" {
		children = old.children()
	}
	size := nodeHeader + len(owner) + st.size()
	for _, s := range sets {
		size += len(s)
	}
	b := appendNode(make([]byte, 0, size), owner, children, st)
	for _, s := range sets {
		b = appendSets(b, 0, s)
	}
	closeNode(b, 0)
	return node(frozen(b))
}

// place puts n where old was. A name that neither owns records nor has children goes, and takes ancestors with it that existed only for it; a
// new name brings the ancestors it needs.
func (a *applying) place(name Name, old, n node) {
	gone := n.sets() == "" && n.children() == 0
	switch {
	case gone && old == "":
		return
	case gone:
		a.set(name, old, "")
		a.addChild(name.Parent(), -1)
	default:
		a.set(name, old, n)
		if old == "" {
			a.addChild(name.Parent(), 1)
		}
	}
}

// addChild changes an ancestor's count of children by one.
func (a *applying) addChild(name Name, by int) {
	if !name.IsSubdomainOf(a.origin) {
		return
	}
	old := a.lookup(name)
	if old == "" {
		a.place(name, "", assemble(name, "", Steering{}, nil).withChildren(1))
		return
	}
	a.place(name, old, old.withChildren(uint32(int(old.children())+by))) //nolint:gosec // a count, and it has this child
}

func (a *applying) set(name Name, old, n node) {
	a.relink(old, n)
	l := &leaf{hash: hashName(name), node: n}
	if n != "" {
		l.name = n.name()
	} else {
		l.name = Name(strings.Clone(string(name))) // a view would keep a whole image alive
	}
	a.changed = a.changed.with(&a.edit, l)
}

// fold makes an image of all nodes. That it happens is nobody's wish, so it is always background work.
func (s *Snapshot) fold() {
	defer tightheap.Begin(int64(s.image.octets()))()
	var w imageWriter
	for n := range s.nodes {
		if n.sets() != "" { // the writer makes the empty non-terminals
			w.add(n)
		}
	}
	s.image, s.changed = w.image(processors(true)), overlay{}
	s.apex = s.image.find(s.originHash, "", s.origin)
}

// pull gives the nodes one by one, "" at the end.
func pull(s *Snapshot) (next func() node, stop func()) {
	n, stop := iter.Pull(iter.Seq[node](s.nodes))
	return func() node { v, _ := n(); return v }, stop
}

func compareKeys(a, b Key) int {
	if a.Owner != b.Owner {
		return a.Owner.Compare(b.Owner)
	}
	return cmp.Or(cmp.Compare(typeOrder(a.Type), typeOrder(b.Type)), strings.Compare(a.PoP, b.PoP))
}

// compareSets orders the first RRsets of two runs of one owner as a node has them; an empty run comes last.
func compareSets(a, b rrsets) int {
	switch {
	case a == "" || b == "":
		return cmp.Compare(len(b), len(a))
	case a.typ() != b.typ():
		return cmp.Compare(typeOrder(a.typ()), typeOrder(b.typ()))
	}
	return strings.Compare(a.pop(), b.pop())
}
