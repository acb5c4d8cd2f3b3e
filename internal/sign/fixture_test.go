package sign

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"
)

const origin zone.Name = "\x07example\x03org\x00"

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// writeKey makes a key pair in dir as dnssec-keygen does, with the given lines of times, and returns the files' path without extension.
func writeKey(tb testing.TB, dir, of string, flags uint16, algorithm uint8, timing ...string) string {
	tb.Helper()
	k := dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: of, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
		Flags: flags, Protocol: 3, Algorithm: algorithm,
	}
	bits := 256
	if algorithm == dns.RSASHA256 {
		bits = 1024
	}
	private, err := k.Generate(bits)
	if err != nil {
		tb.Fatal(err)
	}
	base := filepath.Join(dir, fmt.Sprintf("K%s+%03d+%05d", of, algorithm, k.KeyTag()))
	write(tb, base+".key", "; made by a test\n"+k.String()+"\n")
	write(tb, base+".private", k.PrivateKeyString(private)+strings.Join(timing, "\n")+"\n")
	return base
}

func write(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func mustLoad(tb testing.TB, dir string) *Keys {
	tb.Helper()
	ks, err := LoadKeys(dir, origin)
	if err != nil {
		tb.Fatal(err)
	}
	return ks
}

// newKeys makes a KSK and a ZSK.
func newKeys(tb testing.TB, algorithm uint8) *Keys {
	tb.Helper()
	dir := tb.TempDir()
	writeKey(tb, dir, "example.org.", 257, algorithm)
	writeKey(tb, dir, "example.org.", 256, algorithm)
	return mustLoad(tb, dir)
}

func zoneOf(tb testing.TB, serial uint32, records ...string) *zone.Snapshot {
	tb.Helper()
	text := fmt.Sprintf("$TTL 300\n@ SOA ns hostmaster %d 3600 600 86400 60\n@ NS ns\n%s\n", serial, strings.Join(records, "\n"))
	s, err := zonefile.Read(strings.NewReader(text), "", origin)
	if err != nil {
		tb.Fatalf("%v\n%s", err, text)
	}
	return s
}

// hostsOf gives an address to each letter.
func hostsOf(letters string) []string {
	hosts := make([]string, len(letters))
	for i := range letters {
		hosts[i] = letters[i:i+1] + " A 192.0.2.1"
	}
	return hosts
}

func mustSign(t *testing.T, content, prev *zone.Snapshot, ks *Keys, p Policy) (*zone.Snapshot, Report) {
	t.Helper()
	if p.Now.IsZero() {
		p.Now = noon
	}
	s, r, err := Sign(content, prev, ks, p)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func dump(s *zone.Snapshot) string {
	var b strings.Builder
	_ = zonefile.Write(&b, s)
	return b.String()
}

// randomDelta puts or deletes a few sets of plausible sorts, steered ones among them.
func randomDelta(t *testing.T, rnd *rand.Rand) zone.Delta {
	t.Helper()
	labels := []string{"a", "b", "c", "*", "www", `\000`, `x\.y`}
	name := "example.org."
	for range 1 + rnd.IntN(3) {
		name = labels[rnd.IntN(len(labels))] + "." + name
	}
	pop := []string{"", "", "ams1", "iad2"}[rnd.IntN(4)]
	text := []string{"A 192.0.2.%d", "AAAA 2001:db8::%d", `TXT "%d"`, "MX %d mail", "NS ns%d", "DS %d 15 2 00", "DNAME n%d.example.net.", "TYPE65280 \\# 1 %02d"}[rnd.IntN(8)]
	rr, err := dns.NewRR(fmt.Sprintf("$ORIGIN example.org.\n%s %d IN "+text, name, 60*(1+rnd.IntN(2)), 10+rnd.IntN(80)))
	if err != nil {
		t.Fatal(err)
	}
	typ, wire, err := zone.RdataOf(rr)
	if err != nil {
		t.Fatal(err)
	}
	set := zone.RRset{Owner: zone.MustParseName(name), Type: typ, TTL: rr.Header().Ttl, PoP: pop, Rdata: []zone.Rdata{{Wire: wire}}}
	if rnd.IntN(3) == 0 {
		return zone.Delta{Delete: []zone.Key{set.Key()}}
	}
	return zone.Delta{Put: []zone.RRset{set}}
}
