package zone

import (
	"bytes"
	"encoding/binary"
	"iter"
	"slices"

	"github.com/miekg/dns"
)

// Export yields the zone as a server that knows no steering holds it, which is what a transfer carries: one RRset for each owner and type in the
// order of RRsets, without PoP and weights. It copies rdata.
//
// Variants become their union at the lowest of their TTLs (an RRset has one, RFC 2181 5.2), as for a server that loads the zone file.
// Two kinds of RRset have no union and are exported as one variant, the default one, otherwise the first: a CNAME is alone
// at its owner (RFC 1034 3.6.2), and a signature holds for the variant that was signed and for no union with others (RFC 4035 5.3.2).
func (s *Snapshot) Export() iter.Seq[RRset] {
	return func(yield func(RRset) bool) {
		for n := range s.nodes {
			if !n.export(yield) {
				return
			}
		}
	}
}

// ExportOctets is the size of all exported records in wire form, uncompressed.
func (s *Snapshot) ExportOctets() int {
	total := 0
	for n := range s.nodes {
		if n.has(flagTagged) {
			n.export(func(set RRset) bool {
				total += len(set.AppendWire(nil))
				return true
			})
			continue
		}
		header := len(n.name()) + wireHeader
		for sets := n.sets(); sets != ""; sets = sets.rest() {
			for rd := range sets.each {
				total += header + len(rd.Wire)
			}
		}
	}
	return total
}

// ExportDiff gives the records by which two exported zones differ, as RRsets in the order of Export: those that only old has, and those that only new has. A
// record whose TTL differs is in both. It costs what Diff costs. Both must be of the same origin; a nil old is a zone without records.
func ExportDiff(old, new *Snapshot) (gone, come []RRset) {
	eachChange(old, new, func(o, n node) {
		if o == n {
			return
		}
		was, is := o.exported(), n.exported()
		for len(was) > 0 || len(is) > 0 {
			switch {
			case len(is) == 0 || len(was) > 0 && typeOrder(was[0].Type) < typeOrder(is[0].Type):
				gone, was = append(gone, was[0]), was[1:]
			case len(was) == 0 || typeOrder(is[0].Type) < typeOrder(was[0].Type):
				come, is = append(come, is[0]), is[1:]
			default:
				gone = appendMissing(gone, was[0], is[0])
				come = appendMissing(come, is[0], was[0])
				was, is = was[1:], is[1:]
			}
		}
	})
	return gone, come
}

// appendMissing appends the records of set that other, of the same owner and type, does not have, if there are any. The TTL of a signature is in its
// rdata; the RRset's own says nothing about it.
func appendMissing(to []RRset, set, other RRset) []RRset {
	if set.TTL == other.TTL || set.Type == dns.TypeRRSIG {
		missing := make([]Rdata, 0, len(set.Rdata))
		for _, rd := range set.Rdata {
			if _, found := slices.BinarySearchFunc(other.Rdata, rd, compareRdata); !found {
				missing = append(missing, rd)
			}
		}
		set.Rdata = missing
	}
	if len(set.Rdata) == 0 {
		return to
	}
	return append(to, set)
}

func compareRdata(a, b Rdata) int { return bytes.Compare(a.Wire, b.Wire) }

// wireHeader is what a record has in wire form between its owner and its rdata: type, class, TTL and length.
const wireHeader = 10

// AppendWire appends the records in uncompressed wire form (RFC 1035 3.2.1).
func (s RRset) AppendWire(b []byte) []byte {
	for _, rd := range s.Rdata {
		ttl := s.TTL
		if s.Type == dns.TypeRRSIG {
			ttl = originalTTL(rd.Wire)
		}
		b = append(b, s.Owner...)
		b = binary.BigEndian.AppendUint16(b, s.Type)
		b = binary.BigEndian.AppendUint16(b, dns.ClassINET)
		b = binary.BigEndian.AppendUint32(b, ttl)
		b = binary.BigEndian.AppendUint16(b, uint16(len(rd.Wire))) //nolint:gosec // bounded by NewRRset
		b = append(b, rd.Wire...)
	}
	return b
}

// exported is what export yields; nothing for a node that is missing.
func (n node) exported() (sets []RRset) {
	if n != "" {
		n.export(func(s RRset) bool {
			sets = append(sets, s)
			return true
		})
	}
	return sets
}

// export yields the node's RRsets as Export does, and tells whether to go on.
func (n node) export(yield func(RRset) bool) bool {
	name, all := n.name(), n.sets()
	for rest := all; rest != ""; {
		variants := rest.ofType(rest.typ())
		rest = rest[len(variants):]
		var set RRset
		if n.has(flagTagged) {
			set = union(name, all, variants)
		} else {
			set = variants.rrset(name)
		}
		for i := range set.Rdata {
			set.Rdata[i].Weight = 0
		}
		if len(set.Rdata) > 0 && !yield(set) {
			return false
		}
	}
	return true
}

// union is what is exported of all variants of a type; it may be empty if they are signatures. all is everything that the owner has.
func union(name Name, all, variants rrsets) RRset {
	variants = exportable(all, variants)
	set := variants.rrset(name)
	set.PoP = ""
	if set.Type == dns.TypeRRSIG {
		set.Rdata = signaturesOf(all, variants)
	} else {
		for more := variants.rest(); more != ""; more = more.rest() {
			other := more.rrset(name)
			set.TTL = min(set.TTL, other.TTL)
			set.Rdata = append(set.Rdata, other.Rdata...)
		}
	}
	slices.SortFunc(set.Rdata, compareRdata)
	set.Rdata = slices.CompactFunc(set.Rdata, func(a, b Rdata) bool { return bytes.Equal(a.Wire, b.Wire) })
	if set.Type == dns.TypeRRSIG && len(set.Rdata) > 0 {
		set.TTL = min(originalTTL(set.Rdata[0].Wire), MaxTTL)
	}
	return set
}

// exportable is the variants, or the one of them that stands for all because they have no union.
func exportable(all, variants rrsets) rrsets {
	if variants.rest() == "" {
		return variants
	}
	if variants.is(dns.TypeCNAME) {
		return variants.first()
	}
	for v := variants; v != ""; v = v.rest() {
		if signed(all, v.typ(), v.pop()) {
			return variants.first()
		}
	}
	return variants
}

// signaturesOf is the rdata of the signatures in sigs, all RRSIG variants of an owner, without those over a variant that is not exported.
func signaturesOf(all, sigs rrsets) []Rdata {
	var kept []Rdata
	for ; sigs != ""; sigs = sigs.rest() {
		for rd := range sigs.each {
			covered := all.ofType(u16(rd.Wire, 0))
			if covered == "" || exportable(all, covered).variant(sigs.pop()) != "" {
				kept = append(kept, Rdata{Wire: []byte(rd.Wire)})
			}
		}
	}
	return kept
}
