package steer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/popdns/popdns/internal/frame"
	"github.com/popdns/popdns/internal/setsum"
)

// Entries of the PoP table's blocks: 'H' serial and part number uvarint; 'P' one PoP as appendPoP writes it; 'X' the name of a
// PoP that a delta deletes; 'E' PoPs of all parts uvarint, in the last part only.
const (
	entryPoP    = 'P'
	entryDelete = 'X'
)

var (
	popsBaseMagic  = [4]byte{'p', 'd', 'P', 'B'}
	popsDeltaMagic = [4]byte{'p', 'd', 'P', 'D'}
)

// PoPsCodec turns PoP tables into base chunks and deltas and back: a dataset.Codec[*PoPs]. It is safe for concurrent use.
type PoPsCodec struct{}

// Kind returns "pops".
func (PoPsCodec) Kind() string { return "pops" }

// Encode returns t as chunks of at most 480 KiB, nearly always one. It refuses a table that With gave an invalid PoP.
func (PoPsCodec) Encode(t *PoPs) ([][]byte, error) {
	if t == nil {
		return nil, errors.New("encode pops: no table")
	}
	var chunks [][]byte
	w := frame.NewWriter(popsBaseMagic)
	begin := func() { w.Entry(entryHeader, popsHeader(t.serial, len(chunks))) }
	begin()
	for _, p := range t.list {
		if err := p.Check(); err != nil {
			return nil, fmt.Errorf("encode pops: %w", err)
		}
		if w.Len() > partBytes {
			chunks = append(chunks, w.Bytes())
			begin()
		}
		w.Entry(entryPoP, appendPoP(nil, p))
	}
	w.Entry(entryEnd, binary.AppendUvarint(nil, uint64(len(t.list))))
	return append(chunks, w.Bytes()), nil
}

func popsHeader(serial uint32, number int) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(serial)), uint64(number)) //nolint:gosec // a count
}

// Decode reads what Encode wrote, all chunks in order, and refuses anything else.
func (PoPsCodec) Decode(chunks [][]byte) (*PoPs, error) {
	r := popsReader{magic: popsBaseMagic, deleted: nil}
	for i, c := range chunks {
		if err := r.read(c); err != nil {
			return nil, fmt.Errorf("decode pops: chunk %d: %w", i, err)
		}
	}
	if !r.last || r.claimed != uint64(len(r.put)) || len(r.deleted) > 0 {
		return nil, fmt.Errorf("decode pops: not a whole table: %d pops, %d claimed", len(r.put), r.claimed)
	}
	t, err := NewPoPs(r.serial, r.put)
	if err != nil {
		return nil, fmt.Errorf("decode pops: %w", err)
	}
	return t, nil
}

// Diff returns what turns old, which may be nil, into a table with the content and serial of new, or nil if only the serial
// differs.
func (PoPsCodec) Diff(old, new *PoPs) ([]byte, error) {
	if new == nil {
		return nil, errors.New("diff pops: no new table")
	}
	w := frame.NewWriter(popsDeltaMagic)
	w.Entry(entryHeader, popsHeader(new.serial, 0))
	n := 0
	for p := range new.All() {
		if was, ok := old.Get(p.Name); ok && was.Equal(p) {
			continue
		}
		if err := p.Check(); err != nil {
			return nil, fmt.Errorf("diff pops: %w", err)
		}
		w.Entry(entryPoP, appendPoP(nil, p))
		n++
	}
	for p := range old.All() {
		if _, ok := new.Get(p.Name); !ok {
			w.Entry(entryDelete, []byte(p.Name))
			n++
		}
	}
	// A first table, even an empty one, is a change.
	if n == 0 && old != nil {
		return nil, nil
	}
	w.Entry(entryEnd, binary.AppendUvarint(nil, uint64(n)))
	return w.Bytes(), nil
}

// Apply returns t, which may be nil, changed by delta and with the delta's serial. t stays as it is.
func (PoPsCodec) Apply(t *PoPs, delta []byte) (*PoPs, error) {
	if len(delta) == 0 {
		if t == nil {
			return nil, errors.New("apply to pops: empty delta and no table")
		}
		return t, nil
	}
	r := popsReader{magic: popsDeltaMagic}
	if err := r.read(delta); err != nil {
		return nil, fmt.Errorf("apply to pops: %w", err)
	}
	if !r.last || r.claimed != uint64(len(r.put)+len(r.deleted)) {
		return nil, errors.New("apply to pops: not a whole delta")
	}
	pops := make(map[string]PoP, t.Len()+len(r.put))
	for p := range t.All() {
		pops[p.Name] = p
	}
	for _, p := range r.put {
		pops[p.Name] = p
	}
	for _, name := range r.deleted {
		delete(pops, name)
	}
	list := make([]PoP, 0, len(pops))
	for _, p := range pops {
		list = append(list, p)
	}
	next, err := NewPoPs(r.serial, list)
	if err != nil {
		return nil, fmt.Errorf("apply to pops: %w", err)
	}
	return next, nil
}

// popsReader collects the entries of consecutive blocks.
type popsReader struct {
	magic   [4]byte
	parts   uint64
	serial  uint32
	put     []PoP
	deleted []string
	claimed uint64
	last    bool
}

func (r *popsReader) read(block []byte) error {
	if r.last {
		return errors.New("chunks after the last one")
	}
	b, err := frame.Open(r.magic, block)
	if err != nil {
		return err
	}
	kind, body, ok := b.Next()
	if !ok || kind != entryHeader {
		return errors.Join(errors.New("no header entry"), b.Err())
	}
	var header part
	if err := header.readHeader(body); err != nil {
		return err
	}
	if header.name != "" || header.number != r.parts || r.parts > 0 && header.serial != r.serial {
		return fmt.Errorf("part %d of serial %d, wanted part %d", header.number, header.serial, r.parts)
	}
	r.parts++
	r.serial = header.serial
	for {
		kind, body, ok := b.Next()
		if !ok {
			return b.Err()
		}
		if r.last {
			return errors.New("entries after the end entry")
		}
		if err := r.readEntry(kind, body); err != nil {
			return err
		}
	}
}

func (r *popsReader) readEntry(kind byte, body []byte) error {
	if len(r.put)+len(r.deleted) > 2*MaxPoPs {
		return fmt.Errorf("pops: %w, at most %d", ErrTooLarge, MaxPoPs)
	}
	switch kind {
	case entryPoP:
		p, err := readPoP(body)
		r.put = append(r.put, p)
		return err
	case entryDelete:
		r.deleted = append(r.deleted, string(body))
		return CheckName(string(body))
	case entryEnd:
		claimed, n := binary.Uvarint(body)
		if n <= 0 || n != len(body) {
			return errors.New("malformed end entry")
		}
		r.claimed, r.last = claimed, true
		return nil
	}
	return fmt.Errorf("unknown entry kind %q", kind)
}

// readPoP reads what appendPoP wrote.
func readPoP(b []byte) (PoP, error) {
	const fixed = 8 + 8 + 1 + 1 + 8
	if len(b) == 0 || len(b) < 1+int(b[0])+fixed {
		return PoP{}, fmt.Errorf("pop entry of %d bytes", len(b))
	}
	p := PoP{Name: string(b[1 : 1+b[0]])}
	b = b[1+b[0]:]
	p.Lat = math.Float64frombits(binary.BigEndian.Uint64(b))
	p.Lon = math.Float64frombits(binary.BigEndian.Uint64(b[8:]))
	p.State, p.Drain = State(b[16]), int(b[17])
	p.Capacity = int64(binary.BigEndian.Uint64(b[18:])) //nolint:gosec // Check refuses a negative one
	for b = b[fixed:]; len(b) > 0; {
		if len(b) < 1+int(b[0])+2 || len(p.Services)+len(p.Failing) == 2*MaxServices {
			return PoP{}, fmt.Errorf("pop %.63q: malformed service %d", p.Name, len(p.Services))
		}
		n := 1 + int(b[0])
		if b[n] == failingMark {
			if b[n+1] != 0 {
				return PoP{}, fmt.Errorf("pop %.63q: malformed mark of a failing service", p.Name)
			}
			p.Failing = append(p.Failing, string(b[1:n]))
			b = b[n+2:]
			continue
		}
		if len(p.Failing) > 0 {
			return PoP{}, fmt.Errorf("pop %.63q: services out of order", p.Name)
		}
		p.Services = append(p.Services, Service{Name: string(b[1:n]), State: State(b[n]), Drain: int(b[n+1])})
		b = b[n+2:]
	}
	return p, p.Check()
}

// Sum returns the sum of the table's PoPs and their number. A nil table has none.
func (PoPsCodec) Sum(t *PoPs) (sum setsum.Sum, items int) {
	if t == nil {
		return setsum.Sum{}, 0
	}
	return t.sum, len(t.list)
}

// WithSerial returns the same table with another version number, sharing everything.
func (PoPsCodec) WithSerial(t *PoPs, serial uint32) *PoPs {
	if t == nil {
		return nil
	}
	c := *t
	c.serial = serial
	return &c
}

// Serial returns the table's version number, 0 for a nil table.
func (PoPsCodec) Serial(t *PoPs) uint32 { return t.Serial() }

// Frozen returns false: the table's serial is ours to set.
func (PoPsCodec) Frozen(*PoPs) bool { return false }
