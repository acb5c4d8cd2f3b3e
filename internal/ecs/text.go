package ecs

import (
	"fmt"
	"net/netip"
)

// ParseSubnet reads a client subnet that people wrote: a prefix, or an address as a prefix of its full length. Host bits are cleared, as they are not part of
// the option.
func ParseSubnet(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("client subnet %q is not a prefix, like 198.51.100.0/24 or 2001:db8::/56", s)
	}
	return p.Masked(), nil
}
