package sign

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
)

// role is what a name is to the zone that has it.
type role uint8

const (
	authoritative role = iota
	cut                // delegated: the zone vouches for DS alone
	occluded           // below a cut or a DNAME: glue, or what nobody can see
)

// owner is a name with what the content has of it, without what signing makes.
type owner struct {
	name zone.Name
	role role
	sets []zone.RRset
}

// ownersOf lists the content in canonical order. Names that have nothing but what signing made are left out.
func ownersOf(content *zone.Snapshot) []owner {
	var owners []owner
	var hides zone.Name // the last cut or DNAME
	for set := range content.RRsets() {
		if made(set.Type) {
			continue
		}
		if len(owners) == 0 || owners[len(owners)-1].name != set.Owner {
			o := owner{name: set.Owner}
			if hides != "" && set.Owner != hides && set.Owner.IsSubdomainOf(hides) {
				o.role = occluded // canonical order has all descendants right behind the name
			}
			owners = append(owners, o)
		}
		o := &owners[len(owners)-1]
		o.sets = append(o.sets, set)
		switch {
		case o.role == occluded:
		case set.Type == dns.TypeNS && set.Owner != content.Origin():
			o.role, hides = cut, set.Owner
		case set.Type == dns.TypeDNAME:
			hides = set.Owner
		}
	}
	return owners
}

// made lists what signing makes.
func made(typ uint16) bool {
	switch typ {
	case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM:
		return true
	}
	return false
}

// signs tells whether the zone signs the owner's sets of a type: neither a delegation's NS nor glue (RFC 4035 2.2).
func (o *owner) signs(typ uint16) bool {
	return o.role == authoritative || o.role == cut && typ == dns.TypeDS
}

// set finds the default variant of a type, nil if there is none.
func (o *owner) set(typ uint16) *zone.RRset {
	for i := range o.sets {
		if o.sets[i].Type == typ && o.sets[i].PoP == "" {
			return &o.sets[i]
		}
	}
	return nil
}

// types lists the types that a denial of the owner names: of a cut only what the parent answers for (RFC 4035 2.3). A steered name has a type if any
// variant has it, since every client is answered with one.
func (o *owner) types() []uint16 {
	var types []uint16
	for _, set := range o.sets {
		if o.role == authoritative || set.Type == dns.TypeNS || set.Type == dns.TypeDS {
			types = append(types, set.Type)
		}
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// addKeys puts the keys that are published now into the apex's DNSKEY set. Keys there that no file explains are another signer's (RFC 8901) and stay.
func (o *owner) addKeys(keys *Keys, now time.Time) error {
	ttl := uint32(dnskeyTTL)
	var rdata []zone.Rdata
	if have := o.set(dns.TypeDNSKEY); have != nil {
		ttl = have.TTL
		for _, rd := range have.Rdata {
			if !slices.ContainsFunc(keys.list, func(k *key) bool { return bytes.Equal(k.rdata, rd.Wire) }) {
				rdata = append(rdata, rd)
			}
		}
	}
	for _, k := range keys.list {
		if k.published(now) {
			rdata = append(rdata, zone.Rdata{Wire: k.rdata})
		}
	}
	set, err := zone.NewRRset(o.name, dns.TypeDNSKEY, ttl, "", rdata...)
	if err != nil {
		return fmt.Errorf("the zone's keys: %w", err)
	}
	o.put(set)
	return nil
}

// put adds a set, or replaces that of its type.
func (o *owner) put(set zone.RRset) {
	if have := o.set(set.Type); have != nil {
		*have = set
		return
	}
	o.sets = append(o.sets, set)
}

// withSerial is a SOA with another serial.
func withSerial(soa zone.RRset, serial uint32) zone.RRset {
	wire := slices.Clone(soa.Rdata[0].Wire)
	binary.BigEndian.PutUint32(wire[len(wire)-20:], serial)
	soa.Rdata = []zone.Rdata{{Wire: wire}}
	return soa
}
