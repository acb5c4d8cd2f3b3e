package zkzone

import (
	"context"
	"slices"
	"time"

	"github.com/popdns/popdns/internal/edge"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/pkg/upstream"
	"github.com/coredns/coredns/request"

	"github.com/miekg/dns"
)

const (
	// maxHops bounds how often a chain of aliases may go from zone to zone. The
	// stock file plugin has the same bound and counts at the same place of the
	// context, so that a loop through both ends too.
	maxHops = 8
	// chaseTimeout keeps a plugin that asks other servers for a target from
	// holding up the answer that we do have for longer than a resolver waits.
	chaseTimeout = 2 * time.Second
)

// chase goes on where a chain of aliases leaves the zone: it puts the target to
// the whole server, as RFC 1034 4.3.2 step 3a says, and adds the reply to m,
// which holds the chain so far. The rcode is the reply's (RFC 6604 3), the AA
// bit stays that of the first name. If nobody here knows the target, or whoever
// does fails, m stays as it is: it is a whole answer of this zone.
func chase(ctx context.Context, state request.Request, target string, m *dns.Msg) {
	hops, _ := ctx.Value(dnsserver.LoopKey{}).(int)
	if hops >= maxHops {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, dnsserver.LoopKey{}, hops+1), chaseTimeout)
	defer cancel()
	// The target's own block says how the target is steered, not this one.
	ctx = edge.WithPicker(ctx, nil)
	reply, err := upstream.New().Lookup(ctx, state, target, state.QType())
	switch {
	case err != nil || reply == nil:
		return
	case reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError:
		return
	case reply.Truncated:
		// What is left of it may be half an RRset. With the chain in front it
		// would not fit either, so the client has to come by TCP.
		m.Truncated = state.Proto() == "udp"
		return
	}
	m.Rcode = reply.Rcode
	m.Answer = join(m.Answer, reply.Answer)
	m.Ns = join(m.Ns, reply.Ns)
	m.Extra = join(m.Extra, reply.Extra)
}

// join appends the records that are not there yet: a chain that loops through
// several zones brings the same ones again. Of an OPT record only the client
// subnet's scope concerns us: whoever chose by it, the answer holds for it alone
// (RFC 7871 7.2.1).
func join(to, from []dns.RR) []dns.RR {
	had := to
	for _, rr := range from {
		switch rr := rr.(type) {
		case *dns.OPT:
			if opt := onlySubnet(rr); opt != nil {
				to = append(to, opt)
			}
			continue
		case *dns.TSIG:
			continue
		}
		if !slices.ContainsFunc(had, func(h dns.RR) bool { return dns.IsDuplicate(h, rr) }) {
			to = append(to, rr)
		}
	}
	return slices.Clip(to)
}

// onlySubnet is an OPT record with nothing but the client subnet, nil if that has
// no scope.
func onlySubnet(rr *dns.OPT) *dns.OPT {
	for _, o := range rr.Option {
		if subnet, ok := o.(*dns.EDNS0_SUBNET); ok && subnet.SourceScope > 0 {
			return &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}, Option: []dns.EDNS0{subnet}}
		}
	}
	return nil
}
