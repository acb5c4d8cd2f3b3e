package zone

import (
	"fmt"
	"sync/atomic"
)

// part is the nodes of one chunk in stored form, without empty non-terminals and counts of children.
type part struct {
	buf   []byte
	off   int  // where the open node begins in buf
	owner Name // of the open node
	tally tally
}

func decodeBase(origin Name, chunks [][]byte) (*Snapshot, error) {
	if len(chunks) > maxChunks {
		return nil, fmt.Errorf("%d chunks, more than %d", len(chunks), maxChunks)
	}
	parts := make([]part, len(chunks))
	var total atomic.Int64
	err := inParallel(len(chunks), func(i int) error {
		if err := parts[i].decode(origin, chunks[i]); err != nil {
			return fmt.Errorf("chunk %d: %w", i, err)
		}
		if total.Add(int64(len(parts[i].buf))) > maxZone {
			return fmt.Errorf("chunk %d: the zone is larger than %d octets", i, int64(maxZone))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return joinParts(origin, parts, int(total.Load()))
}

func (p *part) decode(origin Name, chunk []byte) error {
	sink := blockSink{
		settings: func(owner Name, st Steering) error {
			if st == (Steering{}) {
				return errEntry
			}
			if owner == p.owner {
				return errOrder // settings come first
			}
			p.begin(owner, st)
			p.tally.countSteering(owner, st, 1)
			return nil
		},
		set: func(s *RRset) error {
			if s.Owner != p.owner {
				p.begin(s.Owner, Steering{})
			}
			from := len(p.buf)
			p.buf = appendSetTo(p.buf, p.off, s)
			p.tally.count(s.Owner, rrsets(frozen(p.buf[from:])), 1) // a view, gone after the call
			return nil
		},
	}
	if _, err := readBlock(magicBase, origin, chunk, sink); err != nil {
		return err
	}
	p.end()
	return nil
}

func (p *part) begin(owner Name, st Steering) {
	p.end()
	p.owner, p.off = owner, len(p.buf)
	p.buf = appendNode(p.buf, owner, 0, st)
}

func (p *part) end() {
	if p.owner != "" {
		closeNode(p.buf, p.off)
	}
}

// joinParts makes the snapshot: nodes must go on in canonical order from part to part, and only a part's last may be continued by the next.
func joinParts(origin Name, parts []part, size int) (*Snapshot, error) {
	j := joining{origin: origin, w: imageWriter{buf: make([]byte, 0, size+size/16)}}
	var t tally
	for i := range parts {
		nodes := frozen(parts[i].buf)
		for nodes != "" {
			n := node(nodes[:u32(nodes, 0)])
			nodes = nodes[len(n):]
			if err := j.add(n); err != nil {
				return nil, fmt.Errorf("chunk %d: %w", i, err)
			}
		}
		t.merge(&parts[i].tally)
		parts[i] = part{}
	}
	if err := j.check(); err != nil {
		return nil, err
	}
	return newSnapshot(origin, j.w.image(), t)
}

// joining feeds an image writer and holds back the check of the last node, which the next part may continue.
type joining struct {
	origin Name
	w      imageWriter
	last   Name
	off    int
}

func (j *joining) add(n node) error {
	switch c := j.last.Compare(n.name()); {
	case j.last == "" && n.name() != j.origin:
		return checkApex(j.origin, "")
	case j.last != "" && c > 0:
		return errOrder
	case j.last != "" && c == 0:
		return j.extend(n)
	}
	if err := j.check(); err != nil {
		return err
	}
	j.last = n.name()
	j.off = j.w.begin(n.name())
	j.w.buf = append(j.w.buf, n...)
	j.w.end(j.off)
	return nil
}

// extend appends the RRsets of n to the last node, which is of the same name.
func (j *joining) extend(n node) error {
	last := node(frozen(j.w.buf[j.off:])) // a view, not used after the append
	end := last.sets()
	for s := end; s != ""; s = s.rest() {
		end = s
	}
	if n.has(flagSettings) || end != "" && compareSets(end, n.sets()) >= 0 { // end is "" where only the settings were in time
		return errOrder
	}
	j.w.buf = appendSets(j.w.buf, j.off, n.sets())
	j.w.end(j.off)
	return j.check() // its size too, before it grows further
}

// check checks the last node, now complete.
func (j *joining) check() error {
	if j.last == "" {
		return nil
	}
	return checkNode(j.origin, node(frozen(j.w.buf[j.off:])))
}
