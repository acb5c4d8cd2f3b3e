package zone

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// node is a name of the zone with all it owns, as octets. It is a string because strings are immutable, cost nothing to slice, and a view into
// the image is one like any other. The octets are only ever written by nodeWriter, so that reading needs no checks.
//
//	size u32 | children u32 | flags u8 | name length u8 | name
//	with flagSettings: the settings, see appendSettings
//	rrset…, ordered by type (SOA first) and PoP
//
// A name without records that has children is an empty non-terminal (RFC 4592 2.2.2).
type node string

const (
	nodeHeader  = 10
	childrenOff = 4
)

const (
	flagNS       = 1 << iota // owns NS: a zone cut, unless it is the apex
	flagCNAME                // owns CNAME
	flagDNAME                // owns DNAME
	flagTagged               // has a variant with a PoP tag
	flagSettings             // has steering settings
	flagNSEC                 // owns NSEC
	flagNSEC3                // owns NSEC3
)

func (n node) size() int        { return int(u32(string(n), 0)) }
func (n node) children() uint32 { return u32(string(n), childrenOff) }
func (n node) has(flag byte) bool {
	return n[8]&flag != 0
}
func (n node) name() Name { return Name(n[nodeHeader : nodeHeader+int(n[9])]) }

// isAt tells whether the node's name is label (in wire form) followed by parent; the two are not joined because that would allocate.
func (n node) isAt(label string, parent Name) bool {
	if int(n[9]) != len(label)+len(parent) {
		return false
	}
	mid, end := nodeHeader+len(label), nodeHeader+int(n[9])
	return string(n[nodeHeader:mid]) == label && Name(n[mid:end]) == parent
}

// steering is the owner's settings.
func (n node) steering() Steering {
	if !n.has(flagSettings) {
		return Steering{}
	}
	st, _ := cutSettings(string(n[nodeHeader+int(n[9]):]))
	return st
}

// sets is the node's RRsets, one after the other.
func (n node) sets() rrsets {
	rest := string(n[nodeHeader+int(n[9]):])
	if n.has(flagSettings) {
		_, rest = cutSettings(rest)
	}
	return rrsets(rest)
}

// withChildren is the node with another count of children.
func (n node) withChildren(count uint32) node {
	b := []byte(n)
	binary.BigEndian.PutUint32(b[childrenOff:], count)
	return node(b)
}

// rrsets is a run of RRsets as octets, each
//
//	type u16 | flags u8 | pop length u8 | ttl u32 | count u16 | size of what follows u16 | pop | rdata…
//
// and each rdata: weight u32 (with setWeighted) | length u16 (without setUniform) | octets. With setUniform all rdata are equally long, so that
// the i-th is found at once and an address costs four octets, not six.
type rrsets string

const (
	setHeader   = 12
	setWeighted = 1 << 0
	setUniform  = 1 << 1
)

func (s rrsets) typ() uint16   { return u16(string(s), 0) }
func (s rrsets) ttl() uint32   { return u32(string(s), 4) }
func (s rrsets) count() int    { return int(u16(string(s), 8)) }
func (s rrsets) size() int     { return setHeader + int(u16(string(s), 10)) }
func (s rrsets) pop() string   { return string(s[setHeader : setHeader+int(s[3])]) }
func (s rrsets) first() rrsets { return s[:s.size()] }
func (s rrsets) rest() rrsets  { return s[s.size():] }

// is tells whether the first RRset has the type.
func (s rrsets) is(typ uint16) bool { return s != "" && s.typ() == typ }

// ofType is the run of all variants of the type; its first is the default variant if there is one.
func (s rrsets) ofType(typ uint16) rrsets {
	for s != "" && s.typ() != typ {
		s = s.rest()
	}
	end := s
	for end.is(typ) {
		end = end.rest()
	}
	return s[:len(s)-len(end)]
}

// variant is the first RRset of the run with the PoP, or "".
func (s rrsets) variant(pop string) rrsets {
	for ; s != ""; s = s.rest() {
		if s.pop() == pop {
			return s.first()
		}
	}
	return ""
}

// len counts the RRsets of the run.
func (s rrsets) len() int {
	n := 0
	for ; s != ""; s = s.rest() {
		n++
	}
	return n
}

// rdata is one record's data, as a view.
type rdata struct {
	Wire   string
	Weight uint32
}

// at is the i-th rdata of the first RRset. It walks over those before it unless they are all equally long.
func (s rrsets) at(i int) rdata {
	body := string(s[setHeader+int(s[3]) : s.size()])
	if s[2]&setUniform != 0 {
		each := len(body) / s.count()
		body = body[i*each : (i+1)*each]
		if s[2]&setWeighted != 0 {
			return rdata{body[4:], u32(body, 0)}
		}
		return rdata{body, 0}
	}
	for ; ; i-- {
		var rd rdata
		if rd, body = cutRdata(body, s[2]&setWeighted != 0); i == 0 {
			return rd
		}
	}
}

// cutRdata takes the first rdata, which has its length in front, off body.
func cutRdata(body string, weighted bool) (rd rdata, rest string) {
	if weighted {
		rd.Weight = u32(body, 0)
		body = body[4:]
	}
	end := 2 + int(u16(body, 0))
	rd.Wire = body[2:end]
	return rd, body[end:]
}

// each calls yield for the rdata of the first RRset in order.
func (s rrsets) each(yield func(rdata) bool) {
	if s[2]&setUniform != 0 {
		for i := range s.count() {
			if !yield(s.at(i)) {
				return
			}
		}
		return
	}
	body := string(s[setHeader+int(s[3]) : s.size()])
	for body != "" {
		var rd rdata
		if rd, body = cutRdata(body, s[2]&setWeighted != 0); !yield(rd) {
			return
		}
	}
}

// rrset is the first RRset of the run in the exported form. The rdata are copied.
func (s rrsets) rrset(owner Name) RRset {
	out := RRset{Owner: owner, Type: s.typ(), TTL: s.ttl(), PoP: s.pop(), Rdata: make([]Rdata, 0, s.count())}
	for rd := range s.each {
		out.Rdata = append(out.Rdata, Rdata{Wire: []byte(rd.Wire), Weight: rd.Weight})
	}
	return out
}

// typeOrder is the place of a type in a node: SOA comes first, because transfers begin with it.
func typeOrder(typ uint16) uint16 {
	if typ == dns.TypeSOA {
		return 0
	}
	return typ
}

func u16(s string, i int) uint16 { return uint16(s[i+1]) | uint16(s[i])<<8 }

func u32(s string, i int) uint32 {
	return uint32(s[i+3]) | uint32(s[i+2])<<8 | uint32(s[i+1])<<16 | uint32(s[i])<<24
}
