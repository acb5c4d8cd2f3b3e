package zone

import (
	"fmt"
	"sync"
)

// part is the nodes of one chunk in stored form, without empty non-terminals and counts of children. Its room is used again for other chunks.
type part struct {
	reader blockReader
	buf    []byte
	off    int  // where the open node begins in buf
	nodes  int  // complete ones
	owner  Name // of the open node, a view into the chunk
	tally  tally
	err    error
}

// decodeBase lets go of each chunk when it is decoded.
func decodeBase(origin Name, chunks [][]byte, processors int) (*Snapshot, error) {
	if len(chunks) > maxChunks {
		return nil, fmt.Errorf("%d chunks, more than %d", len(chunks), maxChunks)
	}
	j := joining{origin: origin}
	var err error
	if processors > 1 {
		err = j.parallel(chunks, processors)
	} else {
		err = j.sequential(chunks)
	}
	if err == nil {
		err = j.check()
	}
	if err != nil {
		return nil, err
	}
	return newSnapshot(origin, j.w.image(processors), j.tally)
}

func (p *part) decode(chunk []byte) error {
	p.buf, p.nodes, p.owner = p.buf[:0], 0, ""
	p.tally = tally{item: p.tally.item}
	sink := blockSink{
		settings: func(owner Name, st Steering) error {
			if st == (Steering{}) {
				return errEntry
			}
			if p.owner != "" && p.owner.Compare(owner) >= 0 {
				return errOrder // settings come first
			}
			if err := p.begin(owner, st); err != nil {
				return err
			}
			p.tally.countSteering(owner, st, 1)
			return nil
		},
		set: func(s *RRset) error {
			if s.Owner != p.owner {
				if p.owner != "" && p.owner.Compare(s.Owner) > 0 {
					return errOrder // the last owner had settings alone
				}
				if err := p.begin(s.Owner, Steering{}); err != nil {
					return err
				}
			}
			from := len(p.buf)
			p.buf = appendSetTo(p.buf, p.off, s)
			p.tally.count(s.Owner, rrsets(frozen(p.buf[from:])), 1) // a view, gone after the call
			return nil
		},
	}
	if err := p.reader.readBlock(magicBase, chunk, sink); err != nil {
		return err
	}
	p.end()
	return nil
}

// begin opens a node. The one before is checked here unless it is the first, which may go on from the part before.
func (p *part) begin(owner Name, st Steering) error {
	p.end()
	if p.nodes > 1 {
		if err := checkNode(p.reader.origin, node(frozen(p.buf[p.off:]))); err != nil {
			return err
		}
	}
	p.owner, p.off = owner, len(p.buf)
	p.buf = appendNode(p.buf, owner, 0, st)
	return nil
}

func (p *part) end() {
	if p.owner != "" {
		closeNode(p.buf, p.off)
		p.nodes++
	}
}

// joining puts parts together: nodes must go on in canonical order from part to part, and only a part's last may be continued by the next. Those two
// are checked here, when they are complete.
type joining struct {
	origin Name
	w      imageWriter
	tally  tally
	size   int64

	at        int // where the last node begins, if it is not checked yet
	unchecked bool
}

func (j *joining) sequential(chunks [][]byte) error {
	p := part{reader: blockReader{origin: j.origin}}
	for i, chunk := range chunks {
		chunks[i] = nil
		p.err = p.decode(chunk)
		if err := j.take(i, &p); err != nil {
			return err
		}
	}
	return nil
}

// parallel decodes chunks on so many processors while the caller's goroutine joins, in order, those that are decoded. There are only a few parts, so
// that what a load takes beside the zone itself is little.
func (j *joining) parallel(chunks [][]byte, processors int) error {
	free := make(chan *part, 2*processors)
	for range cap(free) {
		free <- &part{reader: blockReader{origin: j.origin}}
	}
	next := make(chan int, len(chunks))
	done := make([]chan *part, len(chunks))
	for i := range done {
		done[i] = make(chan *part, 1)
		next <- i
	}
	close(next)
	var workers sync.WaitGroup
	for range processors {
		workers.Go(func() {
			for p := range free { // a part before a number, so that the lowest number has one
				i, ok := <-next
				if !ok {
					return
				}
				chunk := chunks[i]
				chunks[i] = nil
				p.err = p.decode(chunk)
				done[i] <- p
			}
		})
	}
	var err error
	for i := 0; i < len(done) && err == nil; i++ {
		p := <-done[i]
		if err = j.take(i, p); err == nil {
			free <- p
		}
	}
	for range next { // after an error no more are begun
	}
	close(free)
	workers.Wait()
	return err
}

func (j *joining) take(i int, p *part) error {
	err := p.err
	if err == nil {
		err = j.part(p)
	}
	if err != nil {
		return fmt.Errorf("chunk %d: %w", i, err)
	}
	return nil
}

func (j *joining) part(p *part) error {
	j.size += int64(len(p.buf))
	if j.size > maxZone || len(j.w.full) >= maxSegments-1 {
		return fmt.Errorf("the zone is larger than %d octets", int64(maxZone))
	}
	rest := frozen(p.buf)
	for i := range p.nodes {
		n := node(rest)
		n = n[:n.size()]
		rest = rest[len(n):]
		if i == 0 {
			if err := j.first(n); err != nil {
				return err
			}
			continue
		}
		if i == 1 {
			if err := j.check(); err != nil {
				return err
			}
		}
		j.add(n)
		j.unchecked = i == p.nodes-1
	}
	j.tally.merge(&p.tally)
	return nil
}

func (j *joining) add(n node) {
	j.at = j.w.begin(n.name())
	j.w.buf = append(j.w.buf, n...)
	j.w.end(j.at)
	j.unchecked = true
}

// first adds the first node of a part.
func (j *joining) first(n node) error {
	if len(j.w.open) == 0 {
		if n.name() != j.origin {
			return checkApex(j.origin, "")
		}
		j.add(n)
		return nil
	}
	c := j.w.open[len(j.w.open)-1].name.Compare(n.name())
	switch {
	case c > 0:
		return errOrder
	case c == 0:
		return j.extend(n)
	}
	if err := j.check(); err != nil {
		return err
	}
	j.add(n)
	return nil
}

// extend appends the RRsets of n to the last node, which is of the same name.
func (j *joining) extend(n node) error {
	end := j.w.last(j.at).sets()
	for s := end; s != ""; s = s.rest() {
		end = s
	}
	if n.has(flagSettings) || end != "" && compareSets(end, n.sets()) >= 0 { // end is "" where only the settings were in time
		return errOrder
	}
	j.w.buf = appendSets(j.w.buf, j.at, n.sets())
	j.w.end(j.at)
	j.unchecked = true
	return checkNode(j.origin, j.w.last(j.at)) // its size too, before it grows further
}

// check checks the last node, now complete.
func (j *joining) check() error {
	if !j.unchecked {
		return nil
	}
	j.unchecked = false
	return checkNode(j.origin, j.w.last(j.at))
}
