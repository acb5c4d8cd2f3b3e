package tinydns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/alloctest"
	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/zone"
)

var org = zone.MustParseName("example.org")

const head = ".example.org:192.0.2.53:a\n"

func lines(t *testing.T, s *zone.Snapshot) []string {
	t.Helper()
	var out []string
	for set := range s.RRsets() {
		rrs, err := set.RRs()
		if err != nil {
			t.Fatal(err)
		}
		for _, rr := range rrs {
			out = append(out, strings.Join(strings.Fields(rr.String()), " ")+"|"+set.PoP)
		}
	}
	return out
}

func example(t *testing.T, origin string) *Conversion {
	t.Helper()
	f, err := os.Open("testdata/example.data")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := Convert(f, "example.data", zone.MustParseName(origin), WithModTime(time.Unix(1234, 0)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEveryKindOfLineIsConverted(t *testing.T) {
	c := example(t, "example.org")
	want := strings.Split(strings.TrimSpace(`
example.org. 2560 IN SOA a.ns.example.org. hostmaster.example.org. 1234 16384 2048 1048576 2560|
example.org. 3600 IN NS a.ns.example.org.|
example.org. 3600 IN NS ns2.example.org.|
example.org. 86400 IN MX 10 a.mx.example.org.|
example.org. 86400 IN MX 20 mail.example.net.|
a.ns.example.org. 259200 IN A 192.0.2.53|
ns2.example.org. 3600 IN A 192.0.2.54|
a.mx.example.org. 86400 IN A 192.0.2.25|
sub.example.org. 259200 IN NS a.ns.sub.example.org.|
a.ns.sub.example.org. 259200 IN A 192.0.2.60|
host.example.org. 300 IN A 192.0.2.10|
www.example.org. 300 IN A 192.0.2.80|
www.example.org. 60 IN A 10.9.0.80|ex
www.example.org. 60 IN A 192.0.2.80|ex
www.example.org. 300 IN A 10.1.0.80|in
www.example.org. 300 IN A 192.0.2.80|in
only.example.org. 300 IN A 10.1.0.81|in
*.wild.example.org. 86400 IN A 192.0.2.99|
*.wild.example.org. 86400 IN A 10.1.0.99|in
*.wild.example.org. 86400 IN A 192.0.2.99|in
txt.example.org. 86400 IN TXT "colon: back\\slash '1'2"|
ptr.example.org. 86400 IN PTR host.example.org.|
alias.example.org. 77 IN CNAME www.example.org.|
v6.example.org. 86400 IN AAAA 2001:db8::1|
srv.example.org. 86400 IN SRV 1 2 3 host.example.org.|
odd\.dot:.example.org. 86400 IN A 192.0.2.11|
case.example.org. 0 IN A 192.0.2.12|
deleg.example.org. 259200 IN NS ns.deleg.example.org.|
ns.deleg.example.org. 259200 IN A 192.0.2.61|
`), "\n")
	got := lines(t, c.Snapshot)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// PTR of =; SOA of deleg; www.deleg; SOA, NS and A of deeper.deleg; SOA, NS and A of example.net
	if c.Skipped != 9 || c.Lowered != 2 || c.SOAs != 1 {
		t.Errorf("skipped %d, lowered %d, SOAs %d; want 9, 2, 1", c.Skipped, c.Lowered, c.SOAs)
	}
}

func TestZonesOfOneFileAreReadOneByOne(t *testing.T) {
	for origin, want := range map[string]string{
		"example.net":              "example.net. 5 IN SOA ns.example.net. host.example.net. 7 1 2 3 4|,example.net. 259200 IN NS ns.example.net.|,www.example.net. 86400 IN A 192.0.2.90|",
		"deeper.deleg.example.org": "deeper.deleg.example.org. 2560 IN SOA a.ns.deeper.deleg.example.org. hostmaster.deeper.deleg.example.org. 1234 16384 2048 1048576 2560|,deeper.deleg.example.org. 259200 IN NS a.ns.deeper.deleg.example.org.|,a.ns.deeper.deleg.example.org. 259200 IN A 192.0.2.63|",
	} {
		if got := strings.Join(lines(t, example(t, origin).Snapshot), ","); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", origin, got, want)
		}
	}
}

func TestLocationsAreReturnedAsATable(t *testing.T) {
	got := example(t, "example.org").Locations
	want := Locations{
		netip.MustParsePrefix("10.1.0.0/16"): "in", netip.MustParsePrefix("10.2.3.0/24"): "in",
		netip.MustParsePrefix("192.0.2.7/32"): "ex", netip.MustParsePrefix("10.1.9.0/24"): "",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLocationsAreNamedByTheMapping(t *testing.T) {
	text := head + "+www.example.org:192.0.2.1\n+www.example.org:192.0.2.2:::Lo\n+www.example.org:192.0.2.3:::x\n+b.example.org:192.0.2.4:::lo\n"
	_, err := Read(strings.NewReader(text), "d", org)
	if want := `d:5: locations "Lo" and "lo" would both be the PoP "lo" (give each location its PoP)`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = Read(strings.NewReader(text), "d", org, WithPoPs(map[string]string{"Lo": "ams1", "lo": "ams1"}))
	if want := `d:4: location "x" has no PoP (add it to the mapping of locations)`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	c, err := Convert(strings.NewReader(text), "d", org, WithPoPs(map[string]string{"Lo": "ams1", "lo": "ams1", "x": "ams1"}))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(lines(t, c.Snapshot), "\n")
	for _, want := range []string{"www.example.org. 86400 IN A 192.0.2.1|ams1", "www.example.org. 86400 IN A 192.0.2.2|ams1", "www.example.org. 86400 IN A 192.0.2.3|ams1", "b.example.org. 86400 IN A 192.0.2.4|ams1"} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %s in\n%s", want, got)
		}
	}
}

func TestEachFaultNamesFileLineAndRemedy(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		{"+www.example.org", `"" is not an IPv4 address (IPv6 addresses go into a : line of type 28)`},
		{"+www.example.org:1.2.3", `"1.2.3" is not an IPv4 address (IPv6 addresses go into a : line of type 28)`},
		{"+www.example.org:1.2.3.256", `"1.2.3.256" is not an IPv4 address (IPv6 addresses go into a : line of type 28)`},
		{"+www.example.org:1.2.3.4:x", `ttl "x" is not a number from 0 to 2147483647 (a colon inside a field is written \072)`},
		{"+www.example.org:1.2.3.4:2147483648", `ttl "2147483648" is not a number from 0 to 2147483647 (a colon inside a field is written \072)`},
		{"+www.example.org:1.2.3.4::4000000038af1379", `timestamp "4000000038af1379" would make the record appear or vanish by the clock (remove the timestamp, or the record)`},
		{"+www.example.org:1.2.3.4:::ams1", `location "ams1" is longer than two characters (tinydns-data would read "am")`},
		{"+www.example.org:1.2.3.4::::x", `field 6 of a + line is one too many: "x" (write a colon inside a field as \072)`},
		{"&www.example.org::a:::in", `an NS record for location "in" only (remove the location: a zone is cut the same for everyone)`},
		{".x.example.org::a:::in", `an NS record for location "in" only (remove the location: a zone is cut the same for everyone)`},
		{"Zx.example.org:a:b::::::::in", `an SOA record for location "in" only (remove the location: a zone has one SOA)`},
		{"Zx.example.org:a:b:x", `serial "x" is not a number from 0 to 4294967295 (a colon inside a field is written \072)`},
		{"@example.org::a:65536", `distance "65536" is not a number from 0 to 65535 (a colon inside a field is written \072)`},
		{"'example.org:", `a TXT record without text (write one, or remove the line: tinydns would send a malformed record)`},
		{":example.org:5:\\001a\\000", `type 5 is prohibited in a : line (use the line made for it)`},
		{":a.example.org:28:\\001", `a.example.org. AAAA: malformed rdata (check the octets against the type's format)`},
		{"Sx.example.org:1.2.3.4", `S lines are of patched versions that differ in their fields (use a : line, type 33 for SRV, 35 for NAPTR)`},
		{"6x.example.org:", `6 lines are of a patched version (use a : line of type 28 with the address in octal escapes)`},
		{"x", `unknown leading character 'x' (known: Z . & = + @ ' ^ C : % - #)`},
		{"%in:1.2.3.4.5", `client prefix "1.2.3.4.5" is not one to four octets between dots (write 192.0.2 for 192.0.2.0/24)`},
		{"%abc:1", `location "abc" is longer than two characters (tinydns-data would read "ab")`},
		{"+" + strings.Repeat("a", 64) + ".example.org:1.2.3.4", `a label is longer than 63 octets (shorten it)`},
		{"+" + strings.Repeat("a.", 125) + "example.org:1.2.3.4", `the name is longer than 255 octets (shorten it)`},
	} {
		_, err := Read(strings.NewReader(head+tc.line+"\n# more\n"), "d", org)
		if want := "d:2: " + tc.want; err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", tc.line, err, want)
		}
	}
}

func TestFaultsOfTheWholeZoneAreFoundToo(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"+www.example.org:1.2.3.4\n", "d: example.org. SOA: the zone has no SOA at its apex"},
		{head + "Cwww.example.org:a\nCwww.example.org:b\n", "d:2: www.example.org. CNAME: more than one record"},
		{head + "Cwww.example.org:a\nCwww.example.org:b:::in\n", "d:2: for PoP in, with the records of all locations: www.example.org. CNAME: more than one record"},
		{head + "+a.example.org:1.2.3.4\n+www.example.org:1.2.3.4\nCwww.example.org:a\n", "d:3: www.example.org. A: stands beside a CNAME, which must be alone (RFC 1034 3.6.2)"},
		{head + "%in:1\n%ex:1\n", `d:3: clients of 1.0.0.0/8 are already in location "in" (keep one of the lines)`},
		{head + strings.Repeat("x\n", finding.MaxListed+3), "… and 3 more"},
		{head + "+" + strings.Repeat("a", maxLine) + "\n", "d:2: line longer than 1048576 octets (split it, if it is a data line at all)"},
	} {
		_, err := Read(strings.NewReader(tc.text), "d", org)
		var all *finding.List
		if !errors.As(err, &all) || !strings.HasSuffix(err.Error(), tc.want) {
			t.Errorf("%.100q:\n got %v\nwant %s", tc.text, err, tc.want)
		}
	}
}

func TestTheSerialIsTheFilesTime(t *testing.T) {
	f, err := os.Open("testdata/example.data")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Read(f, "d", org)
	if err != nil {
		t.Fatal(err)
	}
	if want := uint32(st.ModTime().Unix()); s.Serial() != want {
		t.Errorf("serial %d, want %d", s.Serial(), want)
	}
	if s, err = Read(strings.NewReader(head), "d", org); err != nil || s.Serial() != 1 {
		t.Errorf("without a time: %v, %v", s, err)
	}
}

func FuzzRead(f *testing.F) {
	b, err := os.ReadFile("testdata/example.data")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	f.Add(head + "'a.example.org:\\7\\77\\777\\8\\\n:a\\.b.example.org:16:\\001\\072\n%\n%x:\nZ\n")
	f.Fuzz(func(t *testing.T, text string) {
		var c *Conversion
		var err error
		alloctest.Within(t, 1<<20+4096*len(text), func() { c, err = Convert(strings.NewReader(text), "d", org) })
		if err == nil {
			lines(t, c.Snapshot)
			return
		}
		var all *finding.List
		if !errors.As(err, &all) || len(all.Faults) == 0 {
			t.Fatalf("an error that is no *finding.List: %v", err)
		}
		for _, one := range all.Faults {
			if one.Line < 0 || one.Line > 1+strings.Count(text, "\n") {
				t.Errorf("line of %v", one)
			}
		}
	})
}
