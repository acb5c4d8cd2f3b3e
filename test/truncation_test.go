package test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestUDPNeverCutsAnRRset asks ours and NSD by UDP and by TCP for answers of all
// sizes. What comes from us by UDP is either whole or lacks whole RRsets, and has
// TC where one of them is required (RFC 2181 9, RFC 9471 3.1) and only there.
func TestUDPNeverCutsAnRRset(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	text := truncationZone(rnd)
	zone := zoneFile{"big.test.", writeFile(t, "zone", text)}
	ours, nsd := freePort(t), freePort(t)
	startCoreDNS(t, publishedBlock(t, ours, []zoneFile{zone}), loopback(ours))
	startNSD(t, nsd, zone)
	servers := []string{loopback(ours), loopback(nsd)}

	byTCP := truncationQueries(text)
	whole := askAll(t, "tcp", servers, byTCP)
	counts := map[string]int{}
	for _, size := range []uint16{0, 512, 1232, 512 + uint16(rnd.IntN(1000)), 1} { // 0: no EDNS, 1: what just fits, or nearly
		byUDP := make([]*dns.Msg, len(byTCP))
		for i, q := range byTCP {
			byUDP[i] = q.Copy()
			switch opt := byUDP[i].IsEdns0(); size {
			case 0:
				byUDP[i].Extra = nil
			case 1:
				opt.SetUDPSize(uint16(max(512, whole[0][i].Len()-rnd.IntN(30))))
			default:
				opt.SetUDPSize(size)
			}
		}
		replies := askAll(t, "udp", servers, byUDP)
		for i, q := range byUDP {
			limit := dns.MinMsgSize
			if opt := q.IsEdns0(); opt != nil {
				limit = int(opt.UDPSize())
			} else if byTCP[i].IsEdns0().Do() {
				continue
			}
			kind := checkFit(t, replies[0][i], whole[0][i], limit)
			counts[kind]++
			// Of a referral NSD 4.6 leaves out glue without TC, as RFC 2181 9 alone would allow.
			if got, want := replies[0][i], replies[1][i]; got.Truncated != want.Truncated && (want.Truncated || want.Authoritative) {
				t.Fatalf("TC is %t with us and %t with NSD within %d octets\n%s\n%s\nof\n%s", got.Truncated, want.Truncated, limit, got, want, whole[0][i])
			}
		}
	}
	t.Log(counts)
	for _, kind := range []string{"whole", "less additional", "TC"} {
		if counts[kind] < 20 {
			t.Errorf("only %d replies are of the kind %q", counts[kind], kind)
		}
	}
}

// truncationQueries asks for every owner, with and without DO.
func truncationQueries(text string) (all []*dns.Msg) {
	owners := map[string]bool{"nothing": true}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); f[0] != "@" && f[0] != "$ORIGIN" {
			owners[f[0]] = true
		}
	}
	for _, owner := range slices.Sorted(maps.Keys(owners)) {
		for _, typ := range []uint16{dns.TypeTXT, dns.TypeMX, dns.TypeA} {
			for _, do := range []bool{false, true} {
				q := new(dns.Msg).SetQuestion(owner+".big.test.", typ)
				all = append(all, q.SetEdns0(4096, do))
			}
		}
	}
	return all
}

// truncationZone has answers of all sizes, of which some fit in no UDP message.
func truncationZone(rnd *rand.Rand) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	signed := func(owner, typ string) {
		if rnd.IntN(2) == 0 {
			line("%s 60 IN RRSIG %s 15 3 60 20380101000000 20200101000000 1 big.test. %s", owner, typ, strings.Repeat("A", 86)+"==")
		}
	}
	addresses := func(owner string) {
		for i := range rnd.IntN(4) {
			line("%s 60 IN A 192.0.2.%d", owner, i+1)
		}
		for i := range rnd.IntN(4) {
			line("%s 60 IN AAAA 2001:db8::%d", owner, i+1)
		}
	}
	line("$ORIGIN big.test.\n@ 60 IN SOA ns h 1 2 3 4 5\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53")
	line("@ 60 IN DNSKEY 257 3 15 %s=", strings.Repeat("A", 43))
	for _, typ := range []string{"SOA", "DNSKEY"} { // NSD gives signatures where the key has one
		line("@ 60 IN RRSIG %s 15 2 60 20380101000000 20200101000000 1 big.test. %s==", typ, strings.Repeat("A", 86))
	}
	for i := range 40 {
		owner := fmt.Sprintf("%s%d", strings.Repeat("long", rnd.IntN(10)), i)
		switch rnd.IntN(4) {
		case 0:
			line("%s 60 IN CNAME %s", owner, fmt.Sprintf("alias%d", i))
			signed(owner, "CNAME")
			owner = fmt.Sprintf("alias%d", i)
			fallthrough
		case 1:
			for range 1 + rnd.IntN(5) {
				line("%s 60 IN TXT \"%s\"", owner, strings.Repeat("x", rnd.IntN(200)))
			}
			signed(owner, "TXT")
		case 2:
			for j := range 1 + rnd.IntN(12) {
				line("%s 60 IN MX %d mx%d.%s", owner, j, j, owner)
				addresses(fmt.Sprintf("mx%d.%s", j, owner))
				signed(fmt.Sprintf("mx%d.%s", j, owner), "A")
			}
			signed(owner, "MX")
		case 3: // name servers in the child and beside it
			for j := range 1 + rnd.IntN(12) {
				server := fmt.Sprintf("ns%d.%s", j, owner)
				if rnd.IntN(3) == 0 {
					server = fmt.Sprintf("ns%d-of-%s", j, owner)
				}
				line("%s 60 IN NS %s", owner, server)
				addresses(server)
			}
			line("%s 60 IN DS 1 15 2 %064x", owner, i)
			signed(owner, "DS")
		}
	}
	return b.String()
}

// checkFit checks a reply of at most size octets against the whole one, and says
// what kind of reply it is.
func checkFit(t *testing.T, got, whole *dns.Msg, size int) string {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("%s\nwithin %d octets got\n%s\nof\n%s", fmt.Sprintf(format, args...), size, got, whole)
	}
	wire := got.Copy()
	wire.Compress = true
	if n := wire.Len(); n > size {
		fail("%d octets", n)
	}
	if got.Rcode != whole.Rcode || got.Authoritative != whole.Authoritative {
		fail("other flags")
	}
	missing, cut := "whole", false
	for i, section := range [][2][]dns.RR{{got.Answer, whole.Answer}, {got.Ns, whole.Ns}, {got.Extra, whole.Extra}} {
		had, want := countSets(section[0]), countSets(section[1])
		for k, n := range had {
			if want[k] != n {
				fail("%d of the %d records of %s", n, want[k], k)
			}
		}
		for k := range want {
			if had[k] > 0 {
				continue
			}
			if i < 2 || neededGlue(whole, k) {
				missing, cut = "TC", true
			} else if missing == "whole" {
				missing = "less additional"
			}
		}
	}
	if full := whole.Copy(); missing != "whole" {
		full.Compress = true
		if got.IsEdns0() == nil {
			drop(&full.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
		}
		if full.Len() <= size {
			fail("there was room for all")
		}
	}
	if got.Truncated != cut {
		fail("TC is %t, want %t", got.Truncated, cut)
	}
	return missing
}

// countSets counts the records of each RRset, its signatures included.
func countSets(rrs []dns.RR) map[string]int {
	n := map[string]int{}
	for _, rr := range rrs {
		typ := rr.Header().Rrtype
		if sig, ok := rr.(*dns.RRSIG); ok {
			typ = sig.TypeCovered
		}
		if typ != dns.TypeOPT {
			n[strings.ToLower(rr.Header().Name)+" "+dns.Type(typ).String()]++
		}
	}
	return n
}

// neededGlue: the owner of the additional set is a name server in the zone that
// the message refers to.
func neededGlue(m *dns.Msg, set string) bool {
	for _, rr := range m.Ns {
		if ns, ok := rr.(*dns.NS); ok && strings.HasPrefix(set, strings.ToLower(ns.Ns)+" ") && dns.IsSubDomain(ns.Hdr.Name, ns.Ns) {
			return true
		}
	}
	return false
}
