package zone

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/popdns/popdns/internal/frame"
	"github.com/popdns/popdns/internal/setsum"
	"github.com/popdns/popdns/internal/tightheap"
)

// Codec turns snapshots of one zone and the deltas between them into bytes and back. It is a dataset codec. It may be used concurrently.
//
// A base is a list of chunks, a delta a run of blocks of the same form: a frame of entries, the first of which names the zone. Records are in
// uncompressed wire form with their absolute owner (zstd makes up for it), in canonical order. Equal zones encode to equal entries.
type Codec struct {
	Origin Name
	// Background leaves a processor and memory to others while a base is encoded or decoded: for a server that answers meanwhile.
	Background bool
}

// The frames' magics. The last octet is the format's version.
var (
	magicBase  = [4]byte{'p', 'z', 'b', '1'}
	magicDelta = [4]byte{'p', 'z', 'd', '1'}
)

// Kinds of entries, and what their bodies hold.
const (
	entryOrigin   = 'O' // the zone's name; first and only once
	entryContext  = 'C' // weight u32 | PoP, up to the end: what the next records have, until the next context. It begins as 0 and ""
	entryRecord   = 'R' // owner | type u16 | class u16 | ttl u32 | length u16 | rdata
	entrySettings = 'S' // owner | the settings, see appendSettings. In a base before the owner's records, in a delta at the end
	entryDelete   = 'D' // owner | type u16 | PoP, up to the end. In a delta, before the records
)

const (
	chunkRaw = 1 << 20 // raw octets after which a chunk is closed: it compresses to about a quarter of what is allowed

	// maxChunk is the largest chunk that Encode makes; the dataset layer stores no larger one.
	maxChunk = 512 << 10
	// maxChunks and maxZone (raw octets) bound what Decode takes in.
	maxChunks = 1 << 14
	maxZone   = 8 << 30
	// maxDelta (raw octets) bounds what Apply takes in: a delta that large is longer than any that the dataset layer stores.
	maxDelta = 64 << 20
)

var errNil = errors.New("no zone")

// Kind is "zone".
func (Codec) Kind() string { return "zone" }

// Encode gives the base of a snapshot: chunks of at most 512 KiB, each decodable on its own.
func (c Codec) Encode(s *Snapshot) ([][]byte, error) {
	if err := c.own(s); err != nil {
		return nil, fmt.Errorf("encode zone %s: %w", c.Origin, err)
	}
	chunks, err := encodeBase(s, processors(c.Background))
	if err != nil {
		return nil, fmt.Errorf("encode zone %s: %w", c.Origin, err)
	}
	return chunks, nil
}

// Decode makes the snapshot of a base. It sets each of chunks to nil when it is done with it. It decodes chunks in parallel and checks all it reads: it fails for anything that Encode would not have
// made of a zone that Build accepts.
func (c Codec) Decode(chunks [][]byte) (*Snapshot, error) {
	if c.Background {
		size := int64(0)
		for _, chunk := range chunks {
			size += int64(len(chunk))
		}
		defer tightheap.Begin(4 * size)() // about what they unpack to
	}
	s, err := decodeBase(c.Origin, chunks, processors(c.Background))
	if err != nil {
		return nil, fmt.Errorf("decode zone %s: %w", c.Origin, err)
	}
	return s, nil
}

// Diff encodes Diff(old, new), nil when they are equal.
func (c Codec) Diff(old, new *Snapshot) ([]byte, error) {
	if err := c.own(new); err != nil {
		return nil, fmt.Errorf("diff zone %s: %w", c.Origin, err)
	}
	d := Diff(old, new)
	if d.Empty() {
		return nil, nil
	}
	return encodeDelta(c.Origin, d), nil
}

// Apply applies an encoded delta; to no zone (nil) it must bring a whole one.
func (c Codec) Apply(s *Snapshot, delta []byte) (*Snapshot, error) {
	next, err := c.apply(s, delta)
	if err != nil {
		return nil, fmt.Errorf("apply delta to zone %s: %w", c.Origin, err)
	}
	return next, nil
}

func (c Codec) apply(s *Snapshot, delta []byte) (*Snapshot, error) {
	d, err := decodeDelta(c.Origin, delta)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return build(c.Origin, d)
	}
	if err := c.own(s); err != nil {
		return nil, err
	}
	return s.Apply(d)
}

// build makes a zone from nothing but a delta.
func build(origin Name, d Delta) (*Snapshot, error) {
	b := NewBuilder(origin)
	for i := range d.Put {
		if err := b.Add(d.Put[i]); err != nil {
			return nil, err
		}
	}
	for owner, st := range d.Steer {
		if err := b.Steer(owner, st); err != nil {
			return nil, err
		}
	}
	return b.Build()
}

// Sum gives the sum over the snapshot's items and their number.
func (Codec) Sum(s *Snapshot) (sum setsum.Sum, items int) {
	if s == nil {
		return sum, 0
	}
	return s.Sum(), s.Items()
}

// WithSerial is Snapshot.WithSerial.
func (Codec) WithSerial(s *Snapshot, serial uint32) *Snapshot { return s.WithSerial(serial) }

// Serial is Snapshot.Serial.
func (Codec) Serial(s *Snapshot) uint32 { return s.Serial() }

// Frozen is Snapshot.SerialFrozen.
func (Codec) Frozen(s *Snapshot) bool { return s.SerialFrozen() }

func (c Codec) own(s *Snapshot) error {
	switch {
	case s == nil:
		return errNil
	case s.origin != c.Origin:
		return fmt.Errorf("it is the zone %s", s.origin)
	}
	return nil
}

// blockWriter writes entries and leaves out contexts that do not change.
type blockWriter struct {
	*frame.Writer
	pop    string
	weight uint32
	body   []byte
}

func newBlockWriter(magic [4]byte, origin Name) *blockWriter {
	w := &blockWriter{Writer: frame.NewWriter(magic)}
	w.Entry(entryOrigin, []byte(origin))
	return w
}

func (w *blockWriter) set(owner Name, s rrsets) {
	for rd := range s.each {
		if pop := s.pop(); pop != w.pop || rd.Weight != w.weight {
			w.pop, w.weight = pop, rd.Weight
			w.body = binary.BigEndian.AppendUint32(w.body[:0], rd.Weight)
			w.Entry(entryContext, append(w.body, pop...))
		}
		b := append(w.body[:0], owner...)
		b = binary.BigEndian.AppendUint16(b, s.typ())
		b = append(b, 0, 1) // class IN
		b = binary.BigEndian.AppendUint32(b, s.ttl())
		b = binary.BigEndian.AppendUint16(b, uint16(len(rd.Wire))) //nolint:gosec // rdata is at most 65535 octets
		w.body = append(b, rd.Wire...)
		w.Entry(entryRecord, w.body)
	}
}

func (w *blockWriter) settings(owner Name, st Steering) {
	w.body = appendSteeringItem(w.body[:0], owner, st)
	w.Entry(entrySettings, w.body[1:])
}

func (w *blockWriter) remove(k Key) {
	b := append(w.body[:0], k.Owner...)
	b = binary.BigEndian.AppendUint16(b, k.Type)
	w.body = append(b, k.PoP...)
	w.Entry(entryDelete, w.body)
}
