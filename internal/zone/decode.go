package zone

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/frame"
)

var (
	errEntry = errors.New("malformed entry")
	errOrder = errors.New("entries are not in canonical order")
)

// blockReader reads the entries of a block, checks them and puts records together to RRsets. It can be used for one block after the other.
type blockReader struct {
	origin Name
	in     frame.Reader
	raw    int // octets read so far

	pop    string
	weight uint32
	last   Key // of the last RRset, its owner a view into the block

	pending    RRset // the RRset whose records are being read, its owner and rdata views into the block; no rdata: none
	pendingSum int   // octets of its records in a message
	whole      RRset // what the sink is given: here, so that it takes no allocation
}

// blockSink takes what a block holds. A nil function refuses the entry.
type blockSink struct {
	set      func(*RRset) error // valid during the call: its owner and rdata are views into the block
	settings func(Name, Steering) error
	remove   func(Key) error
}

// readBlock reads a whole block into the sink.
func (r *blockReader) readBlock(magic [4]byte, block []byte, sink blockSink) error {
	r.raw, r.pop, r.weight, r.last, r.pendingSum = 0, "", 0, Key{}, 0
	r.pending, r.whole = RRset{Rdata: r.pending.Rdata[:0]}, RRset{}
	if err := r.in.Reset(magic, block); err != nil {
		return err
	}
	if err := r.readOrigin(); err != nil {
		return err
	}
	for {
		kind, body, ok := r.in.Next()
		if !ok {
			break
		}
		r.raw += len(body) + 2
		if err := r.entry(kind, body, sink); err != nil {
			return err
		}
	}
	if err := r.in.Err(); err != nil {
		return err
	}
	return r.flush(sink)
}

func (r *blockReader) readOrigin() error {
	kind, body, ok := r.in.Next()
	if !ok || kind != entryOrigin {
		return errEntry
	}
	if string(body) != string(r.origin) {
		if n, length, err := nameFromWire(body); err == nil && length == len(body) {
			return fmt.Errorf("it is of the zone %s", n)
		}
		return errEntry
	}
	return nil
}

func (r *blockReader) entry(kind byte, body []byte, sink blockSink) error {
	switch kind {
	case entryRecord:
		return r.record(body, sink)
	case entryContext:
		return r.context(body)
	}
	if err := r.flush(sink); err != nil {
		return err
	}
	switch {
	case kind == entrySettings && sink.settings != nil:
		return r.settings(body, sink)
	case kind == entryDelete && sink.remove != nil:
		return r.remove(body, sink)
	}
	return fmt.Errorf("%w of kind %q", errEntry, kind)
}

// owner takes an owner of this zone off the front of body. It may be a view into the block.
func (r *blockReader) owner(body []byte) (owner, rest []byte, err error) {
	n, err := wireNameLen(body)
	if err != nil {
		return nil, nil, fmt.Errorf("owner: %w", err)
	}
	for _, c := range body[:n] {
		if c-'A' <= 'Z'-'A' {
			return nil, nil, fmt.Errorf("owner in upper case: %w", errEntry)
		}
	}
	if !Name(frozen(body[:n])).IsSubdomainOf(r.origin) { // a view for the comparison only
		return nil, nil, &Error{Name(body[:n]), 0, "is not in the zone " + r.origin.String()}
	}
	return body[:n], body[n:], nil
}

func (r *blockReader) context(body []byte) error {
	if len(body) < 4 {
		return errEntry
	}
	r.weight = binary.BigEndian.Uint32(body)
	if string(body[4:]) == r.pop {
		return nil
	}
	if len(body) > 4 {
		if err := checkTag(string(body[4:])); err != nil {
			return fmt.Errorf("pop %w", err)
		}
	}
	r.pop = string(body[4:])
	return nil
}

// record adds a record to the pending RRset, which it completes first if the record begins another.
func (r *blockReader) record(body []byte, sink blockSink) error {
	p := &r.pending
	owner, rest, err := r.ownerOrLast(body)
	if err != nil {
		return err
	}
	if len(rest) < 10 || binary.BigEndian.Uint16(rest[2:]) != dns.ClassINET || int(binary.BigEndian.Uint16(rest[8:])) != len(rest)-10 {
		return errEntry
	}
	typ, ttl, wire := binary.BigEndian.Uint16(rest), binary.BigEndian.Uint32(rest[4:]), rest[10:]
	if len(p.Rdata) == 0 || p.Type != typ || p.PoP != r.pop || p.Owner != owner {
		if err := r.flush(sink); err != nil {
			return err
		}
		*p = RRset{Owner: owner, Type: typ, TTL: ttl, PoP: r.pop, Rdata: p.Rdata[:0]}
		if err := p.checkHeader(); err != nil {
			return err
		}
	}
	return r.addRdata(ttl, wire)
}

// ownerOrLast is owner, quicker where it is the owner of the record before: a whole name is the beginning of no other.
func (r *blockReader) ownerOrLast(body []byte) (owner Name, rest []byte, err error) {
	if last := r.pending.Owner; last != "" && len(body) >= len(last) && string(body[:len(last)]) == string(last) {
		return last, body[len(last):], nil
	}
	name, rest, err := r.owner(body)
	return Name(frozen(name)), rest, err
}

func (r *blockReader) addRdata(ttl uint32, wire []byte) error {
	p := &r.pending
	canonical, err := canonicalRdata(p.Type, wire)
	switch {
	case err != nil:
		return &Error{p.Owner, p.Type, err.Error()}
	case !bytes.Equal(canonical, wire):
		return &Error{p.Owner, p.Type, "rdata in upper case"}
	case ttl != p.TTL:
		return &Error{p.Owner, p.Type, "records with two TTLs"}
	case len(p.Rdata) > 0 && bytes.Compare(p.Rdata[len(p.Rdata)-1].Wire, wire) >= 0:
		return &Error{p.Owner, p.Type, errOrder.Error()}
	}
	if r.pendingSum += rrOverhead + len(wire); r.pendingSum > maxMessage {
		return &Error{p.Owner, p.Type, "records fit in no message"}
	}
	p.Rdata = append(p.Rdata, Rdata{Wire: wire, Weight: r.weight})
	return nil
}

// flush passes the pending RRset on.
func (r *blockReader) flush(sink blockSink) error {
	p := &r.pending
	if len(p.Rdata) == 0 {
		return nil
	}
	rdata := p.Rdata
	var err error
	if r.whole, err = p.finish(); err != nil {
		return err
	}
	key := r.whole.Key()
	if r.last.Owner != "" && compareKeys(r.last, key) >= 0 {
		return errOrder
	}
	r.last = key
	err = sink.set(&r.whole)
	p.Rdata, r.pendingSum = rdata[:0], 0
	return err
}

func (r *blockReader) settings(body []byte, sink blockSink) error {
	owner, rest, err := r.owner(body)
	if err != nil {
		return err
	}
	st, err := parseSettings(rest)
	if errors.Is(err, errEntry) {
		return err
	}
	if err != nil {
		return &Error{Name(owner), 0, err.Error()}
	}
	return sink.settings(Name(owner), st)
}

func (r *blockReader) remove(body []byte, sink blockSink) error {
	owner, rest, err := r.owner(body)
	if err != nil {
		return err
	}
	if len(rest) < 2 {
		return errEntry
	}
	s := RRset{Owner: Name(owner), Type: binary.BigEndian.Uint16(rest), PoP: string(rest[2:])}
	if err := s.checkHeader(); err != nil {
		return err
	}
	return sink.remove(s.Key())
}
