// Package ecs reads the EDNS Client Subnet option of a query strictly and echoes it exactly (RFC 7871).
//
// A server calls [FromMsg] once per query, before anything edits the OPT record. An error means: answer FORMERR. An option that
// is present must be answered in every reply, negative and unsteered ones included, with [Option.Reply]: resolvers drop a
// reply whose option does not match the query's, so a wrong echo is an outage.
package ecs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// Address families of the option (RFC 7871 section 6: IANA's Address Family Numbers).
const (
	FamilyNone = 0 // dig sends it with source length 0: no address
	FamilyIPv4 = 1
	FamilyIPv6 = 2
)

// ErrMalformed is wrapped by every error of FromMsg: the query must be answered with FORMERR.
var ErrMalformed = errors.New("malformed client subnet option")

// Option is the client subnet of one query. The zero value is what a query without the option has.
type Option struct {
	Family uint16     // FamilyNone, FamilyIPv4 or FamilyIPv6
	Source uint8      // SOURCE PREFIX-LENGTH: how many bits of Addr the resolver tells
	Addr   netip.Addr // masked to Source; a v4-mapped address of FamilyIPv6 stays IPv6. Invalid for FamilyNone
}

// FromMsg returns m's client subnet option. m must have come from Unpack for the length of the address to be checked: the
// library pads a short address and cuts a long one, and only the OPT record's length still tells. present is false without
// the option, and an error wraps ErrMalformed.
func FromMsg(m *dns.Msg) (opt Option, present bool, err error) {
	rr := m.IsEdns0()
	if rr == nil {
		return Option{}, false, nil
	}
	var subnet *dns.EDNS0_SUBNET
	for _, o := range rr.Option {
		s, ok := o.(*dns.EDNS0_SUBNET)
		if !ok {
			continue
		}
		if subnet != nil {
			return Option{}, true, fmt.Errorf("%w: given twice", ErrMalformed)
		}
		subnet = s
	}
	if subnet == nil {
		return Option{}, false, nil
	}
	if opt, err = parse(subnet); err == nil {
		err = checkLength(rr, opt)
	}
	if err != nil {
		return Option{}, true, err
	}
	return opt, true, nil
}

// Usable tells whether the option names a client: source length 0 asks for the resolver's own answer (section 7.1.2).
func (o Option) Usable() bool {
	return o.Source > 0 && o.Family != FamilyNone
}

// Prefix returns the client's subnet, invalid for FamilyNone.
func (o Option) Prefix() netip.Prefix {
	return netip.PrefixFrom(o.Addr, int(o.Source))
}

// Reply returns the option for the reply: family, source length and address as received (section 7.2.1), and scope in bits
// of the family. An option without a client gets scope 0 whatever is asked, and scope is cut to the family's width, since the
// library would refuse to send more. Call it only if the query had the option.
func (o Option) Reply(scope uint8) *dns.EDNS0_SUBNET {
	return o.fill(new(echo), scope)
}

// echo is everything that a reply's option needs, in one allocation: every reply to a query with the option has one.
type echo struct {
	subnet  dns.EDNS0_SUBNET
	addr    [16]byte
	opt     dns.OPT
	options [1]dns.EDNS0
	extra   [1]dns.RR
}

func (o Option) fill(e *echo, scope uint8) *dns.EDNS0_SUBNET {
	s := &e.subnet
	*s = dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: o.Family, SourceNetmask: o.Source}
	switch o.Family {
	case FamilyNone:
		s.Address = net.IPv4zero
		return s
	case FamilyIPv4:
		scope = min(scope, 32)
		a := o.Addr.As4()
		s.Address = append(e.addr[:0:4], a[:]...)
	default:
		scope = min(scope, 128)
		e.addr = o.Addr.As16()
		s.Address = e.addr[:]
	}
	if o.Source > 0 {
		s.SourceScope = scope
	}
	return s
}

// udpSize is the payload size that a reply's OPT record states when AddTo has to make one: what fits any path unfragmented.
const udpSize = 1232

// AddTo puts the reply's option, see Reply, into m's OPT record, in place of any client subnet that is there already; if that is from somebody who chose a
// part of the answer by a longer prefix, the scope is his (RFC 7871 7.2.1). It makes an OPT record if m has none. Records and option slices that m may
// share with others are copied, not changed.
func (o Option) AddTo(m *dns.Msg, scope uint8) {
	for i, rr := range m.Extra {
		old, ok := rr.(*dns.OPT)
		if !ok {
			continue
		}
		opt := &dns.OPT{Hdr: old.Hdr, Option: make([]dns.EDNS0, 0, len(old.Option)+1)}
		for _, e := range old.Option {
			if other, ok := e.(*dns.EDNS0_SUBNET); ok {
				scope = max(scope, other.SourceScope)
			} else {
				opt.Option = append(opt.Option, e)
			}
		}
		opt.Option = append(opt.Option, o.Reply(scope))
		m.Extra = slices.Clone(m.Extra)
		m.Extra[i] = opt
		return
	}
	e := new(echo)
	e.options[0] = o.fill(e, scope)
	e.opt = dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}, Option: e.options[:]}
	e.opt.SetUDPSize(udpSize)
	if len(m.Extra) == 0 {
		e.extra[0] = &e.opt
		m.Extra = e.extra[:]
		return
	}
	m.Extra = append(slices.Clip(m.Extra), &e.opt)
}
