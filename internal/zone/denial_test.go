package zone

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// chained is a zone with a chain of its own making: a set of names, each with the NSEC or NSEC3 that leads to the next, written by the plainest
// code there is.
type chained struct {
	origin Name
	nsec3  bool
	salt   string
	hosts  map[Name]bool
}

// links gives the chain's owners in order with the wire form of each one's record.
func (c *chained) links(tb testing.TB) (owners []Name, rdata map[Name][]byte) {
	tb.Helper()
	for host := range c.hosts {
		owner := host
		if c.nsec3 {
			owner = MustParseName(dns.HashName(host.String(), dns.SHA1, 1, c.salt) + "." + c.origin.String())
		}
		owners = append(owners, owner)
	}
	slices.SortFunc(owners, Name.Compare)
	rdata = map[Name][]byte{}
	for i, owner := range owners {
		next := owners[(i+1)%len(owners)].String()
		text := fmt.Sprintf("%s 60 IN NSEC %s A RRSIG NSEC", owner, next)
		if c.nsec3 {
			text = fmt.Sprintf("%s 60 IN NSEC3 1 0 1 %s %s A RRSIG", owner, c.salt, strings.ToUpper(next[:32]))
		}
		rr, err := dns.NewRR(text)
		if err != nil {
			tb.Fatal(err)
		}
		_, wire, err := RdataOf(rr)
		if err != nil {
			tb.Fatal(err)
		}
		rdata[owner] = wire
	}
	return owners, rdata
}

func (c *chained) typ() uint16 {
	if c.nsec3 {
		return dns.TypeNSEC3
	}
	return dns.TypeNSEC
}

// zone makes the snapshot anew.
func (c *chained) zone(tb testing.TB) *Snapshot {
	tb.Helper()
	b := NewBuilder(c.origin)
	add := func(owner Name, typ uint16, wire []byte) {
		if err := b.Add(RRset{Owner: owner, Type: typ, TTL: 60, Rdata: []Rdata{{Wire: wire}}}); err != nil {
			tb.Fatal(err)
		}
	}
	apex := []string{"SOA ns. h. 1 2 3 4 60", "NS ns."}
	if c.nsec3 {
		apex = append(apex, "NSEC3PARAM 1 0 1 "+c.salt)
	}
	for _, text := range apex {
		rr, err := dns.NewRR(c.origin.String() + " 60 IN " + text)
		if err != nil {
			tb.Fatal(err)
		}
		typ, wire, err := RdataOf(rr)
		if err != nil {
			tb.Fatal(err)
		}
		add(c.origin, typ, wire)
	}
	for host := range c.hosts {
		add(host, dns.TypeA, []byte{192, 0, 2, 1})
	}
	_, rdata := c.links(tb)
	for owner, wire := range rdata {
		add(owner, c.typ(), wire)
	}
	s, err := b.Build()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// covering finds the link at or before a name by walking over all of them.
func (c *chained) covering(t *testing.T, name Name) Name {
	t.Helper()
	owners, _ := c.links(t)
	if c.nsec3 {
		name = MustParseName(dns.HashName(name.String(), dns.SHA1, 1, c.salt) + "." + c.origin.String())
	}
	found := owners[len(owners)-1]
	for _, owner := range owners {
		if owner.Compare(name) <= 0 {
			found = owner
		}
	}
	return found
}

func (c *chained) randomName(rnd *rand.Rand) Name {
	name := c.origin
	for range 1 + rnd.IntN(2) {
		name = name.Prepend(fmt.Sprintf("%c%d", "\x00*aZz"[rnd.IntN(5)], rnd.IntN(30)))
	}
	return name
}

// change adds and takes away a run of names, as an operator does who renames a customer.
func (c *chained) change(rnd *rand.Rand) {
	for range rnd.IntN(6) {
		c.hosts[c.randomName(rnd)] = true
	}
	for host := range c.hosts {
		if host != c.origin && rnd.IntN(8) == 0 {
			delete(c.hosts, host)
		}
	}
}

func authorityOwners(res *Result, typ uint16) (owners []string) {
	for i := range res.Authority {
		if res.Authority[i].Type == typ {
			owners = append(owners, res.Authority[i].Owner.String())
		}
	}
	slices.Sort(owners)
	return owners
}

func TestProofsAreTheSameAfterChangesAsInAZoneMadeAnew(t *testing.T) {
	rnd := newRandom(t)
	for _, nsec3 := range []bool{false, true} {
		for range 30 {
			c := &chained{origin: MustParseName("example.org"), nsec3: nsec3, salt: "abcd", hosts: map[Name]bool{MustParseName("example.org"): true}}
			c.change(rnd)
			s := c.zone(t)
			for range 12 {
				c.change(rnd)
				want := c.zone(t)
				next, err := s.Apply(Diff(s, want))
				if err != nil {
					t.Fatal(err)
				}
				if s = next; rnd.IntN(6) == 0 {
					folded := *s
					folded.fold()
					s = &folded
				}
				c.compare(t, rnd, s, want)
			}
		}
	}
}

// compare asks two snapshots for names that are not there, and the plain walk for the record that must cover each.
func (c *chained) compare(t *testing.T, rnd *rand.Rand, got, want *Snapshot) {
	t.Helper()
	var a, b Result
	for range 40 {
		q := Question{Name: c.randomName(rnd), Type: dns.TypeTXT, DO: true}
		got.Lookup(q, nil, &a)
		want.Lookup(q, nil, &b)
		shown := authorityOwners(&a, c.typ())
		if a.Kind != b.Kind || !slices.Equal(shown, authorityOwners(&b, c.typ())) || len(shown) == 0 {
			t.Fatalf("%s: %s with the proof %q after changes, %s with %q made anew", q.Name, a.Kind, shown, b.Kind, authorityOwners(&b, c.typ()))
		}
		if q.Name.Parent() != c.origin || a.Kind != NXDomain {
			continue // the next closer name is not the question's
		}
		for _, denied := range []Name{q.Name, c.origin.Prepend("*")} {
			if by := c.covering(t, denied).String(); !slices.Contains(shown, by) {
				t.Fatalf("%s is denied by %s, but the proof is %q", denied, by, shown)
			}
		}
	}
}

func TestASignedZoneFoldsWhenManyNamesHaveLeftItsChain(t *testing.T) {
	c := &chained{origin: MustParseName("example.org"), hosts: map[Name]bool{MustParseName("example.org"): true}}
	for i := range (maxLeft + 2) * foldPart { // so many that what changed is no reason to fold
		c.hosts[c.origin.Prepend(fmt.Sprintf("h%06d", i))] = true
	}
	s := c.zone(t)
	for i := range maxLeft + 1 {
		delete(c.hosts, c.origin.Prepend(fmt.Sprintf("h%06d", i)))
	}
	// Only the names go; the chain is mended at the end, as a signer would.
	var d Delta
	for i := range maxLeft + 1 {
		name := c.origin.Prepend(fmt.Sprintf("h%06d", i))
		d.Delete = append(d.Delete, Key{name, dns.TypeA, ""}, Key{name, dns.TypeNSEC, ""})
	}
	next, err := s.Apply(d)
	if err != nil {
		t.Fatal(err)
	}
	if next.changed.left != 0 || next.changed.leaves != 0 || len(next.image.links[chainNSEC]) != len(c.hosts) {
		t.Errorf("%d names have left, %d changed, %d links in the image of %d names", next.changed.left, next.changed.leaves, len(next.image.links[chainNSEC]), len(c.hosts))
	}
}

const rfc5155Apex = "@ 60 SOA ns h 1 2 3 4 60\n@ 60 NS ns.example.net.\n@ 60 NSEC3PARAM %s\n"

func TestTooManyNSEC3IterationsAreRefused(t *testing.T) {
	for params, ok := range map[string]bool{"1 0 0 -": true, "1 0 100 -": true, "1 0 101 -": false, "1 1 500 -": true} {
		b := NewBuilder(MustParseName("example.org"))
		zp := dns.NewZoneParser(strings.NewReader(fmt.Sprintf(rfc5155Apex, params)), "example.org.", "")
		for rr, more := zp.Next(); more; rr, more = zp.Next() {
			if err := b.AddRR(rr, "", 0); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Build(); (err == nil) != ok {
			t.Errorf("NSEC3PARAM %s: %v, want it taken: %t", params, err, ok)
		}
	}
}

func TestHashesAreThoseOfRFC5155(t *testing.T) {
	s := readZone(t, "example.", strings.ReplaceAll(fmt.Sprintf(rfc5155Apex, "1 0 12 aabbccdd"), " ns h", " ns.example. h.example."))
	a := answering{Snapshot: s, q: Question{DO: true}}
	for name, hash := range map[string]string{ // appendix A
		"example": "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom", "a.example": "35mthgpgcu1qg68fab165klnsnk3dpvl", "*.w.example": "r53bq7cc2uvmubfu5ocmm6pers9tk9en",
		"xx.example": "t644ebqk9bibcna874givr6joj62mlhv",
	} {
		if got := a.hashed(a.denial(), MustParseName(name)); got != MustParseName(hash+".example") {
			t.Errorf("%s hashes to %s, want %s", name, got, hash)
		}
	}
}

func TestProofsCostFewAllocations(t *testing.T) {
	rnd := newRandom(t)
	for _, c := range []struct {
		nsec3 bool
		most  float64
	}{{false, 1}, {true, 5}} {
		z := &chained{origin: MustParseName("example.org"), nsec3: c.nsec3, salt: "abcd", hosts: map[Name]bool{MustParseName("example.org"): true}}
		for range 20 {
			z.change(rnd)
		}
		s := z.zone(t)
		var res Result
		q := Question{Name: MustParseName("b.nobody.example.org"), Type: dns.TypeA, DO: true}
		if n := testing.AllocsPerRun(100, func() { s.Lookup(q, nil, &res) }); n > c.most || res.Kind != NXDomain || len(authorityOwners(&res, z.typ())) == 0 {
			t.Errorf("nsec3=%t: %g allocations for %s with %v, want at most %g", c.nsec3, n, res.Kind, res.Authority, c.most)
		}
		q.Name = MustParseName("example.org")
		if n := testing.AllocsPerRun(100, func() { s.Lookup(Question{Name: q.Name, Type: dns.TypeNS, DO: true}, nil, &res) }); n != 0 {
			t.Errorf("nsec3=%t: %g allocations for a positive answer", c.nsec3, n)
		}
	}
}

func BenchmarkDenial(b *testing.B) {
	for _, nsec3 := range []bool{false, true} {
		z := &chained{origin: MustParseName("example.org"), nsec3: nsec3, salt: "abcd", hosts: map[Name]bool{MustParseName("example.org"): true}}
		for i := range 100_000 {
			z.hosts[z.origin.Prepend(fmt.Sprintf("h%d", i))] = true
		}
		s := z.zone(b)
		b.Run(fmt.Sprintf("nsec3=%t", nsec3), func(b *testing.B) {
			b.ReportAllocs()
			var res Result
			q := Question{Name: MustParseName("nobody.example.org"), Type: dns.TypeA, DO: true}
			for b.Loop() {
				s.Lookup(q, nil, &res)
			}
		})
	}
}
