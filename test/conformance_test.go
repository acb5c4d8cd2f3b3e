package test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/storeurl"
	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"

	"github.com/miekg/dns"
)

var (
	conformanceRounds = flag.Int("conformance-rounds", 1, "how many sets of random zones TestRandomZonesAreAnsweredAsNSDAndKnotDo makes")
	conformanceSeed   = flag.Uint64("conformance-seed", 0, "the seed of the first set; 0 for a random one")
)

// conformanceZones is how many random zones one round has.
const conformanceZones = 24

// TestRandomZonesAreAnsweredAsNSDAndKnotDo serves random zones (wildcards, empty
// non-terminals, cuts, DNAMEs, chains, odd octets, long names; unsigned, and
// signed with NSEC and NSEC3) with NSD, with Knot, and from a store with the
// coredns binary. The answers must be equal but for what is listed in
// deliberate, and every signature in ours must verify.
func TestRandomZonesAreAnsweredAsNSDAndKnotDo(t *testing.T) {
	seed := *conformanceSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	for round := range *conformanceRounds {
		seed := seed + uint64(round) //nolint:gosec // not negative
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { conformanceRound(t, seed) })
	}
}

func conformanceRound(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	keys := newKeyFiles(t)
	var zones []*conformanceZone
	for i := range conformanceZones {
		zones = append(zones, makeConformanceZone(t, rnd, keys, fmt.Sprintf("z%d.test.", i), i%signings))
	}
	servers := startConformanceServers(t, zones)
	kinds, asked := map[string]int{}, 0
	explained := map[string]int{}
	survey := map[string]int{}
	defer func() { for k, n := range survey { t.Log(n, k) } ; if len(survey) > 0 { t.Fail() } }()
	for _, z := range zones {
		var queries []*dns.Msg
		for _, q := range z.questions() {
			for _, do := range []bool{false, true} {
				m := question(q.name, q.typ)
				m.IsEdns0().SetDo(do)
				queries = append(queries, m)
			}
		}
		asked += len(queries)
		replies := askAll(t, servers, queries)
		signatures := newSignatureCheck(z.key)
		for i, m := range queries {
			ours := replies[0][i]
			kinds[kindOf(ours)]++
			if z.signed != unsigned {
				signatures.check(t, ours)
			}
			for p, peer := range []string{"NSD", "Knot"} {
				want := replies[p+1][i]
				diff, why := differ(peer, ours, want)
				for _, w := range why {
					explained[w]++
				}
				if diff == "" {
					continue
				}
				key := fmt.Sprint(peer, " signed=", z.signed, " ", kindOf(ours), " do=", m.IsEdns0().Do(), " ", strings.SplitN(diff, ":", 2)[0], " any=", m.Question[0].Qtype==255)
				survey[key]++
				if survey[key] == 1 { t.Logf("%s\n%s %s\n", key, m.Question[0].String(), show(ours, want)) }
			}
		}
		if z.signed != unsigned && signatures.verified < 10 {
			t.Errorf("only %d signatures of %s were checked", signatures.verified, z.origin)
		}
	}
	t.Logf("%d queries: %v; deliberate differences: %v", asked, kinds, explained)
	for _, kind := range []string{"answer", "delegation", "nodata", "nxdomain", "yxdomain"} {
		if kinds[kind] < 20 {
			t.Errorf("only %d answers of kind %s: the generator does not reach it", kinds[kind], kind)
		}
	}
}

func withoutSignatures(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "\tRRSIG\t") {
			out = append(out, strings.TrimSuffix(line, "\n"))
		}
	}
	return strings.Join(out, "\n")
}

// startConformanceServers starts ours, NSD and Knot, in this order, and returns
// their addresses.
func startConformanceServers(t *testing.T, zones []*conformanceZone) [3]string {
	t.Helper()
	url := "dir://" + t.TempDir()
	popctl(t, url, 0, "init")
	st, err := storeurl.Open(url, storeurl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var origins []string
	var files []zoneFile
	for _, z := range zones {
		publishFile(t, st, z.origin, z.path)
		origins = append(origins, z.origin)
		files = append(files, zoneFile{z.origin, z.path})
	}
	ours, nsd, knot := freePort(t), freePort(t), freePort(t)
	startCoreDNS(t, fmt.Sprintf(".:%d {\n bind 127.0.0.1\n zkzone %s {\n source %s\n startup_timeout 20s\n }\n errors\n}\n",
		ours, strings.Join(origins, " "), url), loopback(ours))
	startNSD(t, nsd, files...)
	startKnot(t, knot, files...)
	return [3]string{loopback(ours), loopback(nsd), loopback(knot)}
}

// publishFile publishes a zone as popctl does.
func publishFile(t *testing.T, st store.Store, origin, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	snapshot, err := zonefile.Read(f, path, zone.MustParseName(origin))
	if err != nil {
		t.Fatalf("%v\n%s", err, readAll(f))
	}
	if _, err := publish.New(st, publish.Options{By: "test"}).PublishZone(t.Context(), snapshot); err != nil {
		t.Fatal(err)
	}
}

// askAll asks every server everything, each over one TCP connection at a time,
// so that nothing is truncated.
func askAll(t *testing.T, servers [3]string, queries []*dns.Msg) [3][]*dns.Msg {
	t.Helper()
	var replies [3][]*dns.Msg
	var errs [3]error
	var wg sync.WaitGroup
	for i, addr := range servers {
		wg.Go(func() { replies[i], errs[i] = askInTurn(addr, queries) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("server %d: %v", i, err)
		}
	}
	return replies
}

// askInTurn asks one after the other. When a server ends the connection it goes
// on with another.
func askInTurn(addr string, queries []*dns.Msg) ([]*dns.Msg, error) {
	replies := make([]*dns.Msg, 0, len(queries))
	var err error
	for attempt, before := 0, 0; len(replies) < len(queries) && attempt < 3; attempt++ {
		if replies, err = askOnce(addr, queries, replies); len(replies) > before {
			attempt, before = 0, len(replies)
		}
	}
	return replies, err
}

// askOnce asks over one connection what has no reply yet.
func askOnce(addr string, queries, replies []*dns.Msg) ([]*dns.Msg, error) {
	conn, err := dns.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return replies, err
	}
	defer conn.Close()
	for _, m := range queries[len(replies):] {
		if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
			return replies, err
		}
		if err := conn.WriteMsg(m); err != nil {
			return replies, fmt.Errorf("ask %s: %w", m.Question[0].String(), err)
		}
		r, err := conn.ReadMsg()
		if err != nil {
			return replies, fmt.Errorf("answer to %s: %w", m.Question[0].String(), err)
		}
		if r.Id != m.Id {
			return replies, fmt.Errorf("answer to %s: another message's", m.Question[0].String())
		}
		replies = append(replies, r)
	}
	return replies, nil
}

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

func show(a, b *dns.Msg) string {
	d := func(x, y []dns.RR) string {
		m := map[string]bool{}
		for _, r := range y { m[strings.ToLower(r.String())] = true }
		o := ""
		for _, r := range x { l := strings.ToLower(r.String()); if !m[l] && r.Header().Rrtype != 41 && r.Header().Rrtype != 46 { o += "      " + l + "\n" } }
		return o
	}
	return fmt.Sprintf("rcode %d/%d aa %t/%t\n  ANS only ours\n%s  ANS only peer\n%s  AUTH only ours\n%s  AUTH only peer\n%s  ADD only ours\n%s  ADD only peer\n%s", a.Rcode, b.Rcode, a.Authoritative, b.Authoritative, d(a.Answer, b.Answer), d(b.Answer, a.Answer), d(a.Ns, b.Ns), d(b.Ns, a.Ns), d(a.Extra, b.Extra), d(b.Extra, a.Extra))
}
