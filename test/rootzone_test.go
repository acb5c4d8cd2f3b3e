package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/store/zktest"

	"github.com/miekg/dns"
)

// rootQueries is how many queries of the root zone are compared.
const rootQueries = 5000

// TestRootZoneIsAnsweredAsFileAndNSDDo publishes the IANA root to a real
// ZooKeeper and compares the served answers with those of two others that
// serve the same file: the stock file plugin in the same process, and NSD; with
// DO, where the proofs are at stake, with NSD alone.
func TestRootZoneIsAnsweredAsFileAndNSDDo(t *testing.T) {
	path := sharedData(t, "root.zone")
	zk := zktest.Start(t)
	url := zk.URL("/popdns")
	popctl(t, url, 0, "init")
	popctl(t, url, 0, "zone", "publish", ".", path)
	ours, file, nsd := freePort(t), freePort(t), freePort(t)
	corefile := fmt.Sprintf(".:%d {\n bind 127.0.0.1\n zkzone {\n source %s\n startup_timeout 20s\n }\n errors\n}\n.:%d {\n bind 127.0.0.1\n file %s .\n errors\n}\n", ours, url, file, path)
	startCoreDNS(t, corefile, loopback(ours))
	startNSD(t, nsd, zoneFile{".", path})

	kinds, differ := map[string]int{}, 0
	queries, addresses := rootZoneQueries(t, path)
	for _, q := range queries {
		m := question(q.Name, q.Qtype)
		m.IsEdns0().SetUDPSize(4096)
		got := ask(t, loopback(ours), m.Copy())
		kinds[kindOf(got)]++
		withDO := m.Copy()
		withDO.IsEdns0().SetDo()
		if diff, _ := unexplained("NSD", ask(t, loopback(ours), withDO), ask(t, loopback(nsd), withDO)); diff != "" {
			t.Fatalf("%s %s with DO, compared with NSD: %s", q.Name, dns.TypeToString[q.Qtype], diff)
		}
		for _, peer := range []struct {
			name string
			addr string
			like func(got, want *dns.Msg) string
		}{
			{"NSD", loopback(nsd), sameAsNSD},
			{"file", loopback(file), func(got, want *dns.Msg) string { return sameAsFile(got, want, addresses) }},
		} {
			want := ask(t, peer.addr, m.Copy())
			if diff := peer.like(got, want); diff != "" {
				t.Errorf("%s %s, compared with %s: %s\ngot\n%s\nwant\n%s", q.Name, dns.TypeToString[q.Qtype], peer.name, diff, got, want)
				if differ++; differ == 10 {
					t.Fatal("and perhaps more")
				}
			}
		}
	}
	t.Logf("compared: %v", kinds)
	for _, kind := range []string{"answer", "delegation", "nodata", "nxdomain"} {
		if kinds[kind] < 10 {
			t.Errorf("only %d queries of kind %s were compared: the generator does not cover it", kinds[kind], kind)
		}
	}
}

// rootZoneQueries asks for every TLD's NS, DS and glue, for names below the
// cuts, and for names that lie between TLDs. It also returns the zone's
// address records in canonical form.
func rootZoneQueries(t *testing.T, path string) ([]dns.Question, map[string]bool) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tlds, glue, addresses := map[string]bool{}, map[string]bool{}, map[string]bool{}
	zp := dns.NewZoneParser(f, ".", path)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		name := strings.ToLower(rr.Header().Name)
		switch rr.Header().Rrtype {
		case dns.TypeNS:
			if name != "." {
				tlds[name] = true
			}
		case dns.TypeA, dns.TypeAAAA:
			glue[name] = true
			addresses[canonical([]dns.RR{rr})[0]] = true
		}
	}
	if err := zp.Err(); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	var all, extra []dns.Question
	add := func(to *[]dns.Question, name string, qtype uint16) {
		*to = append(*to, dns.Question{Name: name, Qtype: qtype, Qclass: dns.ClassINET})
	}
	for _, qtype := range []uint16{dns.TypeSOA, dns.TypeNS, dns.TypeA, dns.TypeTXT, dns.TypeDNSKEY, dns.TypeNSEC, dns.TypeDS} {
		add(&all, ".", qtype)
	}
	for tld := range tlds {
		add(&all, tld, dns.TypeNS)
		add(&all, tld, dns.TypeDS)
		below := fmt.Sprintf("host%d.example.%s", rnd.IntN(1000), tld)
		add(&extra, below, dns.TypeA)
		add(&extra, "www."+tld, dns.TypeAAAA)
		between := tld[:len(tld)-1] + string(rune('a'+rnd.IntN(26))) + string(rune('a'+rnd.IntN(26))) + "."
		if !tlds[between] {
			add(&extra, between, dns.TypeA)
			add(&extra, "sub."+between, dns.TypeMX)
		}
	}
	for name := range glue {
		add(&extra, name, dns.TypeA)
	}
	key := func(q dns.Question) string { return q.Name + dns.TypeToString[q.Qtype] }
	byKey := func(a, b dns.Question) int { return strings.Compare(key(a), key(b)) }
	slices.SortFunc(all, byKey)
	slices.SortFunc(extra, byKey)
	rnd.Shuffle(len(extra), func(i, j int) { extra[i], extra[j] = extra[j], extra[i] })
	all = append(all, extra[:max(0, min(len(extra), rootQueries-len(all)))]...)
	if len(all) < rootQueries {
		t.Fatalf("only %d queries generated, want %d", len(all), rootQueries)
	}
	return all, addresses
}

func kindOf(m *dns.Msg) string {
	switch {
	case m.Rcode == dns.RcodeNameError:
		return "nxdomain"
	case m.Rcode == dns.RcodeYXDomain:
		return "yxdomain"
	case len(m.Answer) > 0:
		return "answer"
	case !m.Authoritative:
		return "delegation"
	default:
		return "nodata"
	}
}

// sameAsNSD says what differs, "" if nothing does. Order and compression don't
// count. One difference is meant: NSD (and file) add the apex NS set to positive
// answers, which RFC 1034 does not ask for and which only makes them longer; its
// addresses go with it.
func sameAsNSD(got, want *dns.Msg) string {
	if got.Rcode != want.Rcode {
		return fmt.Sprintf("rcode %s, want %s", dns.RcodeToString[got.Rcode], dns.RcodeToString[want.Rcode])
	}
	if got.Authoritative != want.Authoritative || got.Truncated != want.Truncated {
		return fmt.Sprintf("AA %t TC %t, want AA %t TC %t", got.Authoritative, got.Truncated, want.Authoritative, want.Truncated)
	}
	if diff := compareSection("answer", got.Answer, want.Answer); diff != "" {
		return diff
	}
	if len(want.Answer) > 0 && len(got.Ns) == 0 {
		return ""
	}
	if diff := compareSection("authority", got.Ns, want.Ns); diff != "" {
		return diff
	}
	return compareSection("additional", got.Extra, want.Extra)
}

// sameAsFile is sameAsNSD but for two things in which CoreDNS 1.15.0's file
// differs from NSD too:
//
//   - it leaves out the addresses of name servers that lie in another child of
//     the zone. RFC 9471 2.2 wants such sibling glue; what we add must be the zone's;
//   - in the root zone it says NODATA where a name does not exist, because the
//     wildcard that it looks for beside a single label is the empty string, and
//     everything lies below that.
func sameAsFile(got, want *dns.Msg, addresses map[string]bool) string {
	got, want = got.Copy(), want.Copy()
	if kindOf(got) == "nxdomain" && kindOf(want) == "nodata" {
		want.Rcode = dns.RcodeNameError
	}
	if kindOf(got) == "delegation" {
		var extra []dns.RR
		for _, rr := range got.Extra {
			sibling := rr.Header().Rrtype != dns.TypeOPT && !dns.IsSubDomain(got.Ns[0].Header().Name, rr.Header().Name)
			if !sibling {
				extra = append(extra, rr)
			} else if !addresses[canonical([]dns.RR{rr})[0]] {
				return fmt.Sprintf("sibling glue that the zone does not have: %s", rr)
			}
		}
		got.Extra = extra
	}
	return sameAsNSD(got, want)
}

func compareSection(name string, got, want []dns.RR) string {
	g, w := canonical(got), canonical(want)
	if !slices.Equal(g, w) {
		return fmt.Sprintf("%s section differs:\n got %s\nwant %s", name, strings.Join(g, "\n     "), strings.Join(w, "\n     "))
	}
	return ""
}

// canonical is a section as sorted uncompressed wire records without OPT.
func canonical(rrs []dns.RR) []string {
	out := []string{}
	for _, rr := range rrs {
		if rr.Header().Rrtype == dns.TypeOPT {
			continue
		}
		rr = dns.Copy(rr)
		rr.Header().Name = strings.ToLower(rr.Header().Name)
		buf := make([]byte, dns.Len(rr)+64)
		n, err := dns.PackRR(rr, buf, 0, nil, false)
		if err != nil {
			out = append(out, rr.String())
			continue
		}
		out = append(out, fmt.Sprintf("%s %x", rr.Header().Name, buf[:n]))
	}
	slices.Sort(out)
	return out
}
