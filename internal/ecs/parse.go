package ecs

import (
	"fmt"
	"net/netip"

	"github.com/miekg/dns"
)

// parse checks what section 6 demands of a query's option, but for the number of address octets.
func parse(s *dns.EDNS0_SUBNET) (Option, error) {
	if s.SourceScope != 0 {
		return Option{}, fmt.Errorf("%w: scope %d in a query, must be 0", ErrMalformed, s.SourceScope)
	}
	o := Option{Family: s.Family, Source: s.SourceNetmask}
	switch s.Family {
	case FamilyNone:
		if s.SourceNetmask != 0 {
			return Option{}, fmt.Errorf("%w: source length %d without a family", ErrMalformed, s.SourceNetmask)
		}
		return o, nil
	case FamilyIPv4:
		o.Addr, _ = netip.AddrFromSlice(s.Address.To4())
	case FamilyIPv6:
		// The library unpacks all 16 octets of this family, v4-mapped ones included.
		o.Addr, _ = netip.AddrFromSlice(s.Address)
	default:
		return Option{}, fmt.Errorf("%w: unknown family %d", ErrMalformed, s.Family)
	}
	if !o.Addr.IsValid() || s.Family == FamilyIPv6 && o.Addr.Is4() {
		return Option{}, fmt.Errorf("%w: address %s is not of family %d", ErrMalformed, s.Address, s.Family)
	}
	masked, err := o.Addr.Prefix(int(s.SourceNetmask))
	if err != nil {
		return Option{}, fmt.Errorf("%w: source length %d in family %d", ErrMalformed, s.SourceNetmask, s.Family)
	}
	if masked.Addr() != o.Addr {
		return Option{}, fmt.Errorf("%w: address %s has bits beyond /%d", ErrMalformed, o.Addr, s.SourceNetmask)
	}
	return o, nil
}

// optFixed is the length of an OPT record that holds no option: root name, type, class, TTL, length.
const optFixed = 1 + 2 + 2 + 4 + 2

// Octets of an option in front of its data, and of a client subnet in front of its address.
const optionHead, subnetHead = 4, 4

// checkLength finds an address of too few or too many octets (section 6: exactly as many as the source length needs). Unpack
// of miekg/dns 1.1.73 pads or cuts the address silently, but leaves the length of the OPT record as received, and packing
// yields every option at its proper length: the two differ exactly if some option was of another length. It can go when
// the library keeps the option's length.
func checkLength(rr *dns.OPT, o Option) error {
	received := int(rr.Hdr.Rdlength)
	if received == 0 {
		return nil // built in memory, or rebuilt by someone who edits options: nothing to compare with
	}
	for _, o := range rr.Option {
		if !keepsLength(o) {
			return nil
		}
	}
	proper := optionHead + subnetHead + (int(o.Source)+7)/8
	if len(rr.Option) > 1 { // which packs them all to find out
		proper = dns.Len(rr) - optFixed
	}
	if received != proper {
		return fmt.Errorf("%w: options of %d octets where %d are due, so the address is too short or too long", ErrMalformed, received, proper)
	}
	return nil
}

// keepsLength tells whether the library packs o at the length at which it was received. The ones that need not are rare beside
// a client subnet; leniency there beats FORMERR for a good query.
func keepsLength(o dns.EDNS0) bool {
	switch o := o.(type) {
	case *dns.EDNS0_TCP_KEEPALIVE:
		return o.Timeout != 0 // a timeout of 0 in two octets packs to none
	case *dns.EDNS0_UL:
		return o.KeyLease != 0 // likewise
	case *dns.EDNS0_LLQ, *dns.EDNS0_EXPIRE, *dns.EDNS0_REPORTING, *dns.EDNS0_ZONEVERSION:
		return false
	}
	return true
}
