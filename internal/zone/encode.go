package zone

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/popdns/popdns/internal/frame"
	"github.com/popdns/popdns/internal/tightheap"
)

// unit is what never straddles two chunks: an RRset variant, or an owner's settings where set is "".
type unit struct {
	node node
	set  rrsets
}

// rawSize is about what the unit takes in a chunk before compression.
func (u unit) rawSize() int {
	if u.set == "" {
		return 64
	}
	return u.set.count()*(int(u.node[9])+24) + u.set.size()
}

// encodeBase encodes runs of units on so many processors while it collects the next.
func encodeBase(s *Snapshot, processors int) ([][]byte, error) {
	defer tightheap.Begin(int64(s.image.octets()))()
	e := baseEncoder{origin: s.origin}
	if processors > 1 {
		e.start(processors)
	}
	var run []unit
	raw := 0
	add := func(u unit) {
		if size := u.rawSize(); raw > 0 && raw+size > chunkRaw {
			run, raw = e.run(run), size
		} else {
			raw += size
		}
		run = append(run, u)
	}
	for n := range s.nodes {
		if n.has(flagSettings) {
			add(unit{n, ""})
		}
		for sets := n.sets(); sets != ""; sets = sets.rest() {
			add(unit{n, sets.first()})
		}
	}
	e.run(run)
	return e.wait()
}

// baseEncoder collects the chunks of runs, in order, and the first run's error.
type baseEncoder struct {
	origin  Name
	runs    chan func() // unbuffered, so that few runs are in memory; nil to encode them at once
	workers sync.WaitGroup
	chunks  []*runChunks
}

type runChunks struct {
	chunks [][]byte
	err    error
}

func (e *baseEncoder) start(workers int) {
	e.runs = make(chan func())
	for range workers {
		e.workers.Go(func() {
			for encode := range e.runs {
				encode()
			}
		})
	}
}

// run has a run encoded and gives room for the next.
func (e *baseEncoder) run(units []unit) (room []unit) {
	out := &runChunks{}
	e.chunks = append(e.chunks, out)
	encode := func() { out.chunks, out.err = encodeRun(e.origin, units) }
	if e.runs == nil {
		encode()
		return units[:0]
	}
	e.runs <- encode
	return make([]unit, 0, len(units))
}

func (e *baseEncoder) wait() ([][]byte, error) {
	if e.runs != nil {
		close(e.runs)
		e.workers.Wait()
	}
	var all [][]byte
	for _, c := range e.chunks {
		if c.err != nil {
			return nil, c.err
		}
		all = append(all, c.chunks...)
	}
	return all, nil
}

// encodeRun makes a chunk of the units, or more of them if they hardly compress (keys, signatures).
func encodeRun(origin Name, units []unit) ([][]byte, error) {
	w := newBlockWriter(magicBase, origin)
	for _, u := range units {
		if u.set == "" {
			w.settings(u.node.name(), u.node.steering())
		} else {
			w.set(u.node.name(), u.set)
		}
	}
	if w.Len() <= frame.MaxRaw {
		if b := w.Bytes(); len(b) <= maxChunk {
			return [][]byte{b}, nil
		}
	}
	if len(units) == 1 {
		return nil, &Error{units[0].node.name(), units[0].set.typ(), fmt.Sprintf("does not fit in a chunk of %d octets", maxChunk)}
	}
	first, err := encodeRun(origin, units[:len(units)/2])
	if err != nil {
		return nil, err
	}
	second, err := encodeRun(origin, units[len(units)/2:])
	return append(first, second...), err
}

// encodeDelta makes one or more blocks, each with its length as u32 in front, so that no delta is too large for a frame.
func encodeDelta(origin Name, d Delta) []byte {
	e := deltaEncoder{blockWriter: newBlockWriter(magicDelta, origin), origin: origin}
	slices.SortFunc(d.Delete, compareKeys)
	for _, k := range d.Delete {
		e.remove(k)
		e.flush(chunkRaw)
	}
	slices.SortFunc(d.Put, func(a, b RRset) int { return compareKeys(a.Key(), b.Key()) })
	var stored []byte
	for i := range d.Put {
		stored = appendSet(stored[:0], &d.Put[i])
		e.set(d.Put[i].Owner, rrsets(stored))
		e.flush(chunkRaw)
	}
	for _, owner := range slices.SortedFunc(maps.Keys(d.Steer), Name.Compare) {
		e.settings(owner, d.Steer[owner])
		e.flush(chunkRaw)
	}
	e.flush(0)
	return e.out
}

type deltaEncoder struct {
	*blockWriter
	origin Name
	out    []byte
}

// flush ends a block that has more than raw octets.
func (e *deltaEncoder) flush(raw int) {
	if e.Len() <= raw {
		return
	}
	block := e.Bytes()
	e.out = binary.BigEndian.AppendUint32(e.out, uint32(len(block))) //nolint:gosec // a megabyte and one RRset at most
	e.out = append(e.out, block...)
	if raw > 0 {
		e.blockWriter = newBlockWriter(magicDelta, e.origin)
	}
}
