package zone

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/miekg/dns"
)

// Changes tells what a version changed, counted in variants.
type Changes struct {
	Added, Deleted, Changed int
	Settings                int   // owners with other steering settings
	Examples                []Key // some of the variants, as many as were asked for
}

// Changes counts what differs between old and new, which deltas lead to one after the other; what changed there and back does not count, nor
// does a SOA in which only the serial differs. It costs as much as the deltas: neither zone is read but at their names. Measured: 7 µs for a record in
// a zone of a million, where applying its delta takes 30 µs (BenchmarkChangesOfOneRecord, BenchmarkApplyOneRecord, two busy cores).
func (c Codec) Changes(old, new *Snapshot, deltas iter.Seq[[]byte], examples int) (Changes, error) {
	var out Changes
	seen := map[Key]struct{}{}
	steered := map[Name]struct{}{}
	count := func(k Key) {
		if _, again := seen[k]; again {
			return
		}
		seen[k] = struct{}{}
		was, is := old.variant(k), new.variant(k)
		switch {
		case was == is, k.Type == dns.TypeSOA && sameButSerial(old, new):
			return
		case was == "":
			out.Added++
		case is == "":
			out.Deleted++
		default:
			out.Changed++
		}
		if len(out.Examples) < examples {
			out.Examples = append(out.Examples, k)
		}
	}
	for b := range deltas {
		d, err := decodeDelta(c.Origin, b)
		if err != nil {
			return Changes{}, fmt.Errorf("changes of zone %s: %w", c.Origin, err)
		}
		for _, k := range d.Delete {
			count(k)
		}
		for i := range d.Put {
			count(d.Put[i].Key())
		}
		for owner := range d.Steer {
			if _, again := steered[owner]; !again && old.Steering(owner) != new.Steering(owner) {
				out.Settings++
			}
			steered[owner] = struct{}{}
		}
	}
	return out, nil
}

// variant is the stored form of a variant, "" if there is none.
func (s *Snapshot) variant(k Key) rrsets {
	n := s.lookup(k.Owner)
	if n == "" {
		return ""
	}
	return n.sets().ofType(k.Type).variant(k.PoP)
}

// sameButSerial tells whether the SOAs differ in nothing but the serial.
func sameButSerial(old, new *Snapshot) bool {
	was, is := old.withoutSerial(), new.withoutSerial()
	return was.TTL == is.TTL && bytes.Equal(was.Rdata[0].Wire, is.Rdata[0].Wire)
}

// withoutSerial is a copy of the SOA with the serial 0. Every zone has one.
func (s *Snapshot) withoutSerial() RRset {
	soa := s.apex.sets().ofType(dns.TypeSOA).rrset(s.origin)
	wire := soa.Rdata[0].Wire
	binary.BigEndian.PutUint32(wire[len(wire)-20:], 0)
	return soa
}
