package test

import (
	"slices"
	"strings"

	"github.com/popdns/popdns/internal/zone"

	"github.com/miekg/dns"
)

// What makes answers that differ as meant alike, see deliberate.

func evenCase(_, want *dns.Msg) bool {
	changed := false
	lower := func(name *string) {
		l := strings.ToLower(*name)
		changed = changed || l != *name
		*name = l
	}
	for _, section := range [][]dns.RR{want.Answer, want.Ns, want.Extra} {
		for _, rr := range section {
			switch rr := rr.(type) {
			case *dns.NS:
				lower(&rr.Ns)
			case *dns.CNAME:
				lower(&rr.Target)
			case *dns.DNAME:
				lower(&rr.Target)
			case *dns.MX:
				lower(&rr.Mx)
			case *dns.SRV:
				lower(&rr.Target)
			}
		}
	}
	return changed
}

// evenANY puts the one RRset that we chose in the place of the one that the peer chose,
// if both are of one owner. That ours is as if asked for is what checkEnd checks.
func evenANY(got, want *dns.Msg) bool {
	if got.Question[0].Qtype != dns.TypeANY || len(got.Answer) == 0 || len(want.Answer) == 0 {
		return false
	}
	ours, theirs := lastSet(got), lastSet(want)
	if ours == nil || theirs == nil || !strings.EqualFold(ours.Name, theirs.Name) || ours.Rrtype == theirs.Rrtype {
		return false
	}
	same := got.Copy()
	of := func(set dns.RR_Header) func(dns.RR) bool {
		return func(rr dns.RR) bool {
			return covered(rr) == set.Rrtype && strings.EqualFold(rr.Header().Name, set.Name)
		}
	}
	notOurs := func(rr dns.RR) bool { return !of(*ours)(rr) }
	drop(&want.Answer, of(*theirs))
	drop(&same.Answer, notOurs)
	want.Answer, want.Extra = append(want.Answer, same.Answer...), same.Extra
	return true
}

func evenUnsignedDS(got, want *dns.Msg) bool {
	notTheirs := missing(want.Ns)
	if slices.ContainsFunc(got.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeRRSIG }) || got.Authoritative && len(got.Answer) == 0 {
		return false
	}
	return drop(&got.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeDS && notTheirs(rr) })
}

func evenApexNS(got, want *dns.Msg) bool {
	servers := map[string]bool{}
	cut := func(rr dns.RR) bool { return covered(rr) == dns.TypeNS }
	if len(want.Answer) == 0 || slices.ContainsFunc(got.Ns, cut) {
		return false
	}
	dropped := drop(&want.Ns, func(rr dns.RR) bool {
		if ns, ok := rr.(*dns.NS); ok {
			servers[strings.ToLower(ns.Ns)] = true
		}
		return cut(rr)
	})
	notOurs := missing(got.Extra)
	drop(&want.Extra, func(rr dns.RR) bool { return servers[strings.ToLower(rr.Header().Name)] && notOurs(rr) })
	return dropped
}

func evenBelowNSEC3(got, want *dns.Msg) bool {
	labels := dns.SplitDomainName(got.Question[0].Name)
	if len(labels) < 2 || labels[0] != belowHash {
		return false
	}
	*want = *got.Copy()
	return true
}

func evenLinkType(typ uint16) func(got, want *dns.Msg) bool {
	return func(got, want *dns.Msg) bool {
		if got.Question[0].Qtype != typ || len(got.Answer) <= len(want.Answer) || slices.ContainsFunc(want.Answer, missing(got.Answer)) || want.Rcode != dns.RcodeSuccess {
			return false
		}
		*want = *got.Copy()
		return true
	}
}

func evenOwnWildcard(got, want *dns.Msg) bool {
	if !strings.HasPrefix(lastName(got), "*.") || got.Rcode != dns.RcodeSuccess {
		return false
	}
	notOurs := missing(got.Ns)
	return drop(&want.Ns, func(rr dns.RR) bool { return covered(rr) == dns.TypeNSEC3 && notOurs(rr) })
}

func evenWildcardCover(got, want *dns.Msg) bool {
	if got.Rcode != dns.RcodeNameError {
		return false
	}
	notOurs, notTheirs := missing(got.Ns), missing(want.Ns)
	if !drop(&want.Ns, func(rr dns.RR) bool {
		return covered(rr) == dns.TypeNSEC && notOurs(rr)
	}) {
		return false
	}
	drop(&got.Ns, func(rr dns.RR) bool { return covered(rr) == dns.TypeNSEC && notTheirs(rr) })
	return true
}

// lastName is the name that the answer's chain ends with.
func lastName(m *dns.Msg) string {
	name := m.Question[0].Name
	for _, rr := range m.Answer {
		if cname, ok := rr.(*dns.CNAME); ok {
			name = cname.Target
		}
	}
	return name
}

func evenEncloser(got, want *dns.Msg) bool {
	if got.Rcode != dns.RcodeSuccess {
		return false
	}
	notTheirs, enclosers := missing(want.Ns), map[string]bool{}
	for _, rr := range got.Ns {
		if rr.Header().Rrtype == dns.TypeNSEC3 && notTheirs(rr) {
			enclosers[rr.Header().Name] = true
		}
	}
	return len(enclosers) == 1 && drop(&got.Ns, func(rr dns.RR) bool { return enclosers[rr.Header().Name] })
}

func evenEmptyWildcard(got, want *dns.Msg) bool {
	if got.Rcode != dns.RcodeSuccess {
		return false
	}
	notTheirs := missing(want.Ns)
	before := map[string]bool{} // owners of NSECs that end below a wildcard
	for _, rr := range got.Ns {
		if nsec, ok := rr.(*dns.NSEC); ok && strings.Contains(nsec.NextDomain, ".*.") && notTheirs(rr) {
			before[rr.Header().Name] = true
		}
	}
	return drop(&got.Ns, func(rr dns.RR) bool { return covered(rr) == dns.TypeNSEC && before[rr.Header().Name] })
}

func evenSynthesisedNSEC(got, want *dns.Msg) bool {
	if got.Question[0].Qtype != dns.TypeNSEC || len(got.Answer) == 0 {
		return false
	}
	notTheirs := missing(want.Ns)
	return drop(&got.Ns, func(rr dns.RR) bool { return covered(rr) == dns.TypeNSEC && notTheirs(rr) })
}

func evenOwnTarget(got, want *dns.Msg) bool {
	owners := map[string]bool{}
	for _, rr := range got.Answer {
		if https, ok := rr.(*dns.HTTPS); ok && https.Target == "." {
			owners[https.Hdr.Name] = true
		}
	}
	notTheirs := missing(want.Extra)
	return drop(&got.Extra, func(rr dns.RR) bool { return owners[rr.Header().Name] && notTheirs(rr) })
}

func evenGlue(got, want *dns.Msg) bool {
	if len(got.Answer) == 0 {
		return false
	}
	notOurs := missing(got.Extra)
	return drop(&want.Extra, func(rr dns.RR) bool { return notOurs(rr) })
}

// evenChain concerns chains that one of the two did not follow to the end, with a
// reason to stop there. What it has of it must be the other's too.
func evenChain(got, want *dns.Msg) bool {
	ours, theirs := len(got.Answer) > len(want.Answer), len(want.Answer) > len(got.Answer) // who went further
	switch {
	case ours && want.Rcode == dns.RcodeSuccess && (links(want) >= 5 || passedTwice(got.Answer)) && !slices.ContainsFunc(want.Answer, missing(got.Answer)):
	case theirs && got.Rcode == dns.RcodeSuccess && (links(got) >= maxLinks || comesRound(got)) && !slices.ContainsFunc(got.Answer, missing(want.Answer)):
	case want.Rcode == dns.RcodeSuccess && got.Rcode == dns.RcodeYXDomain && overflows(got) && passedTwice(got.Answer) && !slices.ContainsFunc(want.Answer, missing(got.Answer)):
		// The step that we took further was one too many.
	default:
		return false
	}
	*want = *got.Copy()
	return true
}

// passedTwice tells whether a chain comes from below a DNAME to below it again.
func passedTwice(answer []dns.RR) bool {
	for _, rr := range answer {
		dname, ok := rr.(*dns.DNAME)
		if !ok {
			continue
		}
		for _, rr := range answer {
			if cname, ok := rr.(*dns.CNAME); ok && isBelow(cname.Hdr.Name, dname) && isBelow(cname.Target, dname) {
				return true
			}
		}
	}
	return false
}

func evenWildcardTarget(got, want *dns.Msg) bool {
	data := func(rrs []dns.RR) (out []string) {
		for _, rr := range rrs {
			if rr.Header().Rrtype != dns.TypeOPT {
				out = append(out, strings.TrimPrefix(rr.String(), rr.Header().Name))
			}
		}
		slices.Sort(out)
		return out
	}
	if len(got.Answer) == 0 || compareSection("", got.Extra, want.Extra) == "" || !slices.Equal(data(got.Extra), data(want.Extra)) {
		return false
	}
	want.Extra = slices.Clone(got.Extra)
	return true
}

func isBelow(name string, dname *dns.DNAME) bool {
	return !strings.EqualFold(name, dname.Hdr.Name) && dns.IsSubDomain(strings.ToLower(dname.Hdr.Name), strings.ToLower(name))
}

// overflows tells whether a DNAME of the answer makes too long a name of the last one.
func overflows(m *dns.Msg) bool {
	last, size := lastName(m), 0
	for _, rr := range m.Answer {
		if dname, ok := rr.(*dns.DNAME); ok && isBelow(last, dname) {
			size = wireLen(last) - wireLen(dname.Hdr.Name) + wireLen(dname.Target)
		}
	}
	return size > 255
}

// evenOverflow computes the length anew, unless what it needs was left out for room.
func evenOverflow(got, want *dns.Msg) bool {
	if got.Rcode != dns.RcodeYXDomain || unequal(got, want) == "" {
		return false
	}
	if !overflows(got) && !got.Truncated {
		return false
	}
	*want = *got.Copy()
	return true
}

func wireLen(name string) int { return len(zone.MustParseName(name)) }

func evenSynthesisedAsterisk(got, want *dns.Msg) bool {
	isAsterisk := func(rr dns.RR) bool { return strings.HasPrefix(rr.Header().Name, "*.") } // anywhere in a chain
	if !strings.HasPrefix(got.Question[0].Name, "*.") && !strings.HasPrefix(lastName(got), "*.") && !slices.ContainsFunc(got.Answer, isAsterisk) {
		return false
	}
	notTheirs := missing(want.Ns)
	return drop(&got.Ns, func(rr dns.RR) bool {
		return (covered(rr) == dns.TypeNSEC || covered(rr) == dns.TypeNSEC3) && notTheirs(rr)
	})
}

func evenNSECBehindDNAME(got, want *dns.Msg) bool {
	if !slices.ContainsFunc(got.Answer, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeDNAME }) {
		return false
	}
	nsec := func(rr dns.RR) bool { return covered(rr) == dns.TypeNSEC }
	ours, theirs := drop(&got.Ns, nsec), drop(&want.Ns, nsec)
	return ours || theirs
}
