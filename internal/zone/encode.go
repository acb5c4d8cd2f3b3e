package zone

import (
	"encoding/binary"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/popdns/popdns/internal/frame"
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

func encodeBase(s *Snapshot) ([][]byte, error) {
	var runs [][]unit
	raw := chunkRaw
	add := func(u unit) {
		if raw += u.rawSize(); raw > chunkRaw {
			runs, raw = append(runs, nil), u.rawSize()
		}
		runs[len(runs)-1] = append(runs[len(runs)-1], u)
	}
	for n := range s.nodes {
		if n.has(flagSettings) {
			add(unit{n, ""})
		}
		for sets := n.sets(); sets != ""; sets = sets.rest() {
			add(unit{n, sets.first()})
		}
	}
	encoded := make([][][]byte, len(runs))
	err := inParallel(len(runs), func(i int) (err error) {
		encoded[i], err = encodeRun(s.origin, runs[i])
		return err
	})
	return slices.Concat(encoded...), err
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

// inParallel calls fn for 0 to n-1 on all processors, waits, and gives the error of the lowest number. After an error no more calls begin.
func inParallel(n int, fn func(i int) error) error {
	var (
		wg     sync.WaitGroup
		next   atomic.Int64
		failed atomic.Bool
		errs   = make([]error, n)
	)
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !failed.Load(); i = int(next.Add(1)) - 1 {
				if errs[i] = fn(i); errs[i] != nil {
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
