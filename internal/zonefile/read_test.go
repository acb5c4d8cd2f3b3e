package zonefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/zone"
)

var org = zone.MustParseName("example.org")

// head is three lines that make any zone complete.
const head = `$TTL 60
@ SOA ns. host. 1 2 3 4 5
@ NS ns.
`

// mustRead reads head and the text.
func mustRead(t *testing.T, text string, opts ...Option) *zone.Snapshot {
	t.Helper()
	s, err := Read(strings.NewReader(head+text), "z", org, opts...)
	if err != nil {
		t.Fatalf("read %q: %v", text, err)
	}
	return s
}

// lines gives a snapshot as "owner ttl type data pop weight", sorted as the snapshot is.
func lines(t *testing.T, s *zone.Snapshot) []string {
	t.Helper()
	var out []string
	for set := range s.RRsets() {
		rrs, err := set.RRs()
		if err != nil {
			t.Fatal(err)
		}
		for i, rr := range rrs {
			out = append(out, fmt.Sprintf("%s|%s|%d", strings.Join(strings.Fields(rr.String()), " "), set.PoP, set.Rdata[i].Weight))
		}
	}
	return out
}

func TestTheExampleOfTheDesignIsReadWithItsMarks(t *testing.T) {
	s := readFile(t, "testdata/design.zone")
	got := lines(t, s)
	for _, want := range []string{
		"www.example.org. 60 IN A 192.0.2.10|ams1|0",
		"www.example.org. 60 IN A 198.51.100.10|iad2|10",
		"www.example.org. 60 IN A 203.0.113.10||0",
		"www.example.org. 60 IN AAAA 2001:db8::10|ams1|0",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, strings.Join(got, "\n"))
		}
	}
	if st, want := s.Steering(zone.MustParseName("www.example.org")), (zone.Steering{Map: "edge", Answers: 2}); st != want {
		t.Errorf("steering of www: got %+v, want %+v", st, want)
	}
	if s.Serial() != 2026112301 {
		t.Errorf("serial %d, want 2026112301", s.Serial())
	}
}

func readFile(t *testing.T, name string) *zone.Snapshot {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := Read(f, name, org)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Any other server reads the same file as the union of all variants.
func TestAPlainParserReadsTheSameFileAsTheUnion(t *testing.T) {
	f, err := os.Open("testdata/design.zone")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var plain []string
	zp := dns.NewZoneParser(f, "example.org.", "")
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		plain = append(plain, strings.Join(strings.Fields(rr.String()), " "))
	}
	if err := zp.Err(); err != nil {
		t.Fatal(err)
	}
	read := lines(t, readFile(t, "testdata/design.zone"))
	ours := make([]string, 0, len(read))
	for _, l := range read {
		record, _, _ := strings.Cut(l, "|")
		ours = append(ours, record)
	}
	slices.Sort(plain)
	slices.Sort(ours)
	if !slices.Equal(plain, ours) {
		t.Errorf("plain parser:\n%s\nours:\n%s", strings.Join(plain, "\n"), strings.Join(ours, "\n"))
	}
}

func TestEachMarkSaysWhatItSays(t *testing.T) {
	www := zone.MustParseName("www.example.org")
	for _, tc := range []struct {
		text   string
		record string // of www, with pop and weight
		steer  zone.Steering
	}{
		{"www A 192.0.2.1", "||0", zone.Steering{}},
		{"www A 192.0.2.1 ; pop=ams1 is no mark without the @", "||0", zone.Steering{}},
		{"www A 192.0.2.1 ; note ;@ pop=ams1", "||0", zone.Steering{}},
		{"www A 192.0.2.1 ;@ pop=ams1", "|ams1|0", zone.Steering{}},
		{"www A 192.0.2.1 ;@pop=ams1", "|ams1|0", zone.Steering{}},
		{"www A 192.0.2.1;@ pop=ams1", "|ams1|0", zone.Steering{}},
		{"www A 192.0.2.1 ;@ pop=AMS-1.a_b\r", "|AMS-1.a_b|0", zone.Steering{}},
		{"www A 192.0.2.1 ;@\tweight=4294967295\t", "||4294967295", zone.Steering{}},
		{"www A 192.0.2.1 ;@ map=edge", "||0", zone.Steering{Map: "edge"}},
		{"www A 192.0.2.1 ;@ answers=3", "||0", zone.Steering{Answers: 3}},
		{"www A 192.0.2.1 ;@ choose=weighted", "||0", zone.Steering{Choose: zone.ChooseWeighted}},
		{"www A 192.0.2.1 ;@ choose=all", "||0", zone.Steering{}},
		{"www A 192.0.2.1 ;@ choose=sticky", "||0", zone.Steering{Choose: zone.ChooseSticky}},
		{"www A 192.0.2.1 ;@ pop=iad2 pops=iad2", "|iad2|0", zone.Steering{PoPs: "iad2"}},
		{"www A 192.0.2.1 ;@ service=web alldown=none downttl=5", "||0", zone.Steering{Service: "web", AllDown: zone.AllDownNone, DownTTL: 5}},
		{"www A 192.0.2.1 ;@ alldown=all\nwww TXT x ;@ downttl=2147483647", "||0", zone.Steering{AllDown: zone.AllDownAll, DownTTL: 1<<31 - 1}},
		{"www A 192.0.2.1 ;@ pop=a weight=2 map=m answers=65535 choose=weighted", "|a|2", zone.Steering{Map: "m", Answers: 65535, Choose: zone.ChooseWeighted}},
		{"www A 192.0.2.1 ;@ map=m\nwww TXT x ;@ map=m answers=1", "||0", zone.Steering{Map: "m", Answers: 1}},
		// a mark in any comment of the record holds, whatever follows it
		{"www ( ;@ pop=a\n A\n 192.0.2.1 )", "|a|0", zone.Steering{}},
		{"www A ( ; first\n 192.0.2.1 ;@ pop=a\n ) ;@ weight=7", "|a|7", zone.Steering{}},
		{"www A (\n;@ pop=a\n192.0.2.1 )", "|a|0", zone.Steering{}},
		{"t TXT (a\nb)\nwww A (\n192.0.2.1\n)", "||0", zone.Steering{}},
		// quotes and escapes hide semicolons
		{"t TXT \";@ pop=x\" \\;@ \"a\\\";@ b\"\nwww A 192.0.2.1 ;@ pop=a", "|a|0", zone.Steering{}},
		{"t TXT \"over\n;@ pop=x\nlines\"\nwww A 192.0.2.1 ;@ pop=a", "|a|0", zone.Steering{}},
	} {
		s, err := Read(strings.NewReader(head+tc.text), "z", org)
		if err != nil {
			t.Errorf("%q: %v", tc.text, err)
			continue
		}
		if want := "www.example.org. 60 IN A 192.0.2.1" + tc.record; !slices.Contains(lines(t, s), want) {
			t.Errorf("%q: want %q, got\n%s", tc.text, want, strings.Join(lines(t, s), "\n"))
		}
		if st := s.Steering(www); st != tc.steer {
			t.Errorf("%q: steering %+v, want %+v", tc.text, st, tc.steer)
		}
	}
}

func TestAMarkOnAGenerateLineHoldsForEveryRecord(t *testing.T) {
	s := mustRead(t, "$GENERATE 1-3 host$ A 192.0.2.$ ;@ pop=ams1\nplain A 192.0.2.9\n")
	got := strings.Join(lines(t, s), "\n")
	for _, want := range []string{
		"host1.example.org. 3600 IN A 192.0.2.1|ams1|0", "host3.example.org. 3600 IN A 192.0.2.3|ams1|0", "plain.example.org. 60 IN A 192.0.2.9||0",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, got)
		}
	}
}

// want is the error text behind head, whose three lines come first.
func TestEachFaultNamesFileLineAndRemedy(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"www A 192.0.2.1 ;@ pope=ams1", `z:4: unknown key "pope" in mark (use pop, weight, map, service, pops, answers, choose, alldown or downttl; an ordinary comment must not begin with ;@)`},
		{"www A 192.0.2.1 ;@ pop", `z:4: pop without a value (write pop=…)`},
		{"www A 192.0.2.1 ;@ pop=", `z:4: pop without a value (write pop=…)`},
		{"www A 192.0.2.1 ;@", `z:4: empty mark (write pop, weight, map, service, pops, answers, choose, alldown or downttl after ;@, or remove the @)`},
		{"www A 192.0.2.1 ;@ pop=a/b", `z:4: pop="a/b" is no name (use 1 to 63 of the characters a-z A-Z 0-9 . _ -)`},
		{"www A 192.0.2.1 ;@ map=é", `z:4: map="é" is no name (use 1 to 63 of the characters a-z A-Z 0-9 . _ -)`},
		{"www A 192.0.2.1 ;@ weight=0", `z:4: weight=0 is not a number from 1 to 4294967295 (leave it out for an unweighted record)`},
		{"www A 192.0.2.1 ;@ weight=4294967296", `z:4: weight=4294967296 is not a number from 1 to 4294967295 (leave it out for an unweighted record)`},
		{"www A 192.0.2.1 ;@ answers=-1", `z:4: answers=-1 is not a number from 1 to 65535 (leave it out for no limit)`},
		{"www A 192.0.2.1 ;@ choose=best", `z:4: choose=best is unknown (use all, weighted or sticky)`},
		{"www A 192.0.2.1 ;@ alldown=never", `z:4: alldown=never is unknown (use last-resort, all or none)`},
		{"www A 192.0.2.1 ;@ downttl=0", `z:4: downttl=0 is not a number of seconds from 1 to 2147483647 (leave it out for the record's TTL)`},
		{"www A 192.0.2.1 ;@ service=a/b", `z:4: service="a/b" is no name (use 1 to 63 of the characters a-z A-Z 0-9 . _ -)`},
		{"www A 192.0.2.1 ;@ pop=a pops=a,,b", `z:4: pops="" is no name (use 1 to 63 of the characters a-z A-Z 0-9 . _ -)`},
		{"www A 192.0.2.1 ;@ pop=a pops=a,a", `z:4: pops= names a twice (keep one)`},
		{"www A 192.0.2.1 ;@ pop=a\nwww A 192.0.2.2 ;@ pop=b pops=b,c,a", `z:5: pops= allows c, which has no variant of www.example.org. (there is: a, b)`},
		{"www A 192.0.2.1 ;@ downttl=5\nwww AAAA :: ;@ downttl=6", `z:5: downttl=6 contradicts downttl=5 of line 4 (these settings hold for the owner: give it one value)`},
		{"www A 192.0.2.1 ;@ pop=a pop=b", `z:4: pop= is given twice for one record, first on line 4 (keep one)`},
		{"www A ( ;@ pop=a\n 192.0.2.1 ) ;@ pop=b", `z:5: pop= is given twice for one record, first on line 4 (keep one)`},
		{"www A (\n 192.0.2.1 ;@ x=y\n)", `z:5: unknown key "x" in mark (use pop, weight, map, service, pops, answers, choose, alldown or downttl; an ordinary comment must not begin with ;@)`},
		{"www A 192.0.2.1 ;@ map=a\nb A 192.0.2.1\nWWW AAAA :: ;@ map=b", `z:6: map=b contradicts map=a of line 4 (these settings hold for the owner: give it one value)`},
		{"www A 192.0.2.1 ;@ answers=1\nwww AAAA :: ;@ answers=2", `z:5: answers=2 contradicts answers=1 of line 4 (these settings hold for the owner: give it one value)`},
		{"www A 192.0.2.1 ;@ choose=all\nwww AAAA :: ;@ choose=weighted", `z:5: choose=weighted contradicts choose=all of line 4 (these settings hold for the owner: give it one value)`},
		{";@ pop=ams1 weight=1\nwww A 192.0.2.1", `z:4: mark without a record (put it behind a record, or remove the @)`},
		{"$ORIGIN a.example.org. ;@ pop=ams1", `z:4: mark without a record (put it behind a record, or remove the @)`},
		{"www A 192.0.2.1 ;@ " + strings.Repeat("a", 2000), `z:4: mark longer than 1024 octets (shorten it)`},
		{"www NS ns ;@ pop=ams1", `z:4: www.example.org. NS: this type cannot differ between PoPs (remove pop=)`},
		{"www.example.net. A 192.0.2.1", `z:4: www.example.net. is not in the zone example.org. (a name without a dot at its end is completed with $ORIGIN; remove the record otherwise)`},
		{"www 60 A 192.0.2.1\nx A 192.0.2.1\nWWW 30 A 192.0.2.2", `z:6: www.example.org. A has ttl 30, but ttl 60 on line 4 (all records of a name and type have one TTL: RFC 2181 5.2)`},
		{"www 60 A 192.0.2.1 ;@ pop=a\nwww 30 A 192.0.2.2\nwww 31 A 192.0.2.3 ;@ pop=a", `z:6: www.example.org. A has ttl 31, but ttl 60 on line 4 (all records of a name and type of PoP a have one TTL: RFC 2181 5.2)`},
		{"www CNAME a\nx A 192.0.2.1\nwww A 192.0.2.1", `z:6: A beside the CNAME of line 4 (an owner with a CNAME has nothing else: remove one of them)`},
		{"www CNAME a\nwww CNAME b", `z:4: www.example.org. CNAME: more than one record (keep one)`},
		{"www A 192.0.2.1 ;@ weight=1\nwww A 192.0.2.1 ;@ weight=2", `z:4: www.example.org. A: the same record with weight 1 and weight 2 (keep one of the weights)`},
		{"www SOA a. b. 1 2 3 4 5", `z:4: www.example.org. SOA: SOA below the apex (remove it, or make it a zone of its own)`},
		{"www CH A 192.0.2.1", `z:4: class CH (remove it: zones are of class IN)`},
		{"www A 192.0.2", `z:4: bad A A: "192.0.2" (check this field of the A record)`},
		{"www A", `z:4: www.example.org. A: no data (write it behind the type)`},
		{"www TXT", `z:4: www.example.org. TXT: no data (write it behind the type)`},
		{"www A 192.0.2.1 x", `z:4: garbage after rdata: "x" (remove it, or put a ; before it to make it a comment)`},
		{"www FOO bar", `z:4: not a TTL: "FOO" (expected: owner, TTL, IN, type, data)`},
		{"x A (\n192.0.2.1\nfoo )", `z:6: garbage after rdata: "foo" (remove it, or put a ; before it to make it a comment)`},
		{"x TXT \"open\nhello", `z:4: quote is not closed before the end of the file (add the missing ")`},
		{"x A ( 192.0.2.1\n; bla\n", `z:4: parenthesis is not closed before the end of the file (add the missing one)`},
		{"x A 192.0.2.1 )", `z:4: closing parenthesis without an opening one (remove it, or add the missing one)`},
		{"$GENERATE 1-2 h$ A 192.0.2.300", `z:4: bad A A: "192.0.2.300" (check this field of the A record)`},
		{"$GENERATE 1-2 h$.example.net. A 192.0.2.$", `z:4: h1.example.net. is not in the zone example.org. (a name without a dot at its end is completed with $ORIGIN; remove the record otherwise)` +
			"\n" + `z:4: h2.example.net. is not in the zone example.org. (a name without a dot at its end is completed with $ORIGIN; remove the record otherwise)`},
	} {
		_, err := Read(strings.NewReader(head+tc.text), "z", org)
		if err == nil || err.Error() != tc.want {
			t.Errorf("%q:\n got %v\nwant %s", tc.text, err, tc.want)
		}
	}
}

func TestAZoneWithoutSOAAndNSIsTold(t *testing.T) {
	_, err := Read(strings.NewReader("www 60 A 192.0.2.1\nwww NS ns\n"), "z", org)
	want := "z: no SOA record for example.org. (add one)\nz: no NS record for example.org. (add at least one)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestAMissingTTLIsToldOnce(t *testing.T) {
	_, err := Read(strings.NewReader("@ SOA ns. host. 1 2 3 4 5\n NS ns.\nwww A 192.0.2.1\nx A 192.0.2\n"), "z", org)
	want := "z:1: missing TTL with no previous value: \"SOA\" (begin the file with a $TTL line, or give this record a TTL)\n" +
		"z:4: bad A A: \"192.0.2\" (check this field of the A record)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// After a syntax error $ORIGIN and $TTL still hold, and records that take their owner from the bad one are passed over.
func TestAllFaultsOfAFileAreReportedTogether(t *testing.T) {
	text := head + `$ORIGIN sub.example.org.
$TTL 30
a A 1
  A 192.0.2.1
  ( A
    192.0.2.2 )
b A 192.0.2.1 ;@ pop=
b 60 TXT (
   x ) ; fine, another type
b 40 A 192.0.2.7 ;@
c A 192.0.2.300
d A 192.0.2.1
d 31 A 192.0.2.2
`
	_, err := Read(strings.NewReader(text), "z", org)
	want := `z:6: bad A A: "1" (check this field of the A record)
z:10: pop without a value (write pop=…)
z:13: empty mark (write pop, weight, map, service, pops, answers, choose, alldown or downttl after ;@, or remove the @)
z:14: bad A A: "192.0.2.300" (check this field of the A record)
z:16: d.sub.example.org. A has ttl 31, but ttl 30 on line 15 (all records of a name and type have one TTL: RFC 2181 5.2)`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	var all *finding.List
	var one *finding.Fault
	if !errors.As(err, &all) || !errors.As(err, &one) || len(all.Faults) != 5 || one.Line != 6 || one.File != "z" {
		t.Errorf("errors.As: %+v, %+v", all, one)
	}
}

func TestTheListOfFaultsIsBounded(t *testing.T) {
	_, err := Read(strings.NewReader(head+strings.Repeat("x A bad\n", finding.MaxListed+5)), "z", org)
	if err == nil || strings.Count(err.Error(), "\n") != finding.MaxListed || !strings.HasSuffix(err.Error(), "\n… and 5 more") {
		t.Errorf("got %v", err)
	}
}

func TestAForgottenQuoteDoesNotTakeTheMemory(t *testing.T) {
	_, err := Read(strings.NewReader(head+"x TXT \"a\n"+strings.Repeat("0123456789\n", maxEntry/10)), "z", org)
	want := `z:4: record longer than 1048576 octets (is a quote or a parenthesis left open?)`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Every way of breaking lines, with a record out of the zone behind it: its line shows whether the count is exact.
func TestLinesAreExactWhateverComesBefore(t *testing.T) {
	for _, before := range []string{
		"", "\n\n", "; c\n", "  \t; c\n\n", "a A 192.0.2.1\n", "a A 192.0.2.1\r\n", "a A ( 192.0.2.1\n\n\n)\n", "a (\n A ; )\n 192.0.2.1 ; (\n)\n",
		"a TXT \"x\ny\n\" z\n", "a TXT \"\\\"\n\\\\\" ; \"\n", "a TXT \\\" \\( ;x\n", "$TTL 5 ; (\n", "$ORIGIN (\nexample.org. )\n",
		"$GENERATE 1-9 a$ A 192.0.2.$\n", "a RRSIG A 8 2 60 20300101000000 20200101000000 1 example.org. ( YWJj\nYWJj )\n",
		"a TYPE65534 \\# (\n3 0102\n03 )\n", "a A \\# 4 (\n01020304)\n", "a HINFO a (\nb)\n", "a CAA 0 issue \"x\"\n", "a LOC 1 N 1 E 0m (\n)\n",
	} {
		for _, bad := range []string{"b.example.net. A 192.0.2.1", "b.example.net. A (\n192.0.2.1\n)\n; end"} {
			_, err := Read(strings.NewReader(head+before+bad), "z", org)
			var fault *finding.Fault
			if want := 4 + strings.Count(before, "\n"); !errors.As(err, &fault) || fault.Line != want || strings.Contains(err.Error(), "\n") {
				t.Errorf("behind %q: got %v, want one error on line %d", before, err, want)
			}
		}
	}
}

// The scanner counts on every type's parser taking the newline that ends the record.
func TestEveryTypesRecordEndsAtItsNewline(t *testing.T) {
	f, err := os.ReadFile("testdata/types.zone")
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range strings.Split(strings.TrimSpace(string(f)), "\n") {
		text := head + l + " ;@ weight=1\nbad.example.net. A 192.0.2.1\n"
		_, err := Read(strings.NewReader(text), "z", org)
		var all *finding.List
		if !errors.As(err, &all) || len(all.Faults) != 1 || all.Faults[0].Line != 5 {
			t.Errorf("types.zone:%d: %s\n got %v, want one error on line 5", i+1, l, err)
		}
	}
}

func TestUnknownPoPsAreToldWithTheNearestName(t *testing.T) {
	names := []string{"ams1", "iad2"}
	known := func(n string) bool { return slices.Contains(names, n) }
	mustRead(t, "www A 192.0.2.1 ;@ pop=ams1", WithPoPs(known, names))
	for pop, want := range map[string]string{
		"asm1": "z:4: unknown PoP asm1 (did you mean ams1?)", "zurich": "z:4: unknown PoP zurich (add it to the PoP table first)",
		"AMS1": "z:4: unknown PoP AMS1 (did you mean ams1?)",
	} {
		_, err := Read(strings.NewReader(head+"www A 192.0.2.1 ;@ pop="+pop), "z", org, WithPoPs(known, names))
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestProgressEndsAtTheLengthOfTheFile(t *testing.T) {
	text := head + strings.Repeat("; 0123456789\n", 20000)
	var seen []int64
	if _, err := Read(strings.NewReader(text), "z", org, WithProgress(func(n int64) { seen = append(seen, n) })); err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(seen) || len(seen) < 4 || seen[len(seen)-1] != int64(len(text)) {
		t.Errorf("progress %v, want up to %d", seen, len(text))
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func TestAReadErrorIsNotTakenForTheEndOfTheFile(t *testing.T) {
	if _, err := Read(brokenReader{}, "z", org); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestIncludesStayInTheFolderOfTheFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "outside", "o A 192.0.2.66\n")
	write(t, dir, "zones/sub/a", "a A 192.0.2.1 ;@ pop=a\n$INCLUDE b inner\nlast A 192.0.2.3\n")
	write(t, dir, "zones/sub/b", "b A 192.0.2.2")
	write(t, dir, "zones/bad", "x A 192.0.2.1\n\ny A bad\nz A 192.0.2.1\n")
	write(t, dir, "zones/away", "\nx.example.net. A 192.0.2.1\n")
	if err := os.Symlink("../outside", filepath.Join(dir, "zones/link")); err != nil {
		t.Fatal(err)
	}
	z := filepath.Join(dir, "zones/z")
	s, err := Read(strings.NewReader(head+"$INCLUDE sub/a ; comment\nend A 192.0.2.4\n"), z, org)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(lines(t, s), "\n")
	for _, want := range []string{"a.example.org. 60 IN A 192.0.2.1|a|0", "b.inner.example.org. 60 IN A 192.0.2.2||0", "last.example.org.", "end.example.org."} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, got)
		}
	}
	for _, tc := range []struct{ file, text, want string }{
		{z, "$INCLUDE ../outside", "z:4: failed to open `../outside'"},
		{z, "$INCLUDE " + filepath.Join(dir, "zones/sub/b"), "the path is absolute; give it relative to the zone file's folder"},
		{z, "$INCLUDE link", "escapes"},
		{z, "$INCLUDE none", "no such file"},
		{z, "$INCLUDE z2\n", "no such file"},
		{"-", "$INCLUDE sub/a", "-:4: failed to open `sub/a': only a zone file that is read from a path may include others"},
		{"", "$INCLUDE sub/a", "zone of example.org.:4: failed to open `sub/a': only a zone file that is read from a path may include others"},
		{z, "$INCLUDE bad\n A 192.0.2.1\nq A also\n", "zones/bad:3: bad A A: \"bad\" (check this field of the A record)\n" + z + ":6: bad A A: \"also\""},
		{z, "$INCLUDE away", "zones/away:2: x.example.net. is not in the zone"},
		{z, "www 30 A 192.0.2.9\nx 30 A 192.0.2.9\n$INCLUDE bad", "zones/bad:1: x.example.org. A has ttl 60, but ttl 30 on " + z + ":5"},
	} {
		_, err := Read(strings.NewReader(head+tc.text), tc.file, org)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %q:\n got %v\nwant …%s…", tc.file, tc.text, err, tc.want)
		}
	}
}

func TestIncludingOneselfEnds(t *testing.T) {
	dir := t.TempDir()
	z := write(t, dir, "z", "$INCLUDE z\n")
	_, err := Read(strings.NewReader(head+"$INCLUDE z\n"), z, org)
	if err == nil || !strings.Contains(err.Error(), "z:1: too deeply nested $INCLUDE") {
		t.Errorf("got %v", err)
	}
}

// RFC 4034 3: an RRSIG has the TTL of what it covers, so those of one owner differ.
func TestSignaturesOfOneOwnerMayDifferInTheirTTL(t *testing.T) {
	a := "a 30 RRSIG A 8 2 30 20300101000000 20200101000000 1 example.org. YWJj\n"
	b := "a 20 RRSIG TXT 8 2 20 20300101000000 20200101000000 1 example.org. YWJj\n"
	one, two := mustRead(t, a+b), mustRead(t, b+a)
	if one.Sum() != two.Sum() || one.Records() != 4 {
		t.Errorf("the order of signatures matters:\n%s\n%s", lines(t, one), lines(t, two))
	}
	_, err := Read(strings.NewReader(head+a+"x.net. 5 RRSIG A 8 2 30 20300101000000 20200101000000 1 example.org. YWJj\n"), "z", org)
	if err == nil || !strings.HasPrefix(err.Error(), "z:5: x.net. is not in the zone") {
		t.Errorf("got %v", err)
	}
}
