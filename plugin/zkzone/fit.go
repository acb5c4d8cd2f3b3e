package zkzone

import (
	"slices"
	"sort"
	"strings"

	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/coredns/request"

	"github.com/miekg/dns"
)

// fit leaves out of m what the client has no room for, and sets TC if it has to
// know of that. RFC 2181 9 wants RRsets whole or absent, and TC only where one is
// required; CoreDNS itself (request.Scrub) cuts between any two records and sets
// TC for all, so it must find nothing to do.
func fit(m *dns.Msg, state *request.Request) {
	room := state.Size() - reserve(state.Req)
	if m.Len() <= room { // uncompressed: nearly every answer ends here
		return
	}
	m.Compress = true
	if m.Len() <= room {
		return
	}
	sets := setsOf(m)
	fits := sort.Search(len(sets), func(i int) bool {
		put(m, sets[:i+1])
		return m.Len() > room
	})
	put(m, sets[:fits])
	m.Truncated = m.Truncated || slices.ContainsFunc(sets[fits:], func(s set) bool { return s.required })
}

// fitsSurely tells, before any record is looked at as a string, that an answer fits: nearly all do.
func fitsSurely(res *zone.Result, qname zone.Name, req *dns.Msg, state *request.Request) bool {
	const header, question = 12, 4
	return header+len(qname)+question+res.Octets() <= state.Size()-reserve(req)
}

// nsidRoom is left for an identifier that the nsid plugin adds below us: a host
// name by default.
const nsidRoom = 64

// reserve is the room that other plugins and the server take for what goes into
// every reply to this query: the OPT record, with at most the query's own options,
// and the signature of a transaction (RFC 8945).
func reserve(req *dns.Msg) int {
	n := 0
	if opt := req.IsEdns0(); opt != nil {
		n = optLen(opt)
		if slices.ContainsFunc(opt.Option, func(o dns.EDNS0) bool { return o.Option() == dns.EDNS0NSID }) {
			n += nsidRoom
		}
	}
	if sig := req.IsTsig(); sig != nil {
		n += dns.Len(sig)
	}
	return n
}

// optLen is dns.Len, quicker for the bare OPT record that most queries have.
func optLen(opt *dns.OPT) int {
	const bare = 1 + 10 // the root as owner, then type, class, TTL and length
	if len(opt.Option) == 0 {
		return bare
	}
	return dns.Len(opt)
}

// set is an RRset of a message with its signatures, which stay together (RFC 4035
// 3.1.1).
type set struct {
	section  *[]dns.RR
	rrs      []dns.RR
	required bool
}

// setsOf gives a message's RRsets in the order in which room is given to them.
// All of the answer and the authority section is required: records, referral,
// negative TTL, proofs. Of the additional section only what the client can't go
// on without is, and comes first.
func setsOf(m *dns.Msg) []set {
	sets := appendSets(nil, &m.Answer, func(dns.RR) bool { return true })
	sets = appendSets(sets, &m.Ns, func(dns.RR) bool { return true })
	additional := appendSets(nil, &m.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT || isGlue(m, rr) })
	slices.SortStableFunc(additional, func(a, b set) int {
		switch {
		case a.required == b.required:
			return 0
		case a.required:
			return -1
		}
		return 1
	})
	return append(sets, additional...)
}

func appendSets(sets []set, section *[]dns.RR, required func(dns.RR) bool) []set {
	type key struct {
		owner string
		typ   uint16
	}
	at := map[key]int{}
	for _, rr := range *section {
		k := key{strings.ToLower(rr.Header().Name), rr.Header().Rrtype}
		if sig, ok := rr.(*dns.RRSIG); ok {
			k.typ = sig.TypeCovered
		}
		i, ok := at[k]
		if !ok {
			i = len(sets)
			at[k] = i
			sets = append(sets, set{section: section, required: required(rr)})
		}
		sets[i].rrs = append(sets[i].rrs, rr)
	}
	return sets
}

// isGlue tells whether the record is an address of a name server that lies in the
// very zone which m refers to: without it nobody gets there (RFC 9471 3.1).
func isGlue(m *dns.Msg, rr dns.RR) bool {
	return slices.ContainsFunc(m.Ns, func(cut dns.RR) bool {
		ns, ok := cut.(*dns.NS)
		return ok && strings.EqualFold(ns.Ns, rr.Header().Name) && dns.IsSubDomain(ns.Hdr.Name, ns.Ns)
	})
}

// put makes m's sections of the sets alone, without spare capacity.
func put(m *dns.Msg, sets []set) {
	m.Answer, m.Ns, m.Extra = nil, nil, nil
	for _, s := range sets {
		*s.section = append(*s.section, s.rrs...)
	}
	m.Answer, m.Ns, m.Extra = slices.Clip(m.Answer), slices.Clip(m.Ns), slices.Clip(m.Extra)
}
