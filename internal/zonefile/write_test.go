package zonefile

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
)

var update = flag.Bool("update", false, "write the golden files anew")

func text(t *testing.T, s *zone.Snapshot, opts ...WriteOption) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, s, opts...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// sameAfterWriting checks that Read gives back what Write wrote.
func sameAfterWriting(t *testing.T, s *zone.Snapshot) {
	t.Helper()
	out := text(t, s)
	back, err := Read(strings.NewReader(out), "written", s.Origin())
	if err != nil {
		t.Fatalf("read back: %v\n%s", err, clip(out))
	}
	if d := zone.Diff(s, back); !d.Empty() || s.Sum() != back.Sum() {
		t.Fatalf("read back differs: %d deleted, %d put, %d steered\n%s", len(d.Delete), len(d.Put), len(d.Steer), clip(out))
	}
}

func clip(s string) string { return s[:min(len(s), 4000)] }

func TestWrittenTextIsAsPeopleWouldWriteIt(t *testing.T) {
	got := text(t, readFile(t, "testdata/design.zone"))
	const golden = "testdata/design.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestOnlyTheNameOrTypeAskedForIsWritten(t *testing.T) {
	s := readFile(t, "testdata/design.zone")
	www := zone.MustParseName("www.example.org")
	for _, tc := range []struct {
		opts  []WriteOption
		lines int
	}{
		{nil, 10},
		{[]WriteOption{OnlyName(www)}, 5},
		{[]WriteOption{OnlyName(www), OnlyType(dns.TypeAAAA)}, 2},
		{[]WriteOption{OnlyType(dns.TypeNS)}, 3},
		{[]WriteOption{OnlyName(zone.MustParseName("none.example.org"))}, 1},
	} {
		if got := text(t, s, tc.opts...); strings.Count(got, "\n") != tc.lines {
			t.Errorf("want %d lines, got\n%s", tc.lines, got)
		}
	}
	if got := text(t, s, OnlyName(www), OnlyType(dns.TypeAAAA)); !strings.Contains(got, ";@ pop=ams1 map=edge answers=2\n") {
		t.Errorf("a part of an owner shows its steering too:\n%s", got)
	}
}

func TestEveryTypeIsWrittenAndReadBack(t *testing.T) {
	all, err := os.ReadFile("testdata/types.zone")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.SplitSeq(strings.TrimSpace(string(all)), "\n") {
		sameAfterWriting(t, mustRead(t, l+"\n"))
	}
}

// Presentations that miekg/dns does not read back must not come out of Write.
func TestOddOctetsAreWrittenAndReadBack(t *testing.T) {
	octets := make([]byte, 0, 256)
	for i := range 256 {
		octets = append(octets, byte(i))
	}
	label := func(b []byte) []byte { return append(append([]byte{byte(len(b))}, b...), 0) }
	for _, tc := range []struct {
		typ  uint16
		wire []byte
	}{
		{dns.TypeTXT, append([]byte{255}, octets[:255]...)},
		{dns.TypeTXT, []byte{0}},
		{dns.TypeTXT, append([]byte{0, 3}, " ; "...)},
		{dns.TypeCAA, append([]byte("\x00\x05issue"), octets...)},
		{dns.TypeCAA, append([]byte("\x00\x02\";"), octets...)},
		{dns.TypeURI, append([]byte{0, 1, 0, 1}, octets...)},
		{dns.TypeNAPTR, append([]byte("\x00\x01\x00\x01\x01\"\x01;\x02\\\\"), label([]byte(`a"\`))...)},
		{dns.TypeHINFO, []byte("\x02\"\"\x02\\;")},
		{dns.TypeCNAME, label(octets[1:33])},
		{dns.TypeMX, append([]byte{0, 1}, label([]byte(`$."@();\`))...)},
		{dns.TypeSVCB, append([]byte{0, 1}, "\x00\xff\x00\x00\x03;\"\\"...)},
		{65280, octets},
		{dns.TypeISDN, []byte("\x03a\"b\x00")},
		{dns.TypeNULL, octets},
	} {
		b := builderOf(t, "example.org")
		s, err := zone.NewRRset(zone.MustParseName("x.example.org"), tc.typ, 1, "", zone.Rdata{Wire: tc.wire})
		if err != nil {
			t.Logf("%s %x: no zone holds it: %v", dns.Type(tc.typ), tc.wire, err)
			continue
		}
		if err := b.Add(s); err != nil {
			t.Fatal(err)
		}
		sameAfterWriting(t, build(t, b))
	}
}

func builderOf(t *testing.T, origin string) *zone.Builder {
	t.Helper()
	o := zone.MustParseName(origin)
	b := zone.NewBuilder(o)
	for _, text := range []string{o.String() + " 60 IN SOA ns. host. 1 2 3 4 5", o.String() + " 60 IN NS ns."} {
		rr, err := dns.NewRR(text)
		if err == nil {
			err = b.AddRR(rr, "", 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func build(t *testing.T, b *zone.Builder) *zone.Snapshot {
	t.Helper()
	s, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRandomZonesAreReadBackEqual(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		sameAfterWriting(t, randomZone(t, rnd))
	}
}

func randomZone(t *testing.T, rnd *rand.Rand) *zone.Snapshot {
	t.Helper()
	origin := []string{".", "example.org", `a\.b.\$ttl.test`, `\@`}[rnd.IntN(4)]
	b := builderOf(t, origin)
	pops := []string{"", "ams1", "iad2", "X-1.y_z"}
	for range rnd.IntN(12) {
		owner := randomName(rnd, zone.MustParseName(origin))
		types := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeMX, dns.TypeSRV, 65280 + uint16(rnd.IntN(9))}
		for _, i := range rnd.Perm(len(types))[:1+rnd.IntN(3)] {
			for _, p := range rnd.Perm(len(pops))[:1+rnd.IntN(3)] {
				s, err := zone.NewRRset(owner, types[i], rnd.Uint32N(zone.MaxTTL), pops[p], randomRdata(rnd, types[i]))
				if err != nil {
					t.Fatal(err)
				}
				_ = b.Add(s) // the same owner may come twice, with another TTL: then the first one stays
			}
		}
		if rnd.IntN(3) == 0 {
			st := zone.Steering{Map: []string{"", "edge"}[rnd.IntN(2)], Answers: rnd.IntN(3) * 30000, Choose: zone.Choose(rnd.IntN(3))}
			st.Service, st.AllDown, st.DownTTL = []string{"", "web"}[rnd.IntN(2)], zone.AllDown(rnd.IntN(3)), uint32(rnd.IntN(3))
			if err := b.Steer(owner, st); err != nil {
				t.Fatal(err)
			}
		}
	}
	return build(t, b)
}

func randomName(rnd *rand.Rand, n zone.Name) zone.Name {
	for range 1 + rnd.IntN(3) {
		label := make([]byte, 1+rnd.IntN(6))
		for i := range label {
			label[i] = byte(rnd.IntN(256))
		}
		switch rnd.IntN(6) {
		case 0:
			label = []byte("*")
		case 1:
			label = []byte("$INCLUDE")
		case 2:
			label = []byte("@")
		case 3:
			label = fmt.Append(nil, "w", rnd.IntN(4))
		}
		n = n.Prepend(string(label))
	}
	return n
}

func randomRdata(rnd *rand.Rand, typ uint16) zone.Rdata {
	octets := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.IntN(256))
		}
		return b
	}
	var wire []byte
	name := []byte(randomName(rnd, zone.Root))
	switch typ {
	case dns.TypeA:
		wire = octets(4)
	case dns.TypeAAAA:
		wire = octets(16)
	case dns.TypeTXT:
		for range 1 + rnd.IntN(3) {
			n := rnd.IntN(256)
			wire = append(append(wire, byte(n)), octets(n)...)
		}
	case dns.TypeMX:
		wire = append(binary.BigEndian.AppendUint16(nil, uint16(rnd.IntN(1<<16))), name...)
	case dns.TypeSRV:
		wire = append(octets(6), name...)
	default:
		wire = octets(1 + rnd.IntN(300))
	}
	return zone.Rdata{Wire: wire, Weight: rnd.Uint32N(2) * rnd.Uint32()}
}

func TestEachSignatureIsWrittenWithTheTTLOfWhatItCovers(t *testing.T) {
	const sigs = "a 30 RRSIG A 8 2 30 20300101000000 20200101000000 1 example.org. YWJj\n" +
		"a 20 RRSIG TXT 8 2 20 20300101000000 20200101000000 1 example.org. YWJj\n"
	s, err := Read(strings.NewReader(head+sigs), "z", org)
	if err != nil {
		t.Fatal(err)
	}
	sameAfterWriting(t, s)
	for _, want := range []string{"\t30\tIN\tRRSIG\tA ", "\t20\tIN\tRRSIG\tTXT "} {
		if got := text(t, s); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
