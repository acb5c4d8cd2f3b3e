package test

import (
	"fmt"

	"github.com/miekg/dns"
)

// difference is a way in which we mean to answer other than a peer.
type difference struct {
	why  string // with its RFC
	peer string // "" for both
	// even makes two answers that differ in this way, and in nothing else,
	// alike, and tells whether it had to.
	even func(got, want *dns.Msg) bool
}

// deliberate lists every difference from NSD 4.6 and Knot 3.2 that is meant.
var deliberate = []difference{}

// differ says what differs between our answer and a peer's beside what is
// deliberate, "" if nothing does, and which deliberate differences there were.
// Order, compression and the case of names don't count.
func differ(peer string, got, want *dns.Msg) (diff string, why []string) {
	got, want = got.Copy(), want.Copy()
	for _, d := range deliberate {
		if (d.peer == "" || d.peer == peer) && d.even(got, want) {
			why = append(why, d.why)
		}
	}
	if got.Rcode != want.Rcode {
		return fmt.Sprintf("rcode %s, want %s", dns.RcodeToString[got.Rcode], dns.RcodeToString[want.Rcode]), why
	}
	if got.Authoritative != want.Authoritative || got.Truncated != want.Truncated || got.RecursionAvailable || got.AuthenticatedData {
		return fmt.Sprintf("flags %v, want %v", got.MsgHdr, want.MsgHdr), why
	}
	for _, s := range []struct {
		name      string
		got, want []dns.RR
	}{{"answer", got.Answer, want.Answer}, {"authority", got.Ns, want.Ns}, {"additional", got.Extra, want.Extra}} {
		if diff := compareSection(s.name, s.got, s.want); diff != "" {
			return diff, why
		}
	}
	return "", why
}
