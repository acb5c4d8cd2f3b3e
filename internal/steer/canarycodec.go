package steer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/popdns/popdns/internal/frame"
	"github.com/popdns/popdns/internal/setsum"
)

// A canary's image is a block of its own and then the chunks of the staged map, if there is one; its delta is the length of such a
// block, the block, and then the map's delta. Entries of the block: 'H' serial uvarint and the map's name; 'C' the rule as
// canaryItem has it, without the first octet; 'M' one octet, what of the map follows.
const (
	entryRule    = 'C'
	entryContent = 'M'

	contentNone   = 0 // there is no map
	contentSame   = 1 // delta: the map stays
	contentFollow = 2 // the map's chunks, or its delta
)

var (
	canaryBaseMagic  = [4]byte{'p', 'd', 'C', 'B'}
	canaryDeltaMagic = [4]byte{'p', 'd', 'C', 'D'}
)

// CanaryCodec turns canaries of the map Name into base chunks and deltas and back: a dataset.Codec[*Canary]. The staged map bears the canary's serial.
// It is safe for concurrent use.
type CanaryCodec struct{ Name string }

func (c CanaryCodec) maps() MapCodec { return MapCodec(c) }

// Kind returns "canary".
func (CanaryCodec) Kind() string { return "canary" }

// canaryItem is a canary's item beside those of its map.
func canaryItem(rule CanaryRule, promoted uint32) []byte {
	b := binary.BigEndian.AppendUint16([]byte{'c'}, uint16(rule.Share))
	b = binary.BigEndian.AppendUint32(b, promoted)
	for _, edge := range rule.Edges {
		b = append(b, byte(len(edge))) //nolint:gosec // checkEdge bounds it
		b = append(b, edge...)
	}
	return b
}

// Encode returns can as chunks: one for the rule, and those of the map.
func (c CanaryCodec) Encode(can *Canary) ([][]byte, error) {
	if can == nil {
		return nil, errors.New("encode canary: none")
	}
	if can.m == nil {
		return [][]byte{c.block(canaryBaseMagic, can, contentNone)}, nil
	}
	chunks, err := c.maps().Encode(can.m)
	if err != nil {
		return nil, err
	}
	return append([][]byte{c.block(canaryBaseMagic, can, contentFollow)}, chunks...), nil
}

func (c CanaryCodec) block(magic [4]byte, can *Canary, content byte) []byte {
	w := frame.NewWriter(magic)
	w.Entry(entryHeader, append(binary.AppendUvarint(nil, uint64(can.serial)), c.Name...))
	w.Entry(entryRule, canaryItem(can.rule, can.promoted)[1:])
	w.Entry(entryContent, []byte{content})
	return w.Bytes()
}

// Decode reads what Encode wrote and refuses anything else. It compiles the map.
func (c CanaryCodec) Decode(chunks [][]byte) (*Canary, error) {
	fail := func(err error) (*Canary, error) { return nil, fmt.Errorf("decode canary of map %s: %w", c.Name, err) }
	if len(chunks) == 0 {
		return fail(errors.New("no chunks"))
	}
	head, content, err := c.readBlock(canaryBaseMagic, chunks[0])
	if err != nil {
		return fail(err)
	}
	if content == contentSame || (content == contentFollow) != (len(chunks) > 1) {
		return fail(fmt.Errorf("content %d with %d chunks", content, len(chunks)))
	}
	var m *Map
	if content == contentFollow {
		if m, err = c.maps().Decode(chunks[1:]); err != nil {
			return fail(err)
		}
	}
	can, err := head.with(m)
	if err != nil {
		return fail(err)
	}
	return can, nil
}

// with returns the canary that was read, with its map.
func (c *Canary) with(m *Map) (*Canary, error) {
	if (m == nil) != c.rule.none() || m != nil && (c.promoted != 0 || m.serial != c.serial) {
		return nil, errors.New("rule and map don't belong together")
	}
	next := newCanary(m, c.rule, c.promoted)
	next.serial = c.serial
	return next, nil
}

// Diff returns what turns old, which may be nil, into new, or nil if only the serial differs.
func (c CanaryCodec) Diff(old, new *Canary) ([]byte, error) {
	if new == nil {
		return nil, errors.New("diff canary: no new one")
	}
	content := byte(contentNone)
	var delta []byte
	if new.m != nil {
		content = contentSame
		var err error
		if delta, err = c.maps().Diff(old.Map(), new.m); err != nil {
			return nil, err
		}
		if delta != nil {
			content = contentFollow
		}
	}
	if old != nil && old.sum == new.sum {
		return nil, nil
	}
	block := c.block(canaryDeltaMagic, new, content)
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(block))), block...), delta...), nil //nolint:gosec // a few KiB
}

// Apply returns can, which may be nil, changed by delta and with the delta's serial. can stays as it is.
func (c CanaryCodec) Apply(can *Canary, delta []byte) (*Canary, error) {
	if len(delta) == 0 && can != nil {
		return can, nil
	}
	next, err := c.apply(can, delta)
	if err != nil {
		return nil, fmt.Errorf("apply to the canary of map %s: %w", c.Name, err)
	}
	return next, nil
}

func (c CanaryCodec) apply(can *Canary, delta []byte) (*Canary, error) {
	if len(delta) < 4 {
		return nil, errors.New("delta is cut off")
	}
	size := binary.BigEndian.Uint32(delta)
	if uint64(size) > uint64(len(delta)-4) { //nolint:gosec // not negative
		return nil, fmt.Errorf("block of %d bytes in a delta of %d", size, len(delta))
	}
	n := 4 + int(size)
	head, content, err := c.readBlock(canaryDeltaMagic, delta[4:n])
	if err != nil {
		return nil, err
	}
	if (content == contentFollow) != (n < len(delta)) {
		return nil, fmt.Errorf("content %d with %d bytes", content, len(delta)-n)
	}
	m := can.Map()
	switch content {
	case contentNone:
		m = nil
	case contentSame:
		if m == nil {
			return nil, errors.New("keeps a map that is not there")
		}
	default:
		if m, err = c.maps().Apply(m, delta[n:]); err != nil {
			return nil, err
		}
	}
	return head.with(c.maps().WithSerial(m, head.serial))
}

// readBlock reads a canary but for its map, and what of that follows.
func (c CanaryCodec) readBlock(magic [4]byte, block []byte) (head *Canary, content byte, err error) {
	b, err := frame.Open(magic, block)
	if err != nil {
		return nil, 0, err
	}
	var bodies [3][]byte
	for i, want := range [...]byte{entryHeader, entryRule, entryContent} {
		kind, body, ok := b.Next()
		if !ok || kind != want {
			return nil, 0, errors.Join(fmt.Errorf("no entry %q where it is due", want), b.Err())
		}
		bodies[i] = body
	}
	if _, _, more := b.Next(); more || b.Err() != nil {
		return nil, 0, errors.Join(errors.New("more entries than are due"), b.Err())
	}
	serial, n := binary.Uvarint(bodies[0])
	if n <= 0 || serial > 1<<32-1 || string(bodies[0][n:]) != c.Name {
		return nil, 0, fmt.Errorf("header of map %.63q, serial %d", bodies[0][max(n, 0):], serial)
	}
	if len(bodies[2]) != 1 || bodies[2][0] > contentFollow {
		return nil, 0, fmt.Errorf("unknown content % x", bodies[2])
	}
	head = &Canary{serial: uint32(serial)}
	head.rule, head.promoted, err = readCanaryItem(bodies[1])
	return head, bodies[2][0], err
}

// readCanaryItem reads what canaryItem wrote behind its first octet.
func readCanaryItem(b []byte) (rule CanaryRule, promoted uint32, err error) {
	if len(b) < 6 {
		return rule, 0, fmt.Errorf("rule of %d bytes", len(b))
	}
	rule.Share, promoted = Share(binary.BigEndian.Uint16(b)), binary.BigEndian.Uint32(b[2:])
	for b = b[6:]; len(b) > 0; {
		if len(b) < 1+int(b[0]) || len(rule.Edges) == MaxCanaryEdges {
			return rule, 0, fmt.Errorf("malformed edge %d", len(rule.Edges))
		}
		rule.Edges = append(rule.Edges, string(b[1:1+b[0]]))
		b = b[1+int(b[0]):]
	}
	return rule, promoted, rule.check()
}

// Sum returns the sum of the canary's items and their number: the map's, and the rule. A nil canary has none.
func (c CanaryCodec) Sum(can *Canary) (sum setsum.Sum, items int) {
	if can == nil {
		return setsum.Sum{}, 0
	}
	_, items = c.maps().Sum(can.m)
	return can.sum, items + 1
}

// WithSerial returns the same canary with another version number, sharing everything.
func (c CanaryCodec) WithSerial(can *Canary, serial uint32) *Canary {
	if can == nil {
		return nil
	}
	next := *can
	next.serial = serial
	next.m = c.maps().WithSerial(can.m, serial)
	return &next
}

// Serial returns the canary's version number, 0 for a nil one.
func (CanaryCodec) Serial(can *Canary) uint32 { return can.Serial() }

// Frozen returns false: the serial is ours to set.
func (CanaryCodec) Frozen(*Canary) bool { return false }
