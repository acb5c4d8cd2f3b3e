package zone

import "math/bits"

// overlay holds the nodes that differ from the image: a persistent hash trie of 32-way branches. Changing it copies the branches on the way
// to the changed leaf and shares all others with the version before. The zero value is empty.
type overlay struct {
	root   *branch
	leaves int

	joined [chains]sortedNames // names that are in a chain, or were, and that the image does not have in it
	left   int                 // how often a name left a chain
}

// branch has a bit in used for every occupied one of its 32 places and, in that order, their content in slots.
type branch struct {
	used  uint32
	slots []slot
	edit  *edit // the edit that made it and may still change it in place
}

// slot holds one of the two.
type slot struct {
	branch *branch
	leaf   *leaf
}

// leaf is a changed name. It is never changed itself.
type leaf struct {
	hash uint64
	name Name
	node node  // "" hides the image's node: the name is gone
	next *leaf // another name with the same 64-bit hash
}

// edit marks the branches that one Apply made, which it may change without another copy.
type edit struct{ _ byte }

const (
	trieBits = 5
	trieMask = 1<<trieBits - 1
)

// find gives the leaf of the name that is label (in wire form, may be empty) followed by parent, nil if the name did not change.
func (o overlay) find(hash uint64, label string, parent Name) *leaf {
	b := o.root
	for shift := 0; b != nil; shift += trieBits {
		bit := uint32(1) << (hash >> shift & trieMask)
		if b.used&bit == 0 {
			return nil
		}
		s := b.slots[bits.OnesCount32(b.used&(bit-1))]
		for l := s.leaf; l != nil; l = l.next {
			if l.hash == hash && l.isAt(label, parent) {
				return l
			}
		}
		b = s.branch
	}
	return nil
}

func (l *leaf) isAt(label string, parent Name) bool {
	return len(l.name) == len(label)+len(parent) && string(l.name[:len(label)]) == label && l.name[len(label):] == parent
}

// with is the overlay with a leaf added or put in the place of the one of the same name.
func (o overlay) with(e *edit, l *leaf) overlay {
	if o.find(l.hash, "", l.name) == nil {
		o.leaves++
	}
	o.root = o.root.with(e, l, 0)
	return o
}

func (b *branch) with(e *edit, l *leaf, shift int) *branch {
	b = b.editable(e)
	bit := uint32(1) << (l.hash >> shift & trieMask)
	i := bits.OnesCount32(b.used & (bit - 1))
	if b.used&bit == 0 {
		b.used |= bit
		b.slots = append(b.slots, slot{})
		copy(b.slots[i+1:], b.slots[i:])
		b.slots[i] = slot{leaf: l}
		return b
	}
	s := &b.slots[i]
	switch {
	case s.branch != nil:
		s.branch = s.branch.with(e, l, shift+trieBits)
	case s.leaf.hash == l.hash:
		s.leaf = l.ahead(s.leaf)
	default: // two hashes meet here: both move one level down
		below := (*branch)(nil).with(e, s.leaf, shift+trieBits)
		*s = slot{branch: below.with(e, l, shift+trieBits)}
	}
	return b
}

// ahead is l followed by those of the chain old that have another name.
func (l *leaf) ahead(old *leaf) *leaf {
	head := *l
	head.next = nil
	for ; old != nil; old = old.next {
		if old.name != l.name {
			kept := *old
			kept.next = head.next
			head.next = &kept
		}
	}
	return &head
}

// editable is b if the edit made it, otherwise a copy that the edit may change. A nil b gives an empty branch.
func (b *branch) editable(e *edit) *branch {
	switch {
	case b == nil:
		return &branch{edit: e}
	case b.edit == e:
		return b
	}
	return &branch{used: b.used, slots: append(make([]slot, 0, len(b.slots)+1), b.slots...), edit: e}
}

// all calls yield for every leaf, in no order.
func (o overlay) all(yield func(*leaf) bool) { o.root.all(yield) }

func (b *branch) all(yield func(*leaf) bool) bool {
	if b == nil {
		return true
	}
	for _, s := range b.slots {
		for l := s.leaf; l != nil; l = l.next {
			if !yield(l) {
				return false
			}
		}
		if !s.branch.all(yield) {
			return false
		}
	}
	return true
}

// differing calls yield for the name of every leaf that only one of two overlays has, in no order and perhaps twice. Branches that both share
// are passed by, so that the cost is that of what happened between the two, however much both hold.
func differing(a, b *branch, yield func(Name)) {
	switch {
	case a == b:
		return
	case a == nil:
		differing(b, nil, yield)
		return
	case b == nil:
		a.all(func(l *leaf) bool {
			yield(l.name)
			return true
		})
		return
	}
	for used := a.used | b.used; used != 0; used &= used - 1 {
		sa, sb := a.slotOf(used&-used), b.slotOf(used&-used)
		if sa.leaf == sb.leaf && sa.leaf != nil {
			continue
		}
		sa.names(yield)
		sb.names(yield)
		differing(sa.branch, sb.branch, yield)
	}
}

// slotOf is the content of the place with the given bit.
func (b *branch) slotOf(bit uint32) slot {
	if b.used&bit == 0 {
		return slot{}
	}
	return b.slots[bits.OnesCount32(b.used&(bit-1))]
}

// names calls yield for the names of the slot's own leaves.
func (s slot) names(yield func(Name)) {
	for l := s.leaf; l != nil; l = l.next {
		yield(l.name)
	}
}
