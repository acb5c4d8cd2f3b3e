package xfr

import (
	"fmt"
	"iter"
	"slices"

	"github.com/popdns/popdns/internal/zone"

	"github.com/miekg/dns"
)

// Kind says what a secondary is sent.
type Kind uint8

// What a secondary is sent.
const (
	Full        Kind = iota // AXFR was asked for: the whole zone
	Fallback                // IXFR was asked for, and the whole zone is sent
	Incremental             // IXFR: the differences since the secondary's serial
	Current                 // IXFR: the SOA alone, the secondary is up to date
)

// String names the kind as a metric's label does.
func (k Kind) String() string {
	if names := [...]string{"axfr", "fallback", "ixfr", "current"}; int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// A Transfer is what one secondary is sent, fixed at the moment it was made: later versions don't touch it.
type Transfer struct {
	Kind        Kind
	head        *zone.Snapshot
	differences []difference
}

// Whole is the AXFR of a version.
func Whole(head *zone.Snapshot) Transfer { return Transfer{Kind: Full, head: head} }

// Serial is that of the version the secondary has after it.
func (t Transfer) Serial() uint32 { return t.head.Serial() }

// Transfer captures what a secondary with the given serial is to get, or one that asks for AXFR, which is serial 0. false means that
// there is no version yet.
//
// A secondary whose serial is not older (RFC 1982) gets the SOA alone (RFC 1995 2). One whose serial is no longer kept, or that would get more
// octets by differences, gets the whole zone (RFC 1995 4).
func (j *Journal) Transfer(serial uint32) (Transfer, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.head == nil {
		return Transfer{}, false
	}
	t := Transfer{Kind: Fallback, head: j.head}
	newest := j.head.Serial()
	switch {
	case serial == 0:
		t.Kind = Full
	case serial == newest || zone.SerialNewer(serial, newest):
		t.Kind = Current
	default:
		if since := j.since(serial); since != nil {
			t.Kind, t.differences = Incremental, slices.Clone(since)
		}
	}
	return t, true
}

// since is the differences that lead from the serial to the newest version, nil if they are not kept or larger than the zone.
func (j *Journal) since(serial uint32) []difference {
	octets := 0
	for i, d := range slices.Backward(j.differences) {
		// The SOA around the differences is around an AXFR too.
		if octets += len(d.wire); octets > j.octets {
			return nil
		}
		if d.from == serial {
			return j.differences[i:]
		}
	}
	return nil
}

// batchRecords is how many records are made at a time: some 16 KiB, a quarter of a message.
const batchRecords = 256

// Batches yields the transfer's records in their order, the SOA first and, unless it is alone, last. The slices are the consumer's to keep. An error
// is the last thing yielded; the transfer is incomplete then, and the secondary must not get the closing SOA.
func (t Transfer) Batches() iter.Seq2[[]dns.RR, error] {
	return func(yield func([]dns.RR, error) bool) {
		b := batcher{yield: yield}
		if err := t.emit(&b); err != nil {
			yield(nil, fmt.Errorf("transfer %s serial %d: %w", t.head.Origin(), t.Serial(), err))
			return
		}
		b.flush()
	}
}

func (t Transfer) emit(b *batcher) error {
	apex, _ := t.head.Get(zone.Key{Owner: t.head.Origin(), Type: dns.TypeSOA}) // every zone has one
	soa, err := apex.RRs()
	if err != nil {
		return err
	}
	switch t.Kind {
	case Current:
		b.add(soa...)
		return nil
	case Incremental:
		b.add(soa...)
		err = t.emitDifferences(b)
	default: // the export begins with the SOA
		err = t.emitZone(b)
	}
	if err != nil {
		return err
	}
	b.add(dns.Copy(soa[0]))
	return nil
}

func (t Transfer) emitZone(b *batcher) error {
	for set := range t.head.Export() {
		rrs, err := set.RRs()
		if err != nil {
			return err
		}
		if !b.add(rrs...) {
			return nil
		}
	}
	return nil
}

func (t Transfer) emitDifferences(b *batcher) error {
	for _, d := range t.differences {
		for off := 0; off < len(d.wire); {
			rr, next, err := dns.UnpackRR(d.wire, off)
			if err != nil {
				return fmt.Errorf("difference %d to %d at octet %d: %w", d.from, d.to, off, err)
			}
			if off = next; !b.add(rr) {
				return nil
			}
		}
	}
	return nil
}

// batcher collects records and passes them on.
type batcher struct {
	yield func([]dns.RR, error) bool
	batch []dns.RR
	ended bool // the consumer wants no more
}

// add tells whether to go on.
func (b *batcher) add(rrs ...dns.RR) bool {
	b.batch = append(b.batch, rrs...)
	if len(b.batch) >= batchRecords {
		b.flush()
	}
	return !b.ended
}

func (b *batcher) flush() {
	if !b.ended && len(b.batch) > 0 {
		b.ended = !b.yield(b.batch, nil)
	}
	b.batch = nil
}
