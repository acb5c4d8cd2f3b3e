package ecs

import (
	"encoding/binary"
	"net/netip"
)

// FromWire reads an option's data as they came in a query. It is FromMsg for whoever has no message: ok is false for exactly what that
// calls malformed. It allocates nothing.
func FromWire(data []byte) (o Option, ok bool) {
	if len(data) < subnetHead || data[3] != 0 {
		return Option{}, false
	}
	o = Option{Family: binary.BigEndian.Uint16(data), Source: data[2]}
	address := data[subnetHead:]
	if len(address) != (int(o.Source)+7)/8 {
		return Option{}, false
	}
	switch o.Family {
	case FamilyNone:
		return o, o.Source == 0
	case FamilyIPv4:
		var a [4]byte
		if o.Source > 32 {
			return Option{}, false
		}
		copy(a[:], address)
		o.Addr = netip.AddrFrom4(a)
	case FamilyIPv6:
		var a [16]byte
		if o.Source > 128 {
			return Option{}, false
		}
		copy(a[:], address)
		o.Addr = netip.AddrFrom16(a)
	default:
		return Option{}, false
	}
	masked, err := o.Addr.Prefix(int(o.Source))
	return o, err == nil && masked.Addr() == o.Addr
}

// ReplyScope is the scope that Reply would put into the reply.
func (o Option) ReplyScope(scope uint8) uint8 {
	switch {
	case o.Family == FamilyNone || o.Source == 0:
		return 0
	case o.Family == FamilyIPv4:
		return min(scope, 32)
	}
	return min(scope, 128)
}
