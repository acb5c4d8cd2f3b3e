package test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// difference is a way in which we mean to answer other than a peer.
type difference struct {
	why   string // with its RFC
	peers string // "" for all
	// even makes two answers that differ in this way, and in nothing else,
	// alike, and tells whether it had to.
	even func(got, want *dns.Msg) bool
}

// deliberate lists every difference from NSD 4.6, Knot 3.2, and the file plugin of
// CoreDNS 1.15 that is meant.
var deliberate = []difference{
	{"names in rdata are in lower case, which means the same (RFC 4343 3, RFC 4034 6.2)", "", evenCase},
	{"ANY gets one RRset (RFC 8482 4.1)", "NSD Knot", evenANY},
	{"the target of SVCB and HTTPS keeps its case, as of all types that RFC 4034 6.2 does not list (RFC 6840 5.1, RFC 3597 7)", "file", evenServiceCase},
	{"the apex exists, also if nothing but SOA and NS is there (RFC 1034 4.2.1, RFC 2308 2.2)", "file", evenBareApex},
	{"the signature of a wildcard's CNAME has the name that was asked for (RFC 4035 3.1.3.3)", "file", evenWildcardSignature},
	{"ANY gets an RRset where there is one (RFC 8482 4.1); file says that there is none", "file", evenNoANY},
	{"a referral has the child's DS in an unsigned zone too (RFC 4035 3.1.4)", "", evenUnsignedDS},
	{"positive answers come without the apex NS, which RFC 1034 4.3.2 does not ask for", "NSD file", evenApexNS},
	{"the owner of an NSEC3 is no name of the zone, so that a name below it is as any other that does not exist (RFC 5155 7.2.8)", "NSD", evenBelowNSEC3},
	{"a name of more than 255 octets is YXDOMAIN, whatever is in the zone; Knot cuts off the front of some, file says that they don't exist (RFC 6672 2.2)", "Knot file", evenOverflow},
	{"a name that begins with an asterisk and does not exist gets the proofs of any other (RFC 4592 2.1.3, RFC 4035 3.1.3.3, RFC 5155 7.2.5 and 7.2.6)", "Knot", evenSynthesisedAsterisk},
	{"a chain is followed up to 16 CNAMEs and until it comes round; NSD stops where a DNAME is met again, Knot after 5 (RFC 1034 5.2.2 leaves it open)", "NSD Knot", evenChain},
	{"additional addresses from a wildcard have the name that was looked for (RFC 4592 3.3.1)", "NSD", evenWildcardTarget},
	{"what a DNAME leads to is proven as if it had been asked for; NSD takes NSECs that prove something else (RFC 4035 3.1.3, RFC 6672 3.2)", "NSD", evenNSECBehindDNAME},
	{"a question for NSEC3 follows CNAMEs as others do (RFC 1034 3.6.2)", "NSD", evenLinkType(dns.TypeNSEC3)},
	{"a question for NSEC follows CNAMEs as others do where there is no NSEC (RFC 1034 3.6.2)", "Knot", evenLinkType(dns.TypeNSEC)},
	{"NODATA of a name that is a wildcard's own needs no closest encloser proof (RFC 5155 7.2.3)", "NSD", evenOwnWildcard},
	{"NXDOMAIN has the NSEC that covers the wildcard; NSD takes that which covers or is the closest encloser's, even where a label that sorts before the asterisk comes between (RFC 4035 3.1.3.2, RFC 4034 6.1)", "NSD", evenWildcardCover},
	{"NODATA of a wildcard has the closest encloser's own NSEC3 too (RFC 5155 7.2.5)", "NSD", evenEncloser},
	{"NODATA of a wildcard that is an empty non-terminal is proven by the NSEC before it (RFC 4035 3.1.3.4)", "Knot", evenEmptyWildcard},
	{"the NSEC that a wildcard gave for a question for NSEC does not stand for the proof that the name does not exist (RFC 4035 3.1.3.3)", "Knot", evenSynthesisedNSEC},
	{"the addresses of an HTTPS record's own owner go along (RFC 9460 4.2)", "", evenOwnTarget},
	{"addresses below a cut are the child's: they go along with a referral and with the zone's own name servers, not with MX and SRV (RFC 1034 4.2.1)", "Knot file", evenGlue},
	{"RRsets are left out whole, and TC tells of those alone that are required (RFC 2181 9, RFC 9471 3.1)", "file", evenTruncation},
	{"the TTL of a negative answer's SOA is at most its MINIMUM (RFC 2308 3)", "file", evenNegativeTTL},
	{"what is not there is proven wherever an answer says so (RFC 4035 3.1.3 and 3.1.4.1)", "file", evenProof},
	{"addresses of name servers beside the child go along with a referral (RFC 9471 2.2)", "file", evenSiblingGlue},
	{"an NSEC that was asked for is the answer, beside a CNAME too (RFC 4035 2.5)", "file", evenBesideCNAME},
	{"no record is in a section twice (RFC 2181 5)", "file", evenTwice},
	{"a chain that comes round or is long is answered with what was followed; file says SERVFAIL to some, and stops after 9 (RFC 1034 5.2.2 leaves it open)", "file", evenEndless},
	{"additional addresses come from wildcards too (RFC 1034 4.3.2 step 6, RFC 4592 3.3.1)", "file", evenWildcardAddresses},
	{"behind a chain of aliases comes what a question for its last name gets (RFC 1034 4.3.2 step 3a, RFC 2308 2.1); file looks only for what is in its tree", "file", evenBehindChain},
	{"no wildcard stands for an empty non-terminal, which exists (RFC 4592 2.2.2)", "file", evenEmptyNonTerminal},
}

// unexplained says what differs between our answer and a peer's beside what is
// deliberate, "" if nothing does, and which deliberate differences there were.
// Order, compression and the case of owners don't count.
func unexplained(peer string, got, want *dns.Msg) (diff string, why []string) {
	if diff = unequal(got, want); diff == "" {
		return "", nil
	}
	got, want = got.Copy(), want.Copy()
	for _, d := range deliberate {
		if d.peers != "" && !strings.Contains(d.peers, peer) || !d.even(got, want) {
			continue
		}
		why = append(why, d.why)
		if diff = unequal(got, want); diff == "" {
			break
		}
	}
	return diff, why
}

func unequal(got, want *dns.Msg) string {
	if got.Rcode != want.Rcode {
		return fmt.Sprintf("rcode %s, want %s", dns.RcodeToString[got.Rcode], dns.RcodeToString[want.Rcode])
	}
	if got.Authoritative != want.Authoritative || got.Truncated != want.Truncated || got.RecursionAvailable || got.AuthenticatedData {
		return fmt.Sprintf("flags %v, want %v", got.MsgHdr, want.MsgHdr)
	}
	for _, s := range []struct {
		name      string
		got, want []dns.RR
	}{{"answer", got.Answer, want.Answer}, {"authority", got.Ns, want.Ns}, {"additional", got.Extra, want.Extra}} {
		if diff := compareSection(s.name, s.got, s.want); diff != "" {
			return diff
		}
	}
	return ""
}

// covered is the type of a record, or that which a signature is over.
func covered(rr dns.RR) uint16 {
	if sig, ok := rr.(*dns.RRSIG); ok {
		return sig.TypeCovered
	}
	return rr.Header().Rrtype
}

// drop takes records out and tells whether there were any.
func drop(section *[]dns.RR, which func(dns.RR) bool) bool {
	n := len(*section)
	*section = slices.DeleteFunc(*section, which)
	return len(*section) < n
}

// missing makes a predicate for records that are not in the section.
func missing(from []dns.RR) func(dns.RR) bool {
	has := map[string]bool{}
	for _, c := range canonical(from) {
		has[c] = true
	}
	return func(rr dns.RR) bool {
		c := canonical([]dns.RR{rr})
		return len(c) > 0 && !has[c[0]]
	}
}
