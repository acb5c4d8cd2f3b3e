package test

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// What makes answers that differ from the file plugin's as meant alike, see deliberate.

// evenTruncation leaves to checkFit that ours is the reply by TCP as far as there is
// room; those by TCP are compared as well.
func evenTruncation(got, want *dns.Msg) bool {
	if !got.Truncated && !want.Truncated {
		return false
	}
	*want = *got.Copy()
	return true
}

func evenNegativeTTL(_, want *dns.Msg) (changed bool) {
	var soa *dns.SOA
	for _, rr := range want.Ns {
		if rr, ok := rr.(*dns.SOA); ok {
			soa = rr
		}
	}
	if soa == nil || soa.Hdr.Ttl <= soa.Minttl {
		return false
	}
	for _, rr := range want.Ns {
		if covered(rr) == dns.TypeSOA {
			rr.Header().Ttl = soa.Minttl
		}
	}
	return true
}

// evenProof leaves NSECs to checkProof.
func evenProof(got, want *dns.Msg) bool {
	if compareSection("", got.Ns, want.Ns) == "" {
		return false
	}
	nsec := func(rr dns.RR) bool { return covered(rr) == dns.TypeNSEC }
	ours, theirs := drop(&got.Ns, nsec), drop(&want.Ns, nsec)
	return ours || theirs
}

func evenSiblingGlue(got, want *dns.Msg) bool {
	cut := ""
	servers := map[string]bool{}
	for _, rr := range got.Ns {
		if ns, ok := rr.(*dns.NS); ok {
			cut, servers[strings.ToLower(ns.Ns)] = strings.ToLower(ns.Hdr.Name), true
		}
	}
	notTheirs := missing(want.Extra)
	return drop(&got.Extra, func(rr dns.RR) bool {
		owner := strings.ToLower(rr.Header().Name)
		return servers[owner] && !dns.IsSubDomain(cut, owner) && notTheirs(rr)
	})
}

func evenWildcardSignature(got, want *dns.Msg) (changed bool) {
	for _, rr := range want.Answer {
		sig, ok := rr.(*dns.RRSIG)
		if !ok || !strings.HasPrefix(sig.Hdr.Name, "*.") {
			continue
		}
		for _, rr := range got.Answer {
			if ours, ok := rr.(*dns.RRSIG); ok && ours.Signature == sig.Signature && int(sig.Labels) == dns.CountLabel(sig.Hdr.Name)-1 {
				changed = changed || !strings.EqualFold(sig.Hdr.Name, ours.Hdr.Name)
				sig.Hdr.Name = ours.Hdr.Name
			}
		}
	}
	return changed
}

// evenBehindChain leaves what follows a chain of aliases to checkEnd.
func evenBehindChain(got, want *dns.Msg) bool {
	if links(got) == 0 || got.Question[0].Qtype == dns.TypeCNAME || links(want) != links(got) {
		return false
	}
	same := got.Copy()
	want.Ns, want.Extra = same.Ns, same.Extra
	return true
}

// maxLinks is the longest chain that we follow.
const maxLinks = 16

// links counts the CNAMEs of an answer.
func links(m *dns.Msg) (n int) {
	for _, rr := range m.Answer {
		if rr.Header().Rrtype == dns.TypeCNAME {
			n++
		}
	}
	return n
}

// evenNoANY leaves to checkEnd what RRset there is. A CNAME that was asked for with ANY is
// followed by file, and where that comes round it fails.
func evenNoANY(got, want *dns.Msg) bool {
	chased := links(want) > 0 && !slices.ContainsFunc(got.Answer, missing(want.Answer))
	none := want.Rcode == dns.RcodeSuccess && (isNegative(want) || links(want) > 0) && !slices.ContainsFunc(want.Answer, missing(got.Answer))
	failed := want.Rcode == dns.RcodeServerFailure && links(got) > 0
	if got.Question[0].Qtype != dns.TypeANY || len(got.Answer) == 0 || !chased && !none && !failed {
		return false
	}
	*want = *got.Copy()
	return true
}

// evenBesideCNAME concerns the NSEC of a CNAME's owner; file follows the CNAME.
func evenBesideCNAME(got, want *dns.Msg) bool {
	if !besideCNAME(got) || links(want) == 0 && want.Rcode != dns.RcodeServerFailure {
		return false
	}
	*want = *got.Copy()
	return true
}

// besideCNAME tells whether an NSEC was asked for and is the answer, at the end of a
// chain or at once, and that its owner has a CNAME too.
func besideCNAME(m *dns.Msg) bool {
	return m.Question[0].Qtype == dns.TypeNSEC && slices.ContainsFunc(m.Answer, func(rr dns.RR) bool {
		nsec, ok := rr.(*dns.NSEC)
		return ok && hasType(nsec, dns.TypeCNAME)
	})
}

func evenTwice(_, want *dns.Msg) (changed bool) {
	for _, section := range []*[]dns.RR{&want.Answer, &want.Ns, &want.Extra} {
		had := map[string]bool{}
		changed = drop(section, func(rr dns.RR) bool {
			line := strings.Join(canonical([]dns.RR{rr}), "")
			twice := line != "" && had[line]
			had[line] = true
			return twice
		}) || changed
	}
	return changed
}

// evenEndless concerns chains that are too long for file; what ours end with is for
// checkEnd.
func evenEndless(got, want *dns.Msg) bool {
	if want.Rcode != dns.RcodeServerFailure && want.Rcode != dns.RcodeSuccess || !comesRound(got) && links(got) <= 8 || slices.ContainsFunc(want.Answer, missing(got.Answer)) {
		return false
	}
	*want = *got.Copy()
	return true
}

// comesRound tells whether an answer's chain ends with a name that it has passed.
func comesRound(m *dns.Msg) bool {
	last := lastName(m)
	return slices.ContainsFunc(m.Answer, func(rr dns.RR) bool {
		return rr.Header().Rrtype == dns.TypeCNAME && strings.EqualFold(rr.Header().Name, last)
	})
}

// evenEmptyNonTerminal: that the name exists is for checkExistence. Where the wildcard is a
// CNAME that comes round file fails.
func evenEmptyNonTerminal(got, want *dns.Msg) bool {
	last := lastName(got)
	synthesised := want.Rcode == dns.RcodeServerFailure && len(got.Answer) == 0 || slices.ContainsFunc(want.Answer, func(rr dns.RR) bool { return strings.EqualFold(rr.Header().Name, last) })
	if !isNegative(got) || got.Rcode != dns.RcodeSuccess || !synthesised || slices.ContainsFunc(got.Answer, missing(want.Answer)) {
		return false
	}
	*want = *got.Copy()
	return true
}

// evenWildcardAddresses: that they are the zone's is for checkAddresses.
func evenWildcardAddresses(got, want *dns.Msg) bool {
	theirs := map[string]bool{}
	for _, rr := range want.Extra {
		theirs[strings.ToLower(rr.Header().Name)] = true
	}
	return len(got.Answer) > 0 && drop(&got.Extra, func(rr dns.RR) bool {
		return rr.Header().Rrtype != dns.TypeOPT && !theirs[strings.ToLower(rr.Header().Name)]
	})
}

// isNegative tells whether a message says, with an SOA, that there is no such name or
// type.
func isNegative(m *dns.Msg) bool {
	return slices.ContainsFunc(m.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA })
}

func evenBareApex(got, want *dns.Msg) bool {
	if want.Rcode != dns.RcodeNameError || len(want.Answer) > 0 || len(want.Ns) == 0 {
		return false
	}
	soa, ok := want.Ns[0].(*dns.SOA)
	if !ok || !strings.EqualFold(soa.Hdr.Name, got.Question[0].Name) {
		return false
	}
	want.Rcode = dns.RcodeSuccess
	return true
}

func evenServiceCase(got, _ *dns.Msg) (changed bool) {
	for _, rr := range got.Answer {
		svcb, ok := rr.(*dns.SVCB)
		if https, isHTTPS := rr.(*dns.HTTPS); isHTTPS {
			svcb, ok = &https.SVCB, true
		}
		if !ok {
			continue
		}
		lower := strings.ToLower(svcb.Target)
		changed = changed || lower != svcb.Target
		svcb.Target = lower
	}
	return changed
}
