package zone

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// image holds the nodes of a zone one after the other in canonical order, a hash index into them, and where a signed zone's proofs are. It has four
// pointers in all, whatever the size of the zone, so that the garbage collector has nothing to walk. It never changes; snapshots share it.
type image struct {
	arena string   // nodes, each with its ancestors up to the apex before it
	slots []uint64 // open addressing: 24 bits of the hash | 40 bits of offset in arena plus one; 0 is free
	names int
	links links
}

const (
	offsetBits = 40
	offsetMask = 1<<offsetBits - 1
)

// at is the node at an offset.
func (m *image) at(off int) node {
	n := node(m.arena[off:])
	return n[:n.size()]
}

// find gives the node whose name is label (in wire form, may be empty) followed by parent, "" if there is none.
func (m *image) find(hash uint64, label string, parent Name) node {
	if len(m.slots) == 0 {
		return ""
	}
	for i := m.slot(hash); ; {
		v := m.slots[i]
		if v == 0 {
			return ""
		}
		if v>>offsetBits == hash&(1<<(64-offsetBits)-1) {
			if n := m.at(int(v&offsetMask) - 1); n.isAt(label, parent) {
				return n
			}
		}
		if i++; i == len(m.slots) {
			i = 0
		}
	}
}

// slot maps the upper bits of the hash onto the table, whose size need not be a power of two.
func (m *image) slot(hash uint64) int {
	hi, _ := bits.Mul64(hash, uint64(len(m.slots)))
	return int(hi) //nolint:gosec // below len(m.slots)
}

// index builds the hash index and the links. At three quarters full a lookup that finds nothing reads about eight neighbouring slots, one cache line.
func (m *image) index() {
	m.slots = make([]uint64, m.names+m.names/3+1)
	for off := 0; off < len(m.arena); {
		n := m.at(off)
		h := hashName(n.name())
		i := m.slot(h)
		for m.slots[i] != 0 {
			if i++; i == len(m.slots) {
				i = 0
			}
		}
		m.slots[i] = h<<offsetBits | uint64(off+1)
		m.links.add(n, off)
		off += len(n)
	}
	m.links.clip()
}

// imageWriter builds an image from nodes that come in canonical order. It puts in the empty non-terminals and counts the children.
type imageWriter struct {
	buf   []byte
	names int
	open  []openNode // the last node and its ancestors
}

type openNode struct {
	name     Name
	off      int
	children uint32
}

// add appends a node; the first must be the apex.
func (w *imageWriter) add(n node) {
	off := w.begin(n.name())
	w.buf = append(w.buf, n...)
	w.end(off)
}

// begin makes room for the node of a name and opens its ancestors. The caller appends the node to buf and calls end.
func (w *imageWriter) begin(name Name) (off int) {
	for len(w.open) > 0 && !name.IsSubdomainOf(w.open[len(w.open)-1].name) {
		w.closeLast()
	}
	if len(w.open) > 0 {
		w.beginMissing(name)
	}
	w.push(name)
	return len(w.buf)
}

// beginMissing writes the empty non-terminals between the last open node and name.
func (w *imageWriter) beginMissing(name Name) {
	top := w.open[len(w.open)-1].name
	var starts labelStarts
	missing := starts.fill(name)
	for i := 1; i < missing; i++ {
		if len(name)-int(starts[i]) == len(top) {
			missing = i
		}
	}
	for i := missing - 1; i > 0; i-- {
		w.push(name[starts[i]:])
		off := len(w.buf)
		w.buf = appendNode(w.buf, name[starts[i]:], 0, Steering{})
		w.end(off)
	}
}

func (w *imageWriter) push(name Name) {
	if len(w.open) > 0 {
		w.open[len(w.open)-1].children++
	}
	w.open = append(w.open, openNode{name: name, off: len(w.buf)})
	w.names++
}

func (w *imageWriter) end(off int) { closeNode(w.buf, off) }

// closeLast writes the last open node's count of children, which is known now.
func (w *imageWriter) closeLast() {
	last := w.open[len(w.open)-1]
	binary.BigEndian.PutUint32(w.buf[last.off+childrenOff:], last.children)
	w.open = w.open[:len(w.open)-1]
}

// image ends the writing. The writer must not be used again.
func (w *imageWriter) image() *image {
	for len(w.open) > 0 {
		w.closeLast()
	}
	if spare := cap(w.buf) - len(w.buf); spare > len(w.buf)/16 {
		w.buf = append(make([]byte, 0, len(w.buf)), w.buf...)
	}
	m := &image{arena: frozen(w.buf), names: w.names}
	m.index()
	return m
}

// frozen is b as a string, without a copy: for a zone of a million records that would be 80 MB more. The caller never writes to b again.
func frozen(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b))
}
