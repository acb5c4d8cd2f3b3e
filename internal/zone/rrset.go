package zone

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/dns"
)

// Bounds of what a zone takes in.
const (
	// MaxTTL is the greatest TTL in seconds (RFC 2181 8).
	MaxTTL = 1<<31 - 1
	// MaxTag is the most octets of a PoP's or map's name.
	MaxTag = 63
	// maxMessage is what a DNS message holds; an RRset beyond it could never be answered.
	maxMessage = 65535
	// rrOverhead is what a record takes in a message beside its rdata when its owner is compressed.
	rrOverhead = 12
)

// Rdata is one record's data.
type Rdata struct {
	Wire   []byte // uncompressed; the names that RFC 4034 6.2 lists are in lower case
	Weight uint32 // for ChooseWeighted; 0 is unweighted, which counts as 1 among weighted ones
}

// RRset is one variant of the records of a name and type. Its slices must not be changed.
//
// Signatures are the exception that RFC 4034 3 makes: each RRSIG has the TTL of what it covers, which its rdata repeats as the original TTL. That
// is the TTL that RRs and answers give it; the RRset's own is set to the first record's.
type RRset struct {
	Owner Name
	Type  uint16
	TTL   uint32  // seconds
	PoP   string  // "" for the default variant
	Rdata []Rdata // canonical order (RFC 4034 6.3), no duplicates
}

// Key names a variant within a zone.
type Key struct {
	Owner Name
	Type  uint16
	PoP   string
}

// Key is the variant's key.
func (s RRset) Key() Key { return Key{s.Owner, s.Type, s.PoP} }

// Error tells what is wrong with the records of an owner (and a type, where Type is not 0).
type Error struct {
	Owner Name
	Type  uint16
	Msg   string
}

func (e *Error) Error() string {
	if e.Type == 0 {
		return e.Owner.String() + ": " + e.Msg
	}
	return e.Owner.String() + " " + dns.Type(e.Type).String() + ": " + e.Msg
}

// NewRRset makes an RRset from rdata in any order, dropping duplicates. It refuses what no zone may hold (meta types, malformed rdata, a TTL
// above MaxTTL, a PoP name that is not one, an RRset that no message could carry, the same rdata with two weights) with an *Error.
func NewRRset(owner Name, typ uint16, ttl uint32, pop string, rdata ...Rdata) (RRset, error) {
	s := RRset{Owner: owner, Type: typ, TTL: ttl, PoP: pop}
	if err := s.checkHeader(); err != nil {
		return RRset{}, err
	}
	if len(rdata) > maxMessage/rrOverhead {
		return RRset{}, &Error{owner, typ, fmt.Sprintf("%d records fit in no message", len(rdata))}
	}
	s.Rdata = make([]Rdata, len(rdata))
	for i, rd := range rdata {
		wire, err := canonicalRdata(typ, rd.Wire)
		if err != nil {
			return RRset{}, &Error{owner, typ, err.Error()}
		}
		s.Rdata[i] = Rdata{Wire: wire, Weight: rd.Weight}
	}
	return s.finish()
}

// checkHeader checks all but the rdata.
func (s *RRset) checkHeader() error {
	switch {
	case s.Owner == "":
		return &Error{Root, s.Type, "no owner"}
	case !storable(s.Type):
		return &Error{s.Owner, s.Type, "a zone cannot hold this type"}
	case s.TTL > MaxTTL:
		return &Error{s.Owner, s.Type, fmt.Sprintf("ttl %d is above %d (RFC 2181 8)", s.TTL, MaxTTL)}
	}
	if s.PoP == "" {
		return nil
	}
	if err := checkTag(s.PoP); err != nil {
		return &Error{s.Owner, s.Type, "pop " + err.Error()}
	}
	if !steerable(s.Type) {
		return &Error{s.Owner, s.Type, "this type cannot differ between PoPs (remove pop=)"}
	}
	return nil
}

// finish sorts the rdata, drops duplicates and checks that the whole fits in a message.
func (s RRset) finish() (RRset, error) {
	if len(s.Rdata) == 0 {
		return RRset{}, &Error{s.Owner, s.Type, "no rdata"}
	}
	if len(s.Rdata) > 1 {
		slices.SortFunc(s.Rdata, func(a, b Rdata) int { return bytes.Compare(a.Wire, b.Wire) })
	}
	kept := s.Rdata[:1]
	for _, rd := range s.Rdata[1:] {
		last := kept[len(kept)-1]
		if !bytes.Equal(last.Wire, rd.Wire) {
			kept = append(kept, rd)
		} else if last.Weight != rd.Weight {
			return RRset{}, &Error{s.Owner, s.Type, fmt.Sprintf("the same record with weight %d and weight %d", last.Weight, rd.Weight)}
		}
	}
	s.Rdata = slices.Clip(kept)
	if s.Type == dns.TypeRRSIG {
		s.TTL = min(originalTTL(s.Rdata[0].Wire), MaxTTL)
	}
	size := 12 + len(s.Owner) + 4 + len(s.PoP) + 4 // header, question; and tag and weight, so that the stored form is never larger, see appendSet
	for _, rd := range s.Rdata {
		size += rrOverhead + len(rd.Wire)
	}
	if size > maxMessage {
		return RRset{}, &Error{s.Owner, s.Type, fmt.Sprintf("%d records fit in no message", len(s.Rdata))}
	}
	if len(s.Rdata) > 1 && (s.Type == dns.TypeSOA || s.Type == dns.TypeCNAME || s.Type == dns.TypeDNAME) {
		return RRset{}, &Error{s.Owner, s.Type, "more than one record"}
	}
	return s, nil
}

// storable tells whether a zone may hold the type: not 0, no pseudo RR and none of the types that only a question may ask for (RFC 6895 3.1).
func storable(typ uint16) bool {
	return typ != 0 && typ != dns.TypeOPT && (typ < 128 || typ > 255)
}

// steerable tells whether the type may differ between PoPs. What shapes the zone or its chain of trust may not: two clients would see two zones.
func steerable(typ uint16) bool {
	switch typ {
	case dns.TypeSOA, dns.TypeNS, dns.TypeDNAME, dns.TypeDS, dns.TypeDNSKEY, dns.TypeCDS, dns.TypeCDNSKEY,
		dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeZONEMD, dns.TypeCSYNC:
		return false
	}
	return true
}

var errTag = errors.New("name is not 1 to 63 of the characters a-z A-Z 0-9 . _ -")

// checkTag checks the name of a PoP or map.
func checkTag(s string) error {
	if s == "" || len(s) > MaxTag {
		return errTag
	}
	for i := range len(s) {
		c := lower(s[i])
		if (c < 'a' || c > 'z') && !digit(c) && c != '.' && c != '_' && c != '-' {
			return errTag
		}
	}
	return nil
}

// RRs gives the records as miekg/dns has them, for presentation and the slow path.
func (s RRset) RRs() ([]dns.RR, error) {
	owner := s.Owner.String()
	rrs := make([]dns.RR, 0, len(s.Rdata))
	for _, rd := range s.Rdata {
		ttl := s.TTL
		if s.Type == dns.TypeRRSIG && len(rd.Wire) >= 8 {
			ttl = originalTTL(rd.Wire)
		}
		rr, err := unpackRR(owner, s.Type, ttl, rd.Wire)
		if err != nil {
			return nil, &Error{s.Owner, s.Type, err.Error()}
		}
		rrs = append(rrs, rr)
	}
	return rrs, nil
}

// originalTTL is that field of an RRSIG's rdata (RFC 4034 3.1.4).
func originalTTL(wire []byte) uint32 { return binary.BigEndian.Uint32(wire[4:]) }
