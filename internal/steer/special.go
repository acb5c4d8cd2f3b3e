package steer

import "net/netip"

// Special-purpose blocks: an address in one of them says nothing about where a client is, so RFC 7871 section 10 (private
// addresses, and by 11.3 whatever isn't routed, RFC 6890) has the server use the resolver's address and answer for the whole
// block. The documentation blocks are left out: examples and labs map them as if they were real.
var special = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("::/128"),
	netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fe80::/10"),
}

// specialSet is a set of positions in special.
type specialSet uint16

func (s specialSet) has(i int) bool { return s>>i&1 != 0 }

// specialOf returns the position of the special-purpose block that p, masked, lies in, or -1.
func specialOf(p netip.Prefix) int {
	if a := p.Addr(); a.Is4() {
		// Most queries end here, for the price of one comparison.
		if b := a.As4()[0]; b != 0 && b != 10 && b != 100 && b != 127 && b != 169 && b != 172 && b != 192 {
			return -1
		}
	} else if b := a.As16()[0]; b != 0 && b < 0xfc {
		return -1
	}
	for i, s := range special {
		if s.Bits() <= p.Bits() && s.Addr().BitLen() == p.Addr().BitLen() && containsMapped(s, p.Addr()) {
			return i
		}
	}
	return -1
}

// IsSpecial tells whether a lies in a special-purpose block.
func IsSpecial(a netip.Addr) bool {
	return a.IsValid() && specialOf(netip.PrefixFrom(a, a.BitLen())) >= 0
}

// containsMapped is Prefix.Contains for an address of the prefix's family, v4-mapped ones included: Contains itself never
// matches those.
func containsMapped(s netip.Prefix, a netip.Addr) bool {
	p, err := a.Prefix(s.Bits())
	return err == nil && p.Addr() == s.Addr()
}

// privateBlock returns the special-purpose block that the client subnet p lies in, unless the ecs plane decides inside it. A client
// that carries an IPv4 address is private when that is.
func (m *Map) privateBlock(p netip.Prefix) (block netip.Prefix, ok bool) {
	if i := specialOf(p); i >= 0 {
		return special[i], !m.inside.has(i)
	}
	inner, offset, ok := embedded(p, m.tables[ECS].embeds)
	if !ok {
		return block, false
	}
	i := specialOf(inner)
	if i < 0 || m.inside.has(i) {
		return block, false
	}
	block, err := p.Addr().Prefix(offset + special[i].Bits())
	return block, err == nil
}

// specialInside returns the special-purpose blocks that some row lies in. Whoever writes 10.1.0.0/16 into an ecs plane runs
// a network where private addresses do tell clients apart, and means it: inside such a block the table decides.
func specialInside(rows *rowSet) specialSet {
	var set specialSet
	for f := range families {
		for _, r := range rows[f] {
			if i := specialOf(r.prefix(f)); i >= 0 {
				set |= 1 << i
			}
		}
	}
	return set
}
