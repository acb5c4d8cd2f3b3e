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
	conformanceRounds = flag.Int("conformance-rounds", 1, "how many sets of random zones each TestRandomZones… makes")
	conformanceSeed   = flag.Uint64("conformance-seed", 1, "the seed of the first set; 0 for a random one, as make fuzz has it: what it finds must not stop everybody else")
)

// firstSeed is the one that was asked for, or a random one.
func firstSeed() uint64 {
	if *conformanceSeed == 0 {
		return rand.Uint64()
	}
	return *conformanceSeed
}

// conformanceZones is how many random zones one round has.
const conformanceZones = 24

// TestRandomZonesAreAnsweredAsNSDAndKnotDo serves random zones (wildcards, empty
// non-terminals, cuts, DNAMEs, chains, odd octets, long names; unsigned, and
// signed with NSEC and NSEC3) with NSD, with Knot, and from a store with the
// coredns binary. The answers must be equal but for what is listed in
// deliberate, and every signature in ours must verify.
func TestRandomZonesAreAnsweredAsNSDAndKnotDo(t *testing.T) {
	seed := firstSeed()
	for round := range *conformanceRounds {
		t.Run(fmt.Sprintf("seed=%d", seed+uint64(round)), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed+uint64(round), 0))
			keys := newKeyFiles(t)
			zones := make([]*conformanceZone, conformanceZones)
			for i := range zones {
				zones[i] = makeConformanceZone(t, rnd, keys, fmt.Sprintf("z%d.test.", i), i%signings)
			}
			c := comparison{servers: startConformanceServers(t, zones), kinds: map[string]int{}, explained: map[string]int{}}
			for _, z := range zones {
				c.compare(t, z)
			}
			c.report(t)
		})
	}
}

// comparison asks the servers and counts what it saw.
type comparison struct {
	servers   []string // ours, NSD, Knot
	queries   int
	kinds     map[string]int // of our answers
	explained map[string]int // deliberate differences
	verified  int            // signatures
	wrong     int
}

// compare asks all questions of a zone.
func (c *comparison) compare(t *testing.T, z *conformanceZone) {
	t.Helper()
	questions := z.questions()
	queries := make([]*dns.Msg, 0, 2*len(questions))
	for _, q := range questions {
		for _, do := range []bool{false, true} {
			m := question(q.name, q.typ)
			m.IsEdns0().SetDo(do)
			queries = append(queries, m)
		}
	}
	c.queries += len(queries)
	replies := askAll(t, "tcp", c.servers, queries)
	signatures := newSignatureCheck(z.key)
	for i := range queries {
		ours := replies[0][i]
		c.kinds[kindOf(ours)]++
		if z.signed != unsigned {
			signatures.check(t, ours)
		}
		text := func() string { return unsignedText(t, z.path) }
		c.compareWith(t, z.origin, text, "NSD", ours, replies[1][i])
		c.compareWith(t, z.origin, text, "Knot", ours, replies[2][i])
	}
	c.verified += signatures.verified
}

func (c *comparison) compareWith(t *testing.T, origin string, text func() string, peer string, got, want *dns.Msg) {
	t.Helper()
	diff, why := unexplained(peer, got, want)
	for _, w := range why {
		c.explained[w]++
	}
	if diff == "" {
		return
	}
	t.Errorf("%s, compared with %s: %s\nquestion %s\ngot\n%s\nwant\n%s\nof the zone\n%s", origin, peer, diff, got.Question[0].String(), got, want, text())
	if c.wrong++; c.wrong == 3 {
		t.Fatal("and perhaps more")
	}
}

// report prints the counts and fails where the generator reached too little.
func (c *comparison) report(t *testing.T) {
	t.Helper()
	t.Logf("%d queries: %v; %d signatures verified", c.queries, c.kinds, c.verified)
	for _, why := range slices.Sorted(maps.Keys(c.explained)) {
		t.Logf("%6d deliberate differences: %s", c.explained[why], why)
	}
	if c.verified < 200 {
		t.Errorf("only %d signatures were verified", c.verified)
	}
	for _, kind := range []string{"answer", "delegation", "nodata", "nxdomain", "yxdomain"} {
		if c.kinds[kind] < 5 {
			t.Errorf("only %d answers of kind %s: the generator does not reach it", c.kinds[kind], kind)
		}
	}
}

// startConformanceServers starts ours, NSD and Knot, in this order, and returns
// their addresses.
func startConformanceServers(t *testing.T, zones []*conformanceZone) []string {
	t.Helper()
	files := make([]zoneFile, 0, len(zones))
	for _, z := range zones {
		files = append(files, zoneFile{z.origin, z.path})
	}
	ours, nsd, knot := freePort(t), freePort(t), freePort(t)
	startCoreDNS(t, publishedBlock(t, ours, files), loopback(ours))
	startNSD(t, nsd, files...)
	startKnot(t, knot, files...)
	return []string{loopback(ours), loopback(nsd), loopback(knot)}
}

// publishedBlock publishes zones and gives the server block that serves them all
// from the store.
func publishedBlock(t *testing.T, port int, zones []zoneFile) string {
	t.Helper()
	url := "dir://" + t.TempDir()
	popctl(t, url, 0, "init")
	st, err := storeurl.Open(url, storeurl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	origins := make([]string, 0, len(zones))
	for _, z := range zones {
		publishFile(t, st, z.origin, z.path)
		origins = append(origins, z.origin)
	}
	return fmt.Sprintf(".:%d {\n bind 127.0.0.1\n zkzone %s {\n source %s\n startup_timeout 20s\n }\n errors\n}\n", port, strings.Join(origins, " "), url)
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

// askAll asks every server everything, each one thing at a time; over TCP nothing
// is truncated.
func askAll(t *testing.T, network string, servers []string, queries []*dns.Msg) [][]*dns.Msg {
	t.Helper()
	replies := make([][]*dns.Msg, len(servers))
	errs := make([]error, len(servers))
	var wg sync.WaitGroup
	for i, addr := range servers {
		wg.Go(func() { replies[i], errs[i] = askInTurn(network, addr, queries) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("server %d: %v", i, err)
		}
	}
	return replies
}

// askInTurn asks one after the other. When a server ends the connection, or a
// datagram is lost, it goes on with another.
func askInTurn(network, addr string, queries []*dns.Msg) ([]*dns.Msg, error) {
	replies := make([]*dns.Msg, 0, len(queries))
	var err error
	for attempt, before := 0, 0; len(replies) < len(queries) && attempt < 3; attempt++ {
		if replies, err = askOnce(network, addr, queries, replies); len(replies) > before {
			attempt, before = 0, len(replies)
		}
	}
	return replies, err
}

// askOnce asks over one connection what has no reply yet.
func askOnce(network, addr string, queries, replies []*dns.Msg) ([]*dns.Msg, error) {
	conn, err := dns.DialTimeout(network, addr, 5*time.Second)
	if err != nil {
		return replies, err
	}
	defer conn.Close()
	conn.UDPSize = dns.MaxMsgSize
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
