// Package xfr makes outgoing zone transfers: what a secondary is sent, whole (AXFR, RFC 5936) or as differences (IXFR, RFC 1995).
//
// A [Journal] keeps the newest version of a zone and its recent differences; [Journal.Transfer] captures what one secondary is to get, and
// [Transfer.Batches] makes the records. Everything is in the exported view of package zone, in which steered names are one RRset per type.
package xfr

import (
	"iter"
	"sync"

	"github.com/popdns/popdns/internal/zone"
)

// Bounds of what a Journal keeps beside the newest version. It never keeps more octets than the zone itself has either: an IXFR of that
// size would be sent as an AXFR.
const (
	// MaxDifferences is how many versions back a secondary may be: hours at a change a second, and four seconds at the thousand a second that a
	// zone can take, within which a secondary that was sent a NOTIFY has asked many times.
	MaxDifferences = 4096
	// MaxOctets is what all differences of one zone may take in memory: a change of every record of a zone of 200,000, or 4,096 changes
	// of 100 records each.
	MaxOctets = 16 << 20
)

// A Journal is the recent history of a zone's exported view. The zero value is empty. Its methods may be called concurrently.
type Journal struct {
	advancing sync.Mutex // held over Advance, which is the only writer

	mu          sync.Mutex
	head        *zone.Snapshot
	octets      int // of head's export
	differences []difference
	kept        int // octets of all differences
}

// A difference is what leads from one version of the export to the next, in one piece of memory that holds no pointers and keeps no snapshot alive.
type difference struct {
	from, to uint32
	// wire is the difference sequence of RFC 1995 4 as uncompressed records: the old SOA, what goes, the new SOA, what comes.
	wire []byte
}

// Advance makes next the newest version and keeps the differences that lead to it: one for each of the versions passed on the way, in order, and one
// for next itself. passed may be nil. A snapshot that is not newer (RFC 1982) than the newest one is ignored, which Advance reports with
// false. It costs what differs, or the size of the zone where nothing is shared, and holds up no Transfer.
func (j *Journal) Advance(next *zone.Snapshot, passed iter.Seq[*zone.Snapshot]) bool {
	j.advancing.Lock()
	defer j.advancing.Unlock()
	head, octets := j.head, j.octets // nobody else writes them
	if head != nil && !zone.SerialNewer(next.Serial(), head.Serial()) {
		return false
	}
	var differences []difference
	step := func(to *zone.Snapshot) {
		d, grown := differ(head, to)
		differences, octets, head = append(differences, d), octets+grown, to
	}
	if head == nil {
		octets = next.ExportOctets()
	} else {
		for s := range newerBetween(head, next, passed) {
			step(s)
		}
		step(next)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.head, j.octets = next, octets
	for _, d := range differences {
		j.differences = append(j.differences, d)
		j.kept += len(d.wire)
	}
	j.trim()
	return true
}

// newerBetween yields those of passed, which may be nil, that are newer than from and older than to.
func newerBetween(from, to *zone.Snapshot, passed iter.Seq[*zone.Snapshot]) iter.Seq[*zone.Snapshot] {
	return func(yield func(*zone.Snapshot) bool) {
		if passed == nil {
			return
		}
		last := from.Serial()
		for s := range passed {
			if !zone.SerialNewer(s.Serial(), last) || !zone.SerialNewer(to.Serial(), s.Serial()) {
				continue
			}
			if last = s.Serial(); !yield(s) {
				return
			}
		}
	}
}

// trim drops the oldest differences until what is left is within the bounds.
func (j *Journal) trim() {
	drop := 0
	for len(j.differences)-drop > MaxDifferences || j.kept > min(MaxOctets, j.octets) {
		j.kept -= len(j.differences[drop].wire)
		drop++
	}
	clear(j.differences[:drop])
	j.differences = j.differences[drop:]
}

// differ gives the difference between two versions and by how many octets the zone grows with it.
func differ(old, next *zone.Snapshot) (d difference, grown int) {
	gone, come := zone.ExportDiff(old, next)
	d = difference{from: old.Serial(), to: next.Serial()}
	// The serials differ, so both begin with a SOA: it comes first in the export.
	var wire []byte
	for _, set := range gone {
		wire = set.AppendWire(wire)
	}
	removed := len(wire)
	for _, set := range come {
		wire = set.AppendWire(wire)
	}
	d.wire = append(make([]byte, 0, len(wire)), wire...)
	return d, len(wire) - 2*removed
}
