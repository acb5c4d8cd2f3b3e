package zone

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/miekg/dns"
)

// Builder makes a Snapshot from records in any order. It keeps them as octets, not as objects, so that a million records cost about 250 MB while it
// lives and little to collect. It is for one goroutine, and for one Build.
type Builder struct {
	origin   Name
	arena    []byte            // sort keys and rdata
	variants []variant         // in the order of their first record
	records  []record          // linked per variant
	byKey    map[string]uint32 // sort key → variant
	settings map[Name]Steering
}

// variant is an RRset that is being built.
type variant struct {
	key         span // of the sort key
	first, last uint32
	count       uint32
	ttl         uint32
	nameLen     uint8 // octets of the owner, which follows the sort key in the arena
}

type record struct {
	rdata  span
	weight uint32
	next   uint32
}

type span struct {
	off uint64
	len uint32
}

func (b *Builder) bytes(s span) []byte { return b.arena[s.off:][:s.len] }

// NewBuilder begins a zone.
func NewBuilder(origin Name) *Builder {
	return &Builder{origin: origin, byKey: map[string]uint32{}, settings: map[Name]Steering{}}
}

// Add adds the rdata of an RRset to what its key has already. Records that are there already are no error; another TTL for the same key or another
// weight for the same record is, and so is all that NewRRset refuses. Errors are *Error; a failed Add adds nothing.
func (b *Builder) Add(s RRset) error {
	s, err := NewRRset(s.Owner, s.Type, s.TTL, s.PoP, s.Rdata...)
	if err != nil {
		return err
	}
	return b.add(&s)
}

// AddRR is Add for a single record; pop may be empty and weight 0.
func (b *Builder) AddRR(rr dns.RR, pop string, weight uint32) error {
	h := rr.Header()
	owner, err := ParseName(h.Name)
	if err != nil {
		return err
	}
	if h.Class != dns.ClassINET {
		return &Error{owner, h.Rrtype, fmt.Sprintf("class %s; a zone holds IN only", dns.Class(h.Class))}
	}
	typ, wire, err := RdataOf(rr)
	if err != nil {
		return &Error{owner, h.Rrtype, err.Error()}
	}
	s := RRset{Owner: owner, Type: typ, TTL: h.Ttl, PoP: pop, Rdata: []Rdata{{wire, weight}}}
	if err := s.checkHeader(); err != nil {
		return err
	}
	return b.add(&s)
}

// add adds an RRset whose header and rdata have been checked.
func (b *Builder) add(s *RRset) error {
	if !s.Owner.IsSubdomainOf(b.origin) {
		return &Error{s.Owner, s.Type, "is not in the zone " + b.origin.String()}
	}
	var buf [3 * maxName]byte
	key := appendSortKey(buf[:0], s.Key())
	i, ok := b.byKey[string(key)]
	if !ok {
		i = uint32(len(b.variants)) //nolint:gosec // memory ends first
		b.byKey[string(key)] = i
		b.variants = append(b.variants, variant{key: b.keep(key), ttl: s.TTL, nameLen: len8(s.Owner)})
		b.arena = append(b.arena, s.Owner...)
	}
	v := &b.variants[i]
	if v.ttl != s.TTL && s.Type != dns.TypeRRSIG {
		return &Error{s.Owner, s.Type, fmt.Sprintf("ttl %d, but earlier records of the same set have %d (RFC 2181 5.2)", s.TTL, v.ttl)}
	}
	if int(v.count)+len(s.Rdata) > 2*maxMessage/rrOverhead {
		return &Error{s.Owner, s.Type, "more records than fit in a message"}
	}
	for _, rd := range s.Rdata {
		b.records = append(b.records, record{rdata: b.keep(rd.Wire), weight: rd.Weight})
		last := uint32(len(b.records)) - 1 //nolint:gosec // as above
		if v.count == 0 {
			v.first = last
		} else {
			b.records[v.last].next = last
		}
		v.last = last
		v.count++
	}
	return nil
}

func (b *Builder) keep(p []byte) span {
	s := span{uint64(len(b.arena)), uint32(len(p))} //nolint:gosec // at most 65535
	b.arena = append(b.arena, p...)
	return s
}

// Steer sets an owner's settings. The zero value removes them.
func (b *Builder) Steer(owner Name, st Steering) error {
	if !owner.IsSubdomainOf(b.origin) {
		return &Error{owner, 0, "is not in the zone " + b.origin.String()}
	}
	if err := st.check(); err != nil {
		return &Error{owner, 0, err.Error()}
	}
	if st == (Steering{}) {
		delete(b.settings, owner)
	} else {
		b.settings[owner] = st
	}
	return nil
}

// Build checks the zone and makes the snapshot. It fails with an *Error.
func (b *Builder) Build() (*Snapshot, error) {
	b.byKey = nil
	byKey := func(a, c variant) int { return bytes.Compare(b.bytes(a.key), b.bytes(c.key)) }
	if !slices.IsSortedFunc(b.variants, byKey) {
		slices.SortFunc(b.variants, byKey)
	}
	var w imageWriter
	var t tally
	steered := 0
	for rest := b.variants; len(rest) > 0; {
		owner := b.owner(rest[0])
		if len(w.open) == 0 && owner != b.origin {
			break // no apex: checkApex says so
		}
		st, ok := b.settings[owner]
		if ok {
			steered++
		}
		off := w.begin(owner)
		w.buf = appendNode(w.buf, owner, 0, st)
		for len(rest) > 0 && b.owner(rest[0]) == owner {
			s, err := b.rrset(owner, rest[0])
			if err != nil {
				return nil, err
			}
			w.buf = appendSetTo(w.buf, off, &s)
			rest = rest[1:]
		}
		w.end(off)
		n := w.last(off)
		if err := checkNode(b.origin, n); err != nil {
			return nil, err
		}
		t.countNode(n)
	}
	s, err := newSnapshot(b.origin, w.image(processors(false)), t)
	if err != nil {
		return nil, err
	}
	if steered != len(b.settings) {
		return nil, b.unusedSettings(s)
	}
	return s, nil
}

// unusedSettings names the first owner that has settings but no records.
func (b *Builder) unusedSettings(s *Snapshot) error {
	var unused []Name
	for owner := range b.settings {
		if s.Steering(owner) == (Steering{}) {
			unused = append(unused, owner)
		}
	}
	return &Error{slices.MinFunc(unused, Name.Compare), 0, "steering settings for a name without records"}
}

func (b *Builder) owner(v variant) Name {
	return Name(b.arena[v.key.off+uint64(v.key.len):][:v.nameLen])
}

// rrset is a variant with all its records, sorted and checked.
func (b *Builder) rrset(owner Name, v variant) (RRset, error) {
	typ, pop := splitSortKey(b.bytes(v.key))
	s := RRset{Owner: owner, Type: typ, TTL: v.ttl, PoP: pop, Rdata: make([]Rdata, 0, v.count)}
	for i := v.first; len(s.Rdata) < int(v.count); i = b.records[i].next {
		s.Rdata = append(s.Rdata, Rdata{Wire: b.bytes(b.records[i].rdata), Weight: b.records[i].weight})
	}
	return s.finish()
}

// newSnapshot is the snapshot of an image whose nodes have been checked and counted.
func newSnapshot(origin Name, m *image, t tally) (*Snapshot, error) {
	t.share()
	s := &Snapshot{origin: origin, originHash: hashName(origin), image: m, tally: t}
	s.apex = m.find(s.originHash, "", origin)
	if err := checkApex(origin, s.apex); err != nil {
		return nil, err
	}
	return s, nil
}

// appendSortKey appends a form of the key that sorts octet by octet as keys do canonically: labels from the root down, octets 0 and 1 escaped, each
// label ended by a 0; another 0 in place of a deeper label; the type, SOA first, as it is; the PoP, ended by a 0, and its length.
func appendSortKey(b []byte, k Key) []byte {
	var starts labelStarts
	for i := starts.fill(k.Owner) - 1; i >= 0; i-- {
		label := k.Owner.label(starts[i])
		for j := range len(label) {
			if c := label[j]; c <= 1 {
				b = append(b, 1, c+1)
			} else {
				b = append(b, c)
			}
		}
		b = append(b, 0)
	}
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, typeOrder(k.Type))
	b = append(b, k.PoP...)
	return append(b, 0, len8(k.PoP))
}

// splitSortKey gives back what follows the owner.
func splitSortKey(key []byte) (typ uint16, pop string) {
	end := len(key) - 2
	pop = string(key[end-int(key[end+1]) : end])
	if typ = binary.BigEndian.Uint16(key[end-len(pop)-2:]); typ == 0 {
		typ = dns.TypeSOA
	}
	return typ, pop
}
