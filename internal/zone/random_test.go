package zone

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// randomZone makes zones in which everything that Lookup knows meets: few labels, so that names hit, miss and cross one another.
type randomZone struct {
	rnd    *rand.Rand
	origin string
	oracle *oracle
	b      *Builder
	t      testing.TB
	owners []string
}

var (
	randomLabels = []string{"a", "b", "c", "*", "www", "ns"}
	randomPoPs   = []string{"ams1", "iad2", "sin3"}
)

func newRandom(tb testing.TB) *rand.Rand {
	tb.Helper()
	seed := rand.Uint64()
	tb.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func (z *randomZone) pick(s []string) string { return s[z.rnd.IntN(len(s))] }

// name is a name of the zone with up to three labels more.
func (z *randomZone) name() string {
	name := strings.TrimPrefix(z.origin, ".")
	for range 1 + z.rnd.IntN(3) {
		name = z.pick(randomLabels) + "." + name
	}
	return name
}

func (z *randomZone) target() string {
	if z.rnd.IntN(8) == 0 {
		return "elsewhere.invalid."
	}
	return z.name()
}

func (z *randomZone) put(name, pop, format string, args ...any) {
	z.t.Helper()
	// The TTL depends on the key alone, because one RRset has one.
	typ, _, _ := strings.Cut(format, " ")
	ttl := 60 + (len(name)*7+len(pop)*13+len(typ))%50
	rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s", name, ttl, fmt.Sprintf(format, args...)))
	if err != nil {
		z.t.Fatal(err)
	}
	if err := z.b.AddRR(rr, pop, 0); err != nil {
		z.t.Fatalf("AddRR %s: %v", rr, err)
	}
	z.oracle.add(rr, pop)
}

func (z *randomZone) sign(name, pop string, typs ...string) {
	for _, typ := range typs {
		if z.rnd.IntN(3) == 0 {
			z.put(name, pop, "RRSIG %s 8 2 300 20300101000000 20200101000000 1 %s AAAA", typ, z.origin)
		}
	}
}

// owner fills one owner with records of some plausible sort.
func (z *randomZone) owner(name string) {
	switch z.rnd.IntN(11) {
	case 0, 1:
		z.put(name, "", "CNAME %s", z.target())
		z.sign(name, "", "CNAME")
	case 2:
		for _, pop := range randomPoPs[:1+z.rnd.IntN(3)] {
			z.put(name, pop, "CNAME %s", z.target())
			z.sign(name, pop, "CNAME")
		}
	case 3, 4:
		if strings.HasPrefix(name, "*") {
			return
		}
		for range 1 + z.rnd.IntN(3) {
			z.put(name, "", "NS %s", z.target())
		}
		if z.rnd.IntN(2) == 0 {
			z.put(name, "", "DS 1 8 2 %064x", z.rnd.Uint64())
			z.sign(name, "", "DS", "NS")
		}
		z.addresses(name, "")
	case 5, 6:
		for _, pop := range append([]string{""}, randomPoPs...) {
			if z.rnd.IntN(2) == 0 {
				z.addresses(name, pop)
			}
		}
	case 7:
		z.put(name, "", "MX 10 %s", z.target())
		z.put(name, "", "MX 20 %s", z.target())
		z.put(name, "", "SRV 0 0 443 %s", z.target())
		z.put(name, "", "HTTPS 1 %s alpn=h2", strings.ToUpper(z.target()))
		z.sign(name, "", "MX", "SRV")
	case 8:
		z.put(name, "", "TXT \"%d\"", z.rnd.IntN(100))
		z.put(name, "", "HTTPS 1 . alpn=h2")
		z.addresses(name, "")
	case 9:
		if strings.HasPrefix(name, "*") {
			return
		}
		z.dname(name)
		z.addresses(name, "")
	default:
		z.addresses(name, "")
	}
}

// dname makes the name's descendants another's, which may be an ancestor, a descendant, or so long that few names have room before it.
func (z *randomZone) dname(name string) {
	target := z.target()
	if z.rnd.IntN(4) == 0 {
		label := strings.Repeat("x", 61) + "."
		target = strings.Repeat(label, 3) + strings.Repeat("y", 61-z.rnd.IntN(6)) + "."
		if z.rnd.IntN(2) == 0 {
			target += "z."
		}
	}
	z.put(name, "", "DNAME %s", target)
	z.sign(name, "", "DNAME")
}

func (z *randomZone) addresses(name, pop string) {
	for range 1 + z.rnd.IntN(3) {
		z.put(name, pop, "A 192.0.2.%d", z.rnd.IntN(8))
	}
	if z.rnd.IntN(2) == 0 {
		z.put(name, pop, "AAAA 2001:db8::%d", 1+z.rnd.IntN(8))
	}
	z.sign(name, pop, "A", "AAAA")
}

// build makes the zone; an apex-only one now and then.
func (z *randomZone) build() *Snapshot {
	z.t.Helper()
	z.put(z.origin, "", "SOA ns. hostmaster. 1 2 3 4 %d", 30+z.rnd.IntN(100))
	z.put(z.origin, "", "NS ns.invalid.")
	z.put(z.origin, "", "NS %s", z.name())
	z.sign(z.origin, "", "SOA", "NS")
	if z.rnd.IntN(20) == 0 {
		z.dname(z.origin)
	}
	z.owners = append(z.owners, z.origin)
	owners := map[string]bool{}
	for range z.rnd.IntN(20) {
		if name := z.name(); !owners[name] {
			owners[name] = true
			z.owners = append(z.owners, name)
			z.owner(name)
		}
	}
	s, err := z.b.Build()
	if err != nil {
		z.t.Fatal(err)
	}
	return s
}

func makeRandomZone(tb testing.TB, rnd *rand.Rand) (*randomZone, *Snapshot) {
	tb.Helper()
	origin := []string{"example.test.", "test.", "."}[rnd.IntN(3)]
	z := &randomZone{rnd: rnd, origin: origin, oracle: newOracle(origin), b: NewBuilder(MustParseName(origin)), t: tb}
	return z, z.build()
}

var randomTypes = []uint16{
	dns.TypeA, dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeCNAME, dns.TypeMX, dns.TypeSRV, dns.TypeHTTPS, dns.TypeDS, dns.TypeANY,
	dns.TypeSOA, dns.TypeRRSIG, dns.TypeTXT, dns.TypeDNAME,
}

func (z *randomZone) question() oracleQuestion {
	q := oracleQuestion{name: z.name(), typ: randomTypes[z.rnd.IntN(len(randomTypes))], do: z.rnd.IntN(2) == 0}
	switch z.rnd.IntN(10) {
	case 0:
		q.name = z.origin
	case 3, 4, 5, 6:
		q.name = strings.Replace(z.pick(z.owners), "*", z.pick(randomLabels), z.rnd.IntN(2))
	case 1:
		q.name = "x." + q.name
	case 2:
		q.name = "elsewhere.invalid."
	}
	for _, i := range z.rnd.Perm(len(randomPoPs))[:z.rnd.IntN(4)] {
		q.pref = append(q.pref, randomPoPs[i])
	}
	return q
}

// prefer is a Picker with a fixed order of preference.
type prefer []string

func (p prefer) Pick(_ Steering, v Variants, _ bool) Choice {
	for _, pop := range p {
		if i := v.Index(pop); i >= 0 {
			return Choice{Variant: i}
		}
	}
	return Choice{Variant: Default}
}

func TestLookupAnswersRandomZonesLikeTheOracle(t *testing.T) {
	rnd := newRandom(t)
	zones, queries := 1000, 200
	if testing.Short() {
		zones = 100
	}
	kinds := map[Kind]int{}
	var res Result
	for range zones {
		z, s := makeRandomZone(t, rnd)
		for range queries {
			q := z.question()
			s.Lookup(Question{MustParseName(q.name), q.typ, q.do}, prefer(q.pref), &res)
			got, err := outcomeOf(&res, q.name)
			if err != nil {
				t.Fatalf("Fill: %v", err)
			}
			kinds[got.kind]++
			if want := z.oracle.lookup(q); got.String() != want.String() {
				t.Fatalf("question %+v of %s\n%s\ngot %v\nwant %v", q, z.origin, dump(s), got, want)
			}
		}
	}
	t.Logf("%d queries: %v", zones*queries, kinds)
	for k := Success; k <= YXDomain; k++ {
		if kinds[k] < 100 {
			t.Errorf("only %d answers of kind %s: the generator does not reach it", kinds[k], k)
		}
	}
}

func dump(s *Snapshot) string {
	var b strings.Builder
	for set := range s.RRsets() {
		rrs, err := set.RRs()
		fmt.Fprintln(&b, set.PoP, rrs, err)
	}
	return b.String()
}
