// Package frame packs length-prefixed entries into one checked, compressed block: the outer form of base chunks and deltas
// of every dataset kind.
//
//	magic[4] | version u8 | raw length u32 | CRC32C of the payload u32 | payload (one zstd frame)
//
// Numbers are big-endian. The payload unpacks to raw length bytes of entries, each
//
//	kind u8 | length uvarint | body
//
// The magic names what the entries are; their kinds and bodies are the codec's business. The CRC finds damage before
// anything is unpacked; that the right block was fetched is proved by the SHA-256 that the dataset layer keeps elsewhere.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// MaxRaw is the most bytes of entries that a block may hold, 16 MiB. Open refuses a block that claims more before it
// allocates anything, so a writer keeps Writer.Len below it.
const MaxRaw = 16 << 20

const (
	formatVersion = 1
	headerLen     = 4 + 1 + 4 + 4
)

// ErrCorrupt is wrapped by every error of Open and Reader.Err: the bytes are not a block of the wanted kind.
var ErrCorrupt = errors.New("corrupt block")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Both are safe for concurrent use through EncodeAll and DecodeAll and are made at first use: an edge never encodes, and
// an encoder's tables are megabytes.
var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithZeroFrames(true), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(err) // only an option out of range
		}
		return e
	})
	decoder = sync.OnceValue(func() *zstd.Decoder {
		// The cap limit makes DecodeAll stop at the length that the header promised, so a zstd bomb costs at most that.
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(MaxRaw), zstd.WithDecoderMaxWindow(MaxRaw), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic(err)
		}
		return d
	})
)

// Writer collects entries and frames them. It must not be used concurrently.
type Writer struct {
	magic [4]byte
	raw   []byte
}

// NewWriter returns a Writer of blocks that carry magic.
func NewWriter(magic [4]byte) *Writer {
	return &Writer{magic: magic}
}

// Entry appends one entry; body is copied.
func (w *Writer) Entry(kind byte, body []byte) {
	w.raw = append(w.raw, kind)
	w.raw = binary.AppendUvarint(w.raw, uint64(len(body)))
	w.raw = append(w.raw, body...)
}

// Len returns the bytes of the entries so far, before compression: what MaxRaw bounds.
func (w *Writer) Len() int {
	return len(w.raw)
}

// Bytes frames the entries so far and empties the Writer for the next block. It never fails, but Open refuses a block of
// more than MaxRaw bytes of entries.
func (w *Writer) Bytes() []byte {
	out := make([]byte, headerLen, headerLen+len(w.raw)/3+64)
	copy(out, w.magic[:])
	out[4] = formatVersion
	binary.BigEndian.PutUint32(out[5:], uint32(min(len(w.raw), 1<<32-1))) // clamped: Open refuses far less
	out = encoder().EncodeAll(w.raw, out)
	binary.BigEndian.PutUint32(out[9:], crc32.Checksum(out[headerLen:], castagnoli))
	w.raw = w.raw[:0]
	return slices.Clip(out)
}

// Reader walks the entries of a block.
type Reader struct {
	raw, rest []byte
	err       error
}

// Open checks b's header, magic and CRC, unpacks it and returns its entries. Its errors wrap ErrCorrupt. The Reader keeps
// nothing of b. Open may be called concurrently.
func Open(magic [4]byte, b []byte) (*Reader, error) {
	r := new(Reader)
	if err := r.Reset(magic, b); err != nil {
		return nil, err
	}
	return r, nil
}

// Reset makes r read another block, as Open would, in the room that the one before took: every body that r has handed out becomes invalid.
func (r *Reader) Reset(magic [4]byte, b []byte) error {
	raw, err := open(magic, b, r.raw)
	if err != nil {
		*r = Reader{raw: r.raw, err: fmt.Errorf("%w: %w", ErrCorrupt, err)}
		return r.err
	}
	*r = Reader{raw: raw, rest: raw}
	return nil
}

// open unpacks a block into room, or into a new buffer if it is too large for that.
func open(magic [4]byte, b, room []byte) ([]byte, error) {
	if len(b) < headerLen {
		return nil, fmt.Errorf("%d bytes, shorter than the header", len(b))
	}
	if [4]byte(b) != magic {
		return nil, fmt.Errorf("magic %q, want %q", b[:4], magic[:])
	}
	if b[4] != formatVersion {
		return nil, fmt.Errorf("format version %d, this program reads %d", b[4], formatVersion)
	}
	size := binary.BigEndian.Uint32(b[5:])
	if size > MaxRaw {
		return nil, fmt.Errorf("claims to unpack to %d bytes, more than %d", size, MaxRaw)
	}
	payload := b[headerLen:]
	if got, want := crc32.Checksum(payload, castagnoli), binary.BigEndian.Uint32(b[9:]); got != want {
		return nil, fmt.Errorf("crc32c %08x, want %08x", got, want)
	}
	if cap(room) < int(size) {
		room = make([]byte, size)
	}
	raw, err := decoder().DecodeAll(payload, room[:0:size])
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	if len(raw) != int(size) {
		return nil, fmt.Errorf("unpacks to %d bytes, want %d", len(raw), size)
	}
	return raw, nil
}

// Next returns the next entry, or ok=false at the end or at a malformed entry: look at Err after the last. The body
// aliases the Reader's own buffer, which only Reset writes to again, so it stays valid as long as anyone holds it; holding a
// small body holds the whole block.
func (r *Reader) Next() (kind byte, body []byte, ok bool) {
	if r.err != nil || len(r.rest) == 0 {
		return 0, nil, false
	}
	size, n := binary.Uvarint(r.rest[1:])
	if n <= 0 {
		r.err = fmt.Errorf("%w: entry length cut off or too long", ErrCorrupt)
		return 0, nil, false
	}
	body = r.rest[1+n:]
	if size > uint64(len(body)) {
		r.err = fmt.Errorf("%w: entry of %d bytes with %d left", ErrCorrupt, size, len(body))
		return 0, nil, false
	}
	kind = r.rest[0]
	r.rest = body[size:]
	return kind, body[:size:size], true
}

// Err returns what ended the entries: nil at a proper end, otherwise an error that wraps ErrCorrupt.
func (r *Reader) Err() error {
	return r.err
}
