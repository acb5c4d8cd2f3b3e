// Package benchzone makes the zone that popdns is measured with, and questions to it: the same octets for the same size, so that figures taken at
// different times and with different servers compare. It is a mix as large zones have it: names one to three labels below the apex, A, AAAA, CNAME
// (half of them to names in the zone), TXT and MX, 1.36 records a name; 85 % of the questions are for what exists, by Zipf's law, 10 % for names
// that do not exist and 5 % for types that a name does not have.
package benchzone

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"

	"github.com/miekg/dns"
)

// Origin is the zone's name.
const Origin = "example.org."

const (
	seed      = 20240501
	ttl       = 300
	questions = 100_000
)

// Zone is what a generated zone can be asked.
type Zone struct {
	Records   int
	Questions []Question
	// Probe is a name with one A record, ProbeAddr, late in the file: a server that answers for it has loaded the zone.
	Probe     string
	ProbeAddr string
	// Addressed are names that have A records.
	Addressed []string
}

// Question is a name below Origin, written out, and a type.
type Question struct {
	Name string
	Type uint16
}

type owner struct {
	name  string
	types []uint16
}

// generator writes records and remembers the owners.
type generator struct {
	out   *bufio.Writer
	r     *rand.Rand
	count int
	addr  string   // the last A record's
	plain []string // owners with A: targets of CNAMEs
}

// Write writes a zone file with the given number of records below the apex.
func Write(w io.Writer, records int) (*Zone, error) {
	g := &generator{out: bufio.NewWriterSize(w, 1<<20), r: rand.New(rand.NewPCG(seed, 7))} //nolint:gosec // repeatable on purpose
	fmt.Fprintf(g.out, "$ORIGIN %[1]s\n$TTL %[2]d\n@ IN SOA ns1.%[1]s hostmaster.%[1]s 2024050101 7200 3600 1209600 300\n"+
		"@ IN NS ns1.%[1]s\n@ IN NS ns2.%[1]s\nns1 IN A 192.0.2.1\nns2 IN A 192.0.2.2\n", Origin, ttl)
	seen := map[string]bool{"ns1": true, "ns2": true}
	groups := make([]string, max(10, records/100))
	for i := range groups {
		for groups[i] == "" {
			if l := g.label(5, 9); !seen[l] {
				seen[l], groups[i] = true, l
			}
		}
	}
	z := &Zone{}
	var owners []owner
	for g.count < records {
		name := g.name(groups)
		for seen[name] {
			name = g.name(groups)
		}
		seen[name] = true
		o := owner{name, g.owner(name)}
		if len(o.types) == 1 && o.types[0] == dns.TypeA && g.count < records*95/100 {
			z.Probe, z.ProbeAddr = name+"."+Origin, g.addr
		}
		owners = append(owners, o)
	}
	z.Records = g.count + 5
	for _, name := range g.plain {
		z.Addressed = append(z.Addressed, name+"."+Origin)
	}
	z.ask(g, owners, groups, seen)
	return z, g.out.Flush()
}

func (g *generator) label(least, most int) string {
	const chars = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, least+g.r.IntN(most-least+1))
	for i := range b {
		b[i] = chars[g.r.IntN(len(chars))]
	}
	b[0] = chars[g.r.IntN(26)]
	return string(b)
}

func (g *generator) name(groups []string) string {
	switch d := g.r.IntN(10); {
	case d < 7:
		return g.label(6, 12)
	case d < 9:
		return g.label(4, 8) + "." + groups[g.r.IntN(len(groups))]
	}
	return g.label(3, 6) + "." + g.label(2, 3) + "." + groups[g.r.IntN(len(groups))]
}

// owner writes the records of a name and gives their types.
func (g *generator) owner(name string) []uint16 {
	switch k := g.r.IntN(100); {
	case k < 55:
		g.a(name)
		if g.r.IntN(5) == 0 {
			g.a(name)
		}
		g.plain = append(g.plain, name)
		return []uint16{dns.TypeA}
	case k < 75:
		g.a(name)
		var ip [16]byte
		binary.BigEndian.PutUint64(ip[:], 0x20010db8_00000000|uint64(g.r.Uint32()))
		binary.BigEndian.PutUint64(ip[8:], g.r.Uint64())
		g.record(name, "AAAA", netip.AddrFrom16(ip).String())
		g.plain = append(g.plain, name)
		return []uint16{dns.TypeA, dns.TypeAAAA}
	case k < 87:
		target := g.label(6, 12) + ".cdn.example.net."
		if len(g.plain) > 0 && g.r.IntN(2) == 0 {
			target = g.plain[g.r.IntN(len(g.plain))] + "." + Origin
		}
		g.record(name, "CNAME", target)
		return []uint16{dns.TypeCNAME}
	case k < 95:
		g.record(name, "TXT", `"v=verify1 `+g.label(30, 50)+`"`)
		return []uint16{dns.TypeTXT}
	}
	g.record(name, "MX", fmt.Sprintf("10 mx%d.mail.example.net.", 1+g.r.IntN(9)))
	g.a(name)
	return []uint16{dns.TypeMX, dns.TypeA}
}

func (g *generator) a(name string) {
	g.addr = fmt.Sprintf("%d.%d.%d.%d", 11+g.r.IntN(180), g.r.IntN(256), g.r.IntN(256), 1+g.r.IntN(254))
	g.record(name, "A", g.addr)
}

func (g *generator) record(name, typ, rdata string) {
	g.count++
	fmt.Fprintf(g.out, "%s %s %s\n", name, typ, rdata)
}

// ask makes the questions.
func (z *Zone) ask(g *generator, owners []owner, groups []string, seen map[string]bool) {
	r := g.r
	r.Shuffle(len(owners), func(i, j int) { owners[i], owners[j] = owners[j], owners[i] })
	zipf := rand.NewZipf(r, 1.1, 8, uint64(len(owners)-1)) //nolint:gosec // not negative
	for range questions {
		var q Question
		switch k := r.IntN(100); {
		case k < 85:
			o := owners[zipf.Uint64()]
			q = Question{o.name, o.types[r.IntN(len(o.types))]}
			if q.Type == dns.TypeCNAME {
				q.Type = dns.TypeA
			}
		case k < 95:
			for q.Name == "" || seen[q.Name] {
				q = Question{g.label(8, 14), dns.TypeA}
				if r.IntN(2) == 0 {
					q.Name += "." + groups[r.IntN(len(groups))]
				}
			}
		default:
			o := owners[zipf.Uint64()]
			for o.types[0] == dns.TypeCNAME {
				o = owners[zipf.Uint64()]
			}
			q = Question{o.name, dns.TypeTXT}
			if o.types[0] == dns.TypeTXT {
				q.Type = dns.TypeA
			}
		}
		q.Name += "." + Origin
		z.Questions = append(z.Questions, q)
	}
}
