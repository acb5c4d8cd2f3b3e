package sign

import (
	"crypto/sha1" //nolint:gosec // what RFC 5155 prescribes; there is no other
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
)

// Denial is how a zone proves what it does not have.
type Denial uint8

// The ways of denial. NSEC3 has no additional iterations and no salt (RFC 9276 3.1).
const (
	AsBefore    Denial = iota // as the zone did so far; NSEC where it was not signed
	NSEC                      // RFC 4034 4: small and fast; shows all names to whoever walks along it
	NSEC3                     // RFC 5155: names are hashed
	NSEC3OptOut               // RFC 5155 6: and cuts without DS are left out
)

// optOut is the flag of an NSEC3 whose span may hold unsigned cuts.
const optOut = 1

// asBefore is what the zone is signed with.
func asBefore(s *zone.Snapshot) Denial {
	if _, ok := s.Get(zone.Key{Owner: s.Origin(), Type: dns.TypeNSEC3PARAM}); !ok {
		return NSEC
	}
	if set, ok := s.Get(zone.Key{Owner: hashed(s.Origin(), s.Origin()), Type: dns.TypeNSEC3}); ok && set.Rdata[0].Wire[1]&optOut != 0 {
		return NSEC3OptOut
	}
	return NSEC3
}

// denials makes the NSEC or NSEC3 of every name. Those of NSEC3 include the apex's NSEC3PARAM.
func (g *signing) denials(owners []owner, content *zone.Snapshot) ([]zone.RRset, error) {
	way := g.policy.Denial
	if way == AsBefore {
		before := content
		if g.prev != nil {
			before = g.prev
		}
		way = asBefore(before)
	}
	soa := owners[0].set(dns.TypeSOA)
	if soa == nil {
		return nil, fmt.Errorf("%s has no SOA", g.origin)
	}
	wire := soa.Rdata[0].Wire
	ttl := min(soa.TTL, binary.BigEndian.Uint32(wire[len(wire)-4:])) // RFC 9077 3
	if way == NSEC {
		return nsecs(g.origin, owners, ttl), nil
	}
	param := zone.RRset{Owner: g.origin, Type: dns.TypeNSEC3PARAM, Rdata: []zone.Rdata{{Wire: []byte{dns.SHA1, 0, 0, 0, 0}}}}
	owners[0].put(param)
	return nsec3s(g.origin, owners, ttl, way == NSEC3OptOut)
}

// nsecs links the names in canonical order, the last to the apex (RFC 4034 4.1).
func nsecs(origin zone.Name, owners []owner, ttl uint32) []zone.RRset {
	var out []zone.RRset
	for i := range owners {
		o := &owners[i]
		if o.role == occluded {
			continue
		}
		if len(out) > 0 {
			finishNSEC(&out[len(out)-1], o.name)
		}
		types := append(o.types(), dns.TypeRRSIG, dns.TypeNSEC)
		out = append(out, zone.RRset{Owner: o.name, Type: dns.TypeNSEC, TTL: ttl, Rdata: []zone.Rdata{{Wire: bitmap(types)}}})
	}
	finishNSEC(&out[len(out)-1], origin)
	return out
}

// finishNSEC puts the next name in front of the types.
func finishNSEC(set *zone.RRset, next zone.Name) {
	set.Rdata[0].Wire = append([]byte(next), set.Rdata[0].Wire...)
}

// hashedName is a name of the NSEC3 chain.
type hashedName struct {
	name  zone.Name
	hash  [sha1.Size]byte
	types []uint16
}

// nsec3s links the hashes of all names, empty non-terminals included (RFC 5155 7.1).
func nsec3s(origin zone.Name, owners []owner, ttl uint32, optsOut bool) ([]zone.RRset, error) {
	chain := hashedNames(origin, owners, optsOut)
	slices.SortFunc(chain, func(a, b hashedName) int { return slices.Compare(a.hash[:], b.hash[:]) })
	flags := byte(0)
	if optsOut {
		flags = optOut
	}
	out := make([]zone.RRset, len(chain))
	for i, h := range chain {
		next := chain[(i+1)%len(chain)].hash
		if next == h.hash && len(chain) > 1 {
			return nil, fmt.Errorf("%s and another name have the same hash: sign with NSEC", h.name)
		}
		name := hashedLabel(origin, h.hash)
		if name == "" {
			return nil, fmt.Errorf("%s is too long for NSEC3, whose names are 33 octets longer: sign with NSEC", origin)
		}
		wire := append([]byte{dns.SHA1, flags, 0, 0, 0, sha1.Size}, next[:]...)
		out[i] = zone.RRset{Owner: name, Type: dns.TypeNSEC3, TTL: ttl, Rdata: []zone.Rdata{{Wire: append(wire, bitmap(h.types)...)}}}
	}
	return out, nil
}

// hashedNames is all names but unsigned cuts that are to be left out. Empty non-terminals above these may go too (RFC 5155 7.1) but stay, because NSD
// proves too little for names below one that is not in the chain.
func hashedNames(origin zone.Name, owners []owner, optsOut bool) []hashedName {
	var chain []hashedName
	seen := map[zone.Name]bool{}
	add := func(name zone.Name, types []uint16) {
		seen[name] = true
		chain = append(chain, hashedName{name, sha1.Sum([]byte(name)), types}) //nolint:gosec // see the import
	}
	included := func(o *owner) bool {
		return o.role == authoritative || o.role == cut && (!optsOut || o.set(dns.TypeDS) != nil)
	}
	for i := range owners {
		if o := &owners[i]; included(o) {
			types := o.types()
			if o.role == authoritative || o.set(dns.TypeDS) != nil { // an unsigned cut has no signature
				types = append(types, dns.TypeRRSIG)
			}
			add(o.name, types)
		}
	}
	for i := range owners {
		if o := &owners[i]; o.role != occluded && o.name != origin {
			for above := o.name.Parent(); !seen[above]; above = above.Parent() {
				add(above, nil)
			}
		}
	}
	return chain
}

// base32Hash is RFC 4648's base32hex without padding.
var base32Hash = base32.HexEncoding.WithPadding(base32.NoPadding)

// hashed is the owner of a name's NSEC3.
func hashed(origin, name zone.Name) zone.Name {
	return hashedLabel(origin, sha1.Sum([]byte(name))) //nolint:gosec // see the import
}

func hashedLabel(origin zone.Name, hash [sha1.Size]byte) zone.Name {
	return origin.Prepend(base32Hash.EncodeToString(hash[:]))
}

// bitmap is the types as NSEC and NSEC3 have them (RFC 4034 4.1.2).
func bitmap(types []uint16) []byte {
	slices.Sort(types)
	var out []byte
	for i := 0; i < len(types); {
		window := byte(types[i] >> 8)
		var bits [32]byte
		used := 0
		for ; i < len(types) && byte(types[i]>>8) == window; i++ {
			low := byte(types[i]) //nolint:gosec // its lower octet
			bits[low/8] |= 0x80 >> (low % 8)
			used = int(low/8) + 1
		}
		out = append(out, window, byte(used))
		out = append(out, bits[:used]...)
	}
	return out
}
