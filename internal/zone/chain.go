package zone

import (
	"slices"
	"sort"
	"strings"
)

// chain is one of the two orders in which a signed zone links its names to prove which it does not have.
type chain uint8

const (
	chainNSEC  chain = iota // the names themselves (RFC 4034 4)
	chainNSEC3              // their hashes (RFC 5155 3); base32hex keeps the order, so that the owners' canonical order is the hashes'
	chains
)

// flag marks the nodes that are in the chain.
func (c chain) flag() byte { return [chains]byte{flagNSEC, flagNSEC3}[c] }

// links is where in the arena the nodes of each chain are, in canonical order. An unsigned zone has none; a signed one has
// 8 octets for each NSEC or NSEC3 beside the hundreds that it takes with its signatures.
type links [chains][]uint64

// add appends a node that comes after all others.
func (l *links) add(n node, off int) {
	for c := range chains {
		if n.has(c.flag()) {
			l[c] = append(l[c], uint64(off)) //nolint:gosec // not negative
		}
	}
}

// clip gives back the room that appending left.
func (l *links) clip() {
	for c := range l {
		if spare := cap(l[c]) - len(l[c]); spare > len(l[c])/16 {
			l[c] = append(make([]uint64, 0, len(l[c])), l[c]...)
		}
	}
}

// upTo counts the image's nodes of the chain that are not after the name.
func (m *image) upTo(c chain, name Name) int {
	at := m.links[c]
	return sort.Search(len(at), func(i int) bool { return m.link(c, i).name().Compare(name) > 0 })
}

// link is the i-th node of the chain.
func (m *image) link(c chain, i int) node { return m.at(int(m.links[c][i])) } //nolint:gosec // it was an int

// before gives the last node at or before the name that is in the chain and that ok accepts, "" if there is none. It walks back over what left the
// chain since the last fold, see maxLeft.
func (s *Snapshot) before(c chain, name Name, ok func(node) bool) node {
	inImage, joined := s.image.upTo(c, name), s.changed.joined[c].upTo(name)
	for inImage > 0 || joined != (place{}) {
		var n node
		if inImage > 0 {
			n = s.image.link(c, inImage-1)
		}
		if name := s.changed.joined[c].before(joined); name != "" && (n == "" || n.name().Compare(name) < 0) {
			n, joined = s.lookup(name), s.changed.joined[c].back(joined)
		} else {
			inImage--
			if s.changed.root != nil {
				n = s.lookup(n.name())
			}
		}
		if n != "" && n.has(c.flag()) && ok(n) {
			return n
		}
	}
	return ""
}

// sortedNames is a sorted list in runs that are not empty and hold at most maxRun names. It is never changed: another version of it shares the
// runs that are the same.
type sortedNames [][]Name

const maxRun = 256

// place is a place between two names of a list: how many of the names of a run are before it. The zero value is the beginning.
type place struct{ run, names int }

// upTo is the place behind the last name that is not after name.
func (l sortedNames) upTo(name Name) place {
	run := sort.Search(len(l), func(i int) bool { return l[i][0].Compare(name) > 0 }) - 1
	if run < 0 {
		return place{}
	}
	return place{run, sort.Search(len(l[run]), func(i int) bool { return l[run][i].Compare(name) > 0 })}
}

// before is the name in front of the place, "" at the beginning.
func (l sortedNames) before(p place) Name {
	if p == (place{}) {
		return ""
	}
	return l[p.run][p.names-1]
}

// back is the place in front of that name.
func (l sortedNames) back(p place) place {
	switch {
	case p.names > 1:
		return place{p.run, p.names - 1}
	case p.run > 0:
		return place{p.run - 1, len(l[p.run-1])}
	}
	return place{}
}

// with is the list with names, which are sorted, put in; those that it has already are not put in twice. It copies the runs that they fall into.
func (l sortedNames) with(names []Name) sortedNames {
	if len(names) == 0 {
		return l
	}
	out := make(sortedNames, 0, len(l)+1+2*len(names)/maxRun)
	for i, run := range l {
		here := len(names)
		if i+1 < len(l) {
			here, _ = slices.BinarySearchFunc(names, l[i+1][0], Name.Compare)
		}
		out = out.append(merge(run, names[:here]))
		names = names[here:]
	}
	return out.append(names)
}

// append puts names behind the last run, in runs of their own.
func (l sortedNames) append(names []Name) sortedNames {
	for len(names) > maxRun {
		l, names = append(l, names[:maxRun/2:maxRun/2]), names[maxRun/2:]
	}
	if len(names) > 0 {
		l = append(l, names)
	}
	return l
}

// merge is both lists in order without duplicates; a itself if b is empty.
func merge(a, b []Name) []Name {
	if len(b) == 0 {
		return a
	}
	out := make([]Name, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		c := a[0].Compare(b[0])
		if c <= 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out = append(out, b[0])
		}
		if c >= 0 {
			b = b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// maxLeft is how many names may leave the chains before Apply folds: what a look-up for a proof may have to walk back over, about a millisecond. In a
// zone of a million names it adds 0.1 ms to each name that leaves.
const maxLeft = 4096

// relink notes that a name enters or leaves a chain.
func (a *applying) relink(old, n node) {
	for c := range chains {
		was, is := old != "" && old.has(c.flag()), n != "" && n.has(c.flag())
		switch {
		case was && !is:
			a.changed.left++
		case is && !was:
			if base := a.image.find(hashName(n.name()), "", n.name()); base == "" || !base.has(c.flag()) {
				a.joined[c] = append(a.joined[c], Name(strings.Clone(string(n.name())))) // a view would keep the node alive
			}
		}
	}
}
