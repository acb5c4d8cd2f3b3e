package zone

import (
	"maps"
	"slices"
)

// Delta is a change of a zone. It is a set of outcomes, not of steps: deleting what is not there and putting what is there already change
// nothing, so that applying a delta twice is applying it once. No key may be both deleted and put.
type Delta struct {
	Delete []Key
	Put    []RRset           // each replaces the whole variant
	Steer  map[Name]Steering // the zero value removes the settings
}

// Empty tells whether the delta has nothing in it.
func (d Delta) Empty() bool { return len(d.Delete) == 0 && len(d.Put) == 0 && len(d.Steer) == 0 }

// Diff is the delta that makes new from old, in canonical order; everything in new if old is nil. Between a snapshot and what Apply made of it
// it costs as much as their changes, unless Apply folded; otherwise it reads both zones. Both must be of the same origin.
func Diff(old, new *Snapshot) Delta {
	d := Delta{}
	eachChange(old, new, d.node)
	return d
}

// eachChange calls fn, in canonical order, with the old and the new node of every name whose nodes differ, and of others that are equal. A node that is
// missing is "". A nil old is a zone without names.
func eachChange(old, new *Snapshot, fn func(o, n node)) {
	switch {
	case old == new:
	case old == nil:
		for n := range new.nodes {
			fn("", n)
		}
	case old.image == new.image:
		eachOverlaid(old, new, fn)
	default:
		eachOfTwo(old, new, fn)
	}
}

// eachOverlaid is eachChange for snapshots that share their image.
func eachOverlaid(old, new *Snapshot, fn func(o, n node)) {
	names := map[Name]struct{}{}
	differing(old.changed.root, new.changed.root, func(n Name) { names[n] = struct{}{} })
	for _, name := range slices.SortedFunc(maps.Keys(names), Name.Compare) {
		fn(old.lookup(name), new.lookup(name))
	}
}

// eachOfTwo is eachChange by going through both zones in canonical order.
func eachOfTwo(old, new *Snapshot, fn func(o, n node)) {
	next, stop := pull(old)
	defer stop()
	o := next()
	for n := range new.nodes {
		for o != "" && o.name().Compare(n.name()) < 0 {
			fn(o, "")
			o = next()
		}
		if o != "" && o.name() == n.name() {
			fn(o, n)
			o = next()
		} else {
			fn("", n)
		}
	}
	for ; o != ""; o = next() {
		fn(o, "")
	}
}

// node adds what differs between two nodes of one name, either of which may be missing.
func (d *Delta) node(o, n node) {
	if o == n {
		return
	}
	name := nameOf(o, n)
	diffSets(o, n, func(was, is rrsets) {
		if is != "" {
			d.Put = append(d.Put, is.rrset(name))
		} else {
			d.Delete = append(d.Delete, Key{name, was.typ(), was.pop()})
		}
	})
	if was, is := steeringOf(o), steeringOf(n); was != is {
		if d.Steer == nil {
			d.Steer = map[Name]Steering{}
		}
		d.Steer[name] = is
	}
}

func nameOf(o, n node) Name {
	if n != "" {
		return n.name()
	}
	return o.name()
}

func steeringOf(n node) Steering {
	if n == "" {
		return Steering{}
	}
	return n.steering()
}

func setsOf(n node) rrsets {
	if n == "" {
		return ""
	}
	return n.sets()
}

// diffSets calls fn for every variant that differs between two nodes of one name, with "" for one that is missing.
func diffSets(o, n node, fn func(was, is rrsets)) {
	a, b := setsOf(o), setsOf(n)
	for a != "" || b != "" {
		switch c := compareSets(a, b); {
		case c < 0:
			fn(a.first(), "")
			a = a.rest()
		case c > 0:
			fn("", b.first())
			b = b.rest()
		default:
			if a.first() != b.first() {
				fn(a.first(), b.first())
			}
			a, b = a.rest(), b.rest()
		}
	}
}
