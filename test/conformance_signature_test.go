package test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// signatureCheck verifies signatures, each once.
type signatureCheck struct {
	key      *dns.DNSKEY
	seen     map[string]bool
	verified int
}

func newSignatureCheck(key *dns.DNSKEY) *signatureCheck {
	return &signatureCheck{key: key, seen: map[string]bool{}}
}

// check verifies every signature of a message over the set beside it, and that
// none is beside no set.
func (c *signatureCheck) check(t *testing.T, m *dns.Msg) {
	t.Helper()
	if m.Question[0].Qtype == dns.TypeRRSIG || m.Question[0].Qtype == dns.TypeANY {
		return
	}
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		sets := map[string][]dns.RR{}
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeRRSIG {
				sets[setKey(h.Name, h.Rrtype)] = append(sets[setKey(h.Name, h.Rrtype)], rr)
			}
		}
		for _, rr := range section {
			sig, ok := rr.(*dns.RRSIG)
			if !ok {
				continue
			}
			set := sets[setKey(sig.Hdr.Name, sig.TypeCovered)]
			text := sig.String() + strings.Join(slices.Sorted(maps.Keys(texts(set))), "\n")
			if c.seen[text] {
				continue
			}
			c.seen[text] = true
			if err := sig.Verify(c.key, set); err != nil || len(set) == 0 {
				t.Errorf("signature %s over %v: %v\nin\n%s", sig, set, err, m)
			}
			c.verified++
		}
	}
}

func setKey(name string, typ uint16) string {
	return strings.ToLower(name) + " " + dns.Type(typ).String()
}

func texts(rrs []dns.RR) map[string]bool {
	out := map[string]bool{}
	for _, rr := range rrs {
		out[rr.String()] = true
	}
	return out
}
