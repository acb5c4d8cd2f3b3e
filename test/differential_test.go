package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/popdns/popdns/internal/zone"

	"github.com/miekg/dns"
)

// differentialQueries is the least number of queries of one round.
const differentialQueries = 100_000

// TestRandomZonesAreAnsweredAsTheFilePluginDoes serves random zones with the stock
// file plugin and with zkzone, both in this process, and asks for every owner, what
// is above, beside and below it, all types, with and without DO, by UDP with room
// for 512 and 1232 octets and by TCP. Beside what is listed in deliberate nothing
// may differ. Zones with NSEC3, which file refuses, are left to
// TestRandomZonesAreAnsweredAsNSDAndKnotDo; a round is repeated by its seed as there.
func TestRandomZonesAreAnsweredAsTheFilePluginDoes(t *testing.T) {
	seed := firstSeed()
	for round := range *conformanceRounds {
		t.Run(fmt.Sprintf("seed=%d", seed+uint64(round)), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed+uint64(round), 0))
			keys := newKeyFiles(t)
			var corpora []corpus
			for queries := 0; queries < differentialQueries; {
				i := len(corpora)
				z := makeConformanceZone(t, rnd, keys, fmt.Sprintf("z%d.test.", i), []int{unsigned, withNSEC}[i%2])
				c := corpus{zoneFile: zoneFile{z.origin, z.path}, names: z.names(), signed: z.signed != unsigned, key: z.key}
				corpora = append(corpora, c)
				queries += len(c.names) * len(conformanceTypes) * len(transports) * 2
			}
			d := newDifferential(t, rnd, corpora)
			for _, c := range corpora {
				d.compare(t, c)
			}
			d.report(t)
			if d.queries < differentialQueries {
				t.Errorf("only %d queries, want %d", d.queries, differentialQueries)
			}
		})
	}
}

// TestZonesOfTheFilePluginsTestsAreAnsweredAsItDoes puts the zones with which CoreDNS
// tests its file plugin to both plugins, and asks for more than its tables do.
func TestZonesOfTheFilePluginsTestsAreAnsweredAsItDoes(t *testing.T) {
	paths, err := filepath.Glob("testdata/coredns/*.zone")
	if err != nil || len(paths) < 22 {
		t.Fatalf("%d zones: %v", len(paths), err)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for len(paths) > 0 { // a server has one zone of an origin
		var corpora []corpus
		paths = slices.DeleteFunc(paths, func(path string) bool {
			_, name, _ := strings.Cut(filepath.Base(path), ".")
			origin := strings.TrimSuffix(name, "zone")
			if slices.ContainsFunc(corpora, func(c corpus) bool { return c.origin == origin }) {
				return false
			}
			z := zoneFile{origin, path}
			around := conformanceZone{rnd: rnd, origin: origin}
			c := corpus{zoneFile: z}
			for _, rr := range recordsOf(t, z) {
				if owner := rr.Header().Name; !slices.Contains(around.owners, owner) {
					around.owners = append(around.owners, owner)
				}
				c.signed = c.signed || rr.Header().Rrtype == dns.TypeNSEC
			}
			c.names = around.names()
			corpora = append(corpora, c)
			return true
		})
		d := newDifferential(t, rnd, corpora)
		for _, c := range corpora {
			d.compare(t, c)
		}
		t.Logf("%d queries about %d zones: %v", d.queries, len(corpora), d.kinds)
	}
}

// corpus is a zone and the names to ask for.
type corpus struct {
	zoneFile
	names  []string
	signed bool
	key    *dns.DNSKEY // nil if signatures are not to be verified
}

// transports are the ways to ask: a network, and the room for the reply.
var transports = []struct {
	network string
	size    uint16
}{{"tcp", dns.MaxMsgSize - 1}, {"udp", 1232}, {"udp", 512}}

// differential asks zkzone and file in this process.
type differential struct {
	comparison
	rnd        *rand.Rand
	ours, file inProcess
	exists     map[string]map[zone.Name]bool // by origin: every owner and what is above it
}

// newDifferential publishes and loads the zones.
func newDifferential(t *testing.T, rnd *rand.Rand, corpora []corpus) *differential {
	t.Helper()
	files := make([]zoneFile, 0, len(corpora))
	var stock strings.Builder
	exists := map[string]map[zone.Name]bool{}
	for _, c := range corpora {
		files = append(files, c.zoneFile)
		fmt.Fprintf(&stock, " file %s %s {\n reload 0\n }\n", uniform(t, c.zoneFile), c.origin)
		exists[c.origin] = namesOf(t, c.zoneFile)
	}
	ours, file := freePort(t), freePort(t)
	block := strings.Replace(publishedBlock(t, ours, files), "{\n", "{\n capture zkzone\n", 1)
	servers := startCaptured(t, fmt.Sprintf("%s.:%d {\n bind 127.0.0.1\n capture file\n%s}\n", block, file, &stock), "zkzone", "file")
	return &differential{
		comparison: comparison{kinds: map[string]int{}, explained: map[string]int{}},
		rnd:        rnd, ours: servers[0], file: servers[1], exists: exists,
	}
}

// uniform is a copy of a zone's file in which each name is written in one way: file
// takes \032 and an escaped space in rdata for different octets.
func uniform(t *testing.T, z zoneFile) string {
	t.Helper()
	var text strings.Builder
	buf := make([]byte, dns.MaxMsgSize)
	for _, rr := range recordsOf(t, z) {
		n, err := dns.PackRR(rr, buf, 0, nil, false)
		if err != nil {
			t.Fatalf("%s: %v", rr, err)
		}
		if rr, _, err = dns.UnpackRR(buf[:n], 0); err != nil {
			t.Fatal(err)
		}
		text.WriteString(rr.String() + "\n")
	}
	return writeFile(t, "zone", text.String())
}

// recordsOf reads a zone's file.
func recordsOf(t *testing.T, z zoneFile) (all []dns.RR) {
	t.Helper()
	f, err := os.Open(z.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zp := dns.NewZoneParser(f, z.origin, z.path)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		all = append(all, rr)
	}
	if err := zp.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// namesOf is every name that exists in a zone: the owners, and what is above them.
func namesOf(t *testing.T, z zoneFile) map[zone.Name]bool {
	t.Helper()
	origin, all := zone.MustParseName(z.origin), map[zone.Name]bool{}
	for _, rr := range recordsOf(t, z) {
		for name := zone.MustParseName(rr.Header().Name); name.IsSubdomainOf(origin) && !all[name]; name = name.Parent() {
			all[name] = true
		}
	}
	return all
}

// checkExistence: NXDOMAIN is for names that neither exist nor have a wildcard, NODATA
// for the others (RFC 2308 2, RFC 4592 2.2.2 and 3.3.1); both with an SOA that lives no
// longer than it says (RFC 2308 3).
func checkExistence(t *testing.T, exists map[zone.Name]bool, m *dns.Msg) {
	t.Helper()
	if !isNegative(m) {
		return
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok && soa.Hdr.Ttl > soa.Minttl {
			t.Fatalf("the SOA lives longer than its MINIMUM\n%s", m)
		}
	}
	last := zone.MustParseName(lastName(m))
	encloser := last
	for !exists[encloser] {
		if encloser == zone.Root {
			return // the chain ends in another zone
		}
		encloser = encloser.Parent()
	}
	if there := encloser == last || exists[encloser.Prepend("*")]; there != (m.Rcode == dns.RcodeSuccess) {
		t.Fatalf("that %s exists is %t; got\n%s", last, there, m)
	}
}

// compare asks all questions about a zone.
func (d *differential) compare(t *testing.T, c corpus) {
	t.Helper()
	signatures := newSignatureCheck(c.key)
	for _, name := range c.names {
		for _, typ := range conformanceTypes {
			for _, do := range []bool{false, true} {
				d.compareQuestion(t, c, signatures, d.mixCase(name), typ, do)
			}
		}
	}
	d.verified += signatures.verified
}

// compareQuestion asks one question in all ways.
func (d *differential) compareQuestion(t *testing.T, c corpus, signatures *signatureCheck, name string, typ uint16, do bool) {
	t.Helper()
	var whole *dns.Msg // ours by TCP
	for _, by := range transports {
		q := d.query(name, typ)
		if do || by.size > dns.MinMsgSize {
			q.SetEdns0(by.size, do)
		}
		got, want := d.askBoth(t, by.network, q)
		d.compareWith(t, c.origin, func() string { return unsignedText(t, c.path) }, "file", got, want)
		if by.network == "udp" {
			checkFit(t, got, whole, int(by.size))
			continue
		}
		whole = got
		d.kinds[kindOf(got)]++
		if c.signed && c.key != nil {
			signatures.check(t, got)
		}
		if c.signed && do {
			checkProof(t, got)
		}
		checkExistence(t, d.exists[c.origin], got)
		d.checkEnd(t, q, got)
		d.checkAddresses(t, q, got)
	}
}

// query makes a query with any bits that may be in one.
func (d *differential) query(name string, typ uint16) *dns.Msg {
	q := new(dns.Msg).SetQuestion(name, typ)
	bit := func() bool { return d.rnd.IntN(2) == 0 }
	q.RecursionDesired, q.CheckingDisabled, q.AuthenticatedData = bit(), bit(), bit()
	return q
}

// checkEnd asks us for what an answer ends with, and compares that with the answer's
// end: behind a chain of aliases comes what a question for its last name gets (RFC
// 1034 4.3.2, RFC 6604 3), and what ANY gets is the answer for one type (RFC 8482 4.1).
// Of proofs there may be more; they are for checkProof.
func (d *differential) checkEnd(t *testing.T, q, m *dns.Msg) {
	t.Helper()
	question, last := m.Question[0], lastName(m)
	if question.Qtype == dns.TypeANY && len(m.Answer) > 0 {
		if set := lastSet(m); set != nil {
			last, question.Qtype = set.Name, set.Rrtype
		}
	} else if question.Qtype == dns.TypeCNAME || last == question.Name {
		return
	}
	if links(m) >= maxLinks {
		return
	}
	question.Name = last
	q = q.Copy()
	q.Question[0] = question
	wire, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	end, err := d.ours.ask("tcp", wire)
	if err != nil {
		t.Fatal(err)
	}
	if end.Rcode == dns.RcodeRefused {
		end.Rcode, end.Authoritative = dns.RcodeSuccess, true // the chain leaves the zone
	}
	behind := end.Authoritative || links(m) > 0 // the first name's, RFC 1035 4.1.1
	inMessage := missing(m.Answer)
	m = m.Copy()
	for _, section := range []*[]dns.RR{&m.Ns, &end.Ns} {
		drop(section, func(rr dns.RR) bool { return covered(rr) == dns.TypeNSEC })
	}
	drop(&end.Extra, func(rr dns.RR) bool { return !inMessage(rr) })
	diff := compareSection("authority", m.Ns, end.Ns) + compareSection("additional", m.Extra, end.Extra)
	if m.Rcode != end.Rcode || m.Authoritative != behind || diff != "" || slices.ContainsFunc(end.Answer, inMessage) {
		t.Fatalf("%s\n%s\ndoes not end with\n%s", diff, m, end)
	}
}

// lastSet is the header of the RRset that ANY got, nil if there is none behind DNAMEs.
func lastSet(m *dns.Msg) *dns.RR_Header {
	records := slices.DeleteFunc(slices.Clone(m.Answer), func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeRRSIG })
	set := records[len(records)-1].Header()
	followed := set.Rrtype == dns.TypeCNAME && slices.ContainsFunc(records, func(rr dns.RR) bool {
		dname, ok := rr.(*dns.DNAME)
		return ok && isBelow(set.Name, dname)
	})
	if followed || m.Rcode == dns.RcodeYXDomain {
		return nil
	}
	return set
}

// checkAddresses asks us for the addresses of every name in an answer's rdata: if we
// have them, the additional section has the same, and it has no others.
func (d *differential) checkAddresses(t *testing.T, q, m *dns.Msg) {
	t.Helper()
	asked := map[string]bool{}
	var want []dns.RR
	for _, rr := range m.Answer {
		target := targetOf(rr)
		if target == "" || asked[strings.ToLower(target)] {
			continue
		}
		asked[strings.ToLower(target)] = true
		for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
			q := q.Copy()
			q.Question[0].Name, q.Question[0].Qtype = target, typ
			wire, err := q.Pack()
			if err != nil {
				t.Fatal(err)
			}
			r, err := d.ours.ask("tcp", wire)
			if err != nil {
				t.Fatal(err)
			}
			if r.Authoritative && r.Rcode == dns.RcodeSuccess && links(r) == 0 {
				want = append(want, r.Answer...)
			}
		}
	}
	if len(asked) == 0 {
		return
	}
	drop(&want, func(rr dns.RR) bool { return !missing(m.Answer)(rr) })
	if diff := compareSection("additional", m.Extra, want); diff != "" {
		t.Fatalf("%s\nby the names in the answer of\n%s", diff, m)
	}
}

// targetOf is the name whose addresses go along with a record, "" for none.
func targetOf(rr dns.RR) string {
	switch rr := rr.(type) {
	case *dns.MX:
		return rr.Mx
	case *dns.SRV:
		return rr.Target
	case *dns.HTTPS:
		return serviceTarget(&rr.SVCB)
	case *dns.SVCB:
		return serviceTarget(rr)
	}
	return ""
}

// serviceTarget is by RFC 9460 2.5: "." is no target of an alias, and the owner otherwise.
func serviceTarget(rr *dns.SVCB) string {
	switch {
	case rr.Target != ".":
		return rr.Target
	case rr.Priority == 0:
		return ""
	}
	return rr.Hdr.Name
}

// askBoth gives the two replies.
func (d *differential) askBoth(t *testing.T, network string, q *dns.Msg) (ours, file *dns.Msg) {
	t.Helper()
	wire, err := q.Pack()
	if err != nil {
		t.Fatalf("%s: %v", q.Question[0].String(), err)
	}
	d.queries++
	if ours, err = d.ours.ask(network, wire); err != nil {
		t.Fatalf("zkzone: %v", err)
	}
	switch file, err = d.file.ask(network, wire); {
	case err == nil, ours.Rcode == dns.RcodeYXDomain:
	case strings.Contains(err.Error(), "exceeded 255"):
		d.explained["file packs names that are too long for anybody to read (RFC 1035 2.3.4); ours is checked without it"]++
		file = ours.Copy()
	default:
		t.Fatalf("file: %v", err)
	}
	if err = q.Unpack(wire); err != nil { // of the ways to write an octet, the replies' one
		t.Fatal(err)
	}
	checkHeader(t, q, ours)
	return ours, file
}

// mixCase gives a name's letters any case, as resolvers do.
func (d *differential) mixCase(name string) string {
	return strings.Map(func(r rune) rune {
		if d.rnd.IntN(2) == 0 {
			return unicode.ToUpper(r)
		}
		return r
	}, name)
}

// checkHeader checks what is the same in every reply to a query.
func checkHeader(t *testing.T, q, m *dns.Msg) {
	t.Helper()
	want := dns.MsgHdr{
		Id: q.Id, Response: true, RecursionDesired: q.RecursionDesired, CheckingDisabled: q.CheckingDisabled,
		Authoritative: m.Authoritative, Truncated: m.Truncated, Rcode: m.Rcode,
	}
	if m.MsgHdr != want || len(m.Question) != 1 || m.Question[0] != q.Question[0] {
		t.Fatalf("the reply to\n%s\nhas another header or question:\n%s", q, m)
	}
	asked, told := q.IsEdns0(), m.IsEdns0()
	if (asked == nil) != (told == nil) || told != nil && (told.Do() != asked.Do() || told.Version() != 0) {
		t.Fatalf("the reply to\n%s\nhas another EDNS:\n%s", q, m)
	}
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if owner := rr.Header().Name; strings.EqualFold(owner, q.Question[0].Name) && owner != q.Question[0].Name {
				t.Fatalf("the owner %s has not the question's case\n%s", owner, m)
			}
		}
	}
}
