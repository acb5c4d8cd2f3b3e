package steer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/popdns/popdns/internal/frame"
)

// Entries of a map's blocks. A base chunk and a part of a delta have the same form:
//
//	'H'  serial uvarint, part number uvarint, map name
//	'D'  default list                       (a base: in every chunk; a delta: if it changes)
//	'L'  a list, names joined by commas     (numbered from 1 in order; numbers hold within the block)
//	'R'  rows, in key order: planes and family u8, bits u8, ⌈bits/8⌉ address bytes, list number uvarint (0 = delete)
//	'E'  rows of all parts uvarint          (in the last part only)
//
// Every block lists what its own rows name, so that blocks can be decoded in parallel.
const (
	entryHeader  = 'H'
	entryDefault = 'D'
	entryList    = 'L'
	entryRows    = 'R'
	entryEnd     = 'E'
)

const (
	// partBytes bounds a block's entries before compression, so that it fits the store's largest chunk (512 KiB) even when
	// nothing compresses: the last rows and list may exceed it by under 20 KiB.
	partBytes    = 440 << 10
	rowsBytes    = 8 << 10 // rows per entry; an entry costs four bytes
	maxListBytes = MaxListLen * (MaxNameBytes + len("*65535,"))
	deleted      = Fallback // list of a row that a delta deletes
)

// planeBits says in which planes a row stands: bit 0 resolver, bit 1 ecs, bit 2 the family is IPv6.
const (
	bothPlanes = 1<<planes - 1
	familyBit  = 1 << planes
)

var errRow = errors.New("malformed row")

// partWriter cuts rows into blocks.
type partWriter struct {
	magic   [4]byte
	name    string
	serial  uint32
	initial string   // listKey of the default list, "" to leave it out
	keys    []string // listKey by ListID

	w      *frame.Writer
	local  map[ListID]uint64 // list numbers of the current part
	rows   []byte
	total  uint64
	blocks [][]byte
}

// write encodes sets, of which a row with the list `deleted` is a deletion, and returns the blocks: at least one.
func (p *partWriter) write(sets *[planes]rowSet) [][]byte {
	p.w = frame.NewWriter(p.magic)
	p.begin()
	for f := range families {
		mergePlanes(sets[Resolver][f], sets[ECS][f], func(r row, in byte) {
			if p.w.Len()+len(p.rows) > partBytes {
				p.end()
				p.begin()
			}
			p.add(f, r, in)
		})
	}
	p.flushRows()
	p.w.Entry(entryEnd, binary.AppendUvarint(nil, p.total))
	p.end()
	return p.blocks
}

func (p *partWriter) begin() {
	b := binary.AppendUvarint(nil, uint64(p.serial))
	b = binary.AppendUvarint(b, uint64(len(p.blocks)))
	p.w.Entry(entryHeader, append(b, p.name...))
	if p.initial != "" {
		p.w.Entry(entryDefault, []byte(p.initial))
	}
	p.local = make(map[ListID]uint64)
}

func (p *partWriter) end() {
	p.flushRows()
	p.blocks = append(p.blocks, p.w.Bytes())
}

func (p *partWriter) flushRows() {
	if len(p.rows) > 0 {
		p.w.Entry(entryRows, p.rows)
		p.rows = p.rows[:0]
	}
}

func (p *partWriter) add(f family, r row, in byte) {
	n := uint64(0)
	if r.list != deleted {
		var ok bool
		if n, ok = p.local[r.list]; !ok {
			n = uint64(len(p.local) + 1)
			p.local[r.list] = n
			p.w.Entry(entryList, []byte(p.keys[r.list]))
		}
	}
	p.total++
	p.rows = append(p.rows, in|byte(f)<<planes, r.bits)
	var a [16]byte
	binary.BigEndian.PutUint64(a[:8], r.hi)
	binary.BigEndian.PutUint64(a[8:], r.lo)
	p.rows = append(p.rows, a[:(r.bits+7)/8]...)
	p.rows = binary.AppendUvarint(p.rows, n)
	if len(p.rows) >= rowsBytes {
		p.flushRows()
	}
}

// mergePlanes walks both planes' rows in key order and yields a row that they share once.
func mergePlanes(resolver, ecs []row, yield func(r row, in byte)) {
	for len(resolver) > 0 || len(ecs) > 0 {
		var order int
		switch {
		case len(ecs) == 0:
			order = -1
		case len(resolver) == 0:
			order = 1
		default:
			order = resolver[0].compare(ecs[0].key)
		}
		switch {
		case order == 0 && resolver[0].list == ecs[0].list:
			yield(resolver[0], bothPlanes)
			resolver, ecs = resolver[1:], ecs[1:]
		case order <= 0:
			yield(resolver[0], 1<<Resolver)
			resolver = resolver[1:]
		default:
			yield(ecs[0], 1<<ECS)
			ecs = ecs[1:]
		}
	}
}

// part is one block decoded. Its rows' lists are positions in lists.
type part struct {
	name    string
	serial  uint32
	number  uint64
	initial []string // nil = not given
	lists   [][]string
	rows    [planes]rowSet
	total   uint64 // rows as written, a row of both planes counted once
	claimed uint64 // rows of all parts, if last
	last    bool
}

// readPart decodes one block and checks all that can be checked within it.
func readPart(magic [4]byte, block []byte) (*part, error) {
	r, err := frame.Open(magic, block)
	if err != nil {
		return nil, err
	}
	p := &part{}
	kind, body, ok := r.Next()
	if !ok || kind != entryHeader {
		return nil, errors.Join(errors.New("no header entry"), r.Err())
	}
	if err := p.readHeader(body); err != nil {
		return nil, err
	}
	for {
		kind, body, ok := r.Next()
		if !ok {
			break
		}
		if p.last {
			return nil, errors.New("entries after the end entry")
		}
		if err := p.readEntry(kind, body); err != nil {
			return nil, err
		}
	}
	return p, r.Err()
}

func (p *part) readHeader(body []byte) error {
	serial, n := binary.Uvarint(body)
	if n <= 0 || serial > 1<<32-1 {
		return errors.New("malformed serial")
	}
	number, k := binary.Uvarint(body[n:])
	if k <= 0 {
		return errors.New("malformed part number")
	}
	p.serial, p.number, p.name = uint32(serial), number, string(body[n+k:])
	return nil
}

func (p *part) readEntry(kind byte, body []byte) error {
	switch kind {
	case entryDefault:
		if p.initial != nil {
			return errors.New("two default lists")
		}
		list, err := readList(body)
		p.initial = list
		return err
	case entryList:
		if len(p.lists) >= MaxLists {
			return fmt.Errorf("lists: %w", ErrTooLarge)
		}
		list, err := readList(body)
		p.lists = append(p.lists, list)
		return err
	case entryRows:
		return p.readRows(body)
	case entryEnd:
		claimed, n := binary.Uvarint(body)
		if n <= 0 || n != len(body) {
			return errors.New("malformed end entry")
		}
		p.claimed, p.last = claimed, true
		return nil
	}
	return fmt.Errorf("unknown entry kind %q", kind)
}

func readList(body []byte) ([]string, error) {
	if len(body) > maxListBytes {
		return nil, fmt.Errorf("list of %d bytes: %w", len(body), ErrTooLarge)
	}
	list := strings.Split(string(body), ",")
	if err := CheckList(list); err != nil {
		return nil, err
	}
	return list, nil
}

func (p *part) readRows(body []byte) error {
	for len(body) > 0 {
		f, k, in, rest, err := readKey(body)
		if err != nil {
			return err
		}
		n, used := binary.Uvarint(rest)
		if used <= 0 || n > uint64(len(p.lists)) {
			return fmt.Errorf("%w: list number of %s", errRow, k.prefix(f))
		}
		body = rest[used:]
		list := deleted
		if n > 0 {
			list = ListID(n - 1) //nolint:gosec // at most len(p.lists)
		}
		p.total++
		for plane := range planes {
			if in>>plane&1 == 0 {
				continue
			}
			rows := p.rows[plane][f]
			if len(rows) > 0 && rows[len(rows)-1].compare(k) >= 0 {
				return fmt.Errorf("%w: %s is out of order", errRow, k.prefix(f))
			}
			p.rows[plane][f] = append(rows, row{k, list})
		}
	}
	return nil
}

// readKey reads a row up to its list number.
func readKey(b []byte) (f family, k key, in byte, rest []byte, err error) {
	if len(b) < 2 || b[0]&bothPlanes == 0 || b[0] >= familyBit<<1 {
		return 0, k, 0, nil, fmt.Errorf("%w: planes", errRow)
	}
	in, f, k.bits = b[0]&bothPlanes, family(b[0]>>planes), b[1]
	n := (int(k.bits) + 7) / 8
	if int(k.bits) > f.width() || len(b) < 2+n {
		return 0, k, 0, nil, fmt.Errorf("%w: address", errRow)
	}
	var a [16]byte
	copy(a[:], b[2:2+n])
	k.hi, k.lo = binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
	if again, masked := keyOf(k.prefix(f).Masked()); masked != k || again != f {
		return 0, k, 0, nil, fmt.Errorf("%w: %s is not canonical", errRow, k.prefix(f))
	}
	return f, k, in, b[2+n:], nil
}
