package zone

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestParseNameAgreesWithMiekg(t *testing.T) {
	for _, s := range []string{
		".", "org.", "org", "Example.ORG.", `a\.b.example.`, `\065.example.`, `\000\255\032.x.`, `\\.x.`, `\".x.`, `a b.x.`, `*.x.`, `\@.x.`, "ü.x.",
		strings.Repeat("a", 63) + ".x.", strings.Repeat("a", 64) + ".x.", strings.Repeat("a.", 127), strings.Repeat("a.", 128),
		strings.Repeat(strings.Repeat("b", 62)+".", 4), strings.Repeat(strings.Repeat("b", 62)+".", 4) + "aa.", strings.Repeat(strings.Repeat("b", 62)+".", 4) + "a.",
	} {
		compareWithMiekg(t, s)
	}
}

// compareWithMiekg checks that a name packs to the same octets, and prints to what reads back as the same.
func compareWithMiekg(t *testing.T, s string) {
	t.Helper()
	var buf [512]byte
	end, err := dns.PackDomainName(dns.Fqdn(s), buf[:], 0, nil, false)
	n, gotErr := ParseName(s)
	if (err == nil && end <= maxName) != (gotErr == nil) { // miekg packs longer names
		t.Errorf("ParseName(%q): %v, miekg says %v", s, gotErr, err)
		return
	}
	if gotErr != nil {
		return
	}
	if want := lowerName(buf[:end]); n != want {
		t.Errorf("ParseName(%q) = %q, want %q", s, string(n), string(want))
	}
	printed, _, err := dns.UnpackDomainName([]byte(n), 0)
	if err != nil || printed != n.String() {
		t.Errorf("%q prints as %q, miekg prints %q (%v)", string(n), n.String(), printed, err)
	}
	if back, err := ParseName(n.String()); err != nil || back != n {
		t.Errorf("%q read back from %q is %q, %v", string(n), n.String(), string(back), err)
	}
}

func TestParseNameRefusesWhatIsNoName(t *testing.T) {
	for _, s := range []string{"", "..", "a..b", ".a", `a\`, `a\25`, `a\256`, `a\2x5`, strings.Repeat("a.", 128)} {
		if n, err := ParseName(s); err == nil {
			t.Errorf("ParseName(%q) = %q, want an error", s, string(n))
		}
	}
}

func TestCompareOrdersAsRFC4034Does(t *testing.T) {
	// RFC 4034 6.1, with the octets below a letter and the apex's sibling put in.
	want := []string{
		"example.", "a.example.", "yljkjljk.a.example.", "Z.a.example.", "zABC.a.EXAMPLE.", "z.example.", `\001.z.example.`, "*.z.example.", `\200.z.example.`,
		"example2.",
	}
	names := make([]Name, len(want))
	for i, s := range want {
		names[i] = MustParseName(s)
	}
	for i := range names {
		for j := range names {
			if got := sign(names[i].Compare(names[j])); got != sign(i-j) {
				t.Errorf("%s compared with %s: %d, want %d", want[i], want[j], got, sign(i-j))
			}
		}
	}
}

func sign(n int) int { return min(1, max(-1, n)) }

func TestSortKeysOrderAsKeysDo(t *testing.T) {
	rnd := newRandom(t)
	labels := []string{"\x00", "\x01", "\x01\x01", "\x02", "a", "a\x00", "b", "*", "\xff"}
	pops := []string{"", "a", "ab", "b"}
	random := func() Key {
		n := Root
		for range rnd.IntN(4) {
			n = n.Prepend(labels[rnd.IntN(len(labels))])
		}
		return Key{n, []uint16{1, 2, 6, 5, 300}[rnd.IntN(5)], pops[rnd.IntN(len(pops))]}
	}
	for range 100_000 {
		a, b := random(), random()
		got := slices.Compare(appendSortKey(nil, a), appendSortKey(nil, b))
		if want := sign(compareKeys(a, b)); got != want {
			t.Fatalf("sort keys of %v and %v order %d, want %d", a, b, got, want)
		}
		if typ, pop := splitSortKey(appendSortKey(nil, a)); typ != a.Type || pop != a.PoP {
			t.Fatalf("sort key of %v gives back %d %q", a, typ, pop)
		}
	}
}

func TestNameRelations(t *testing.T) {
	n := MustParseName("*.Www.example.org")
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"parent", n.Parent(), MustParseName("www.example.org")},
		{"root's parent", Root.Parent(), Root},
		{"labels", n.Labels(), 4},
		{"wildcard", n.IsWildcard(), true},
		{"not a wildcard", n.Parent().IsWildcard(), false},
		{"prepend", Root.Prepend("ORG").Prepend("x.y"), MustParseName(`x\.y.org`)},
		{"prepend too much", n.Prepend(strings.Repeat("a", 64)), Name("")},
		{"subdomain of itself", n.IsSubdomainOf(n), true},
		{"subdomain of the root", n.IsSubdomainOf(Root), true},
		{"not of a longer name", n.Parent().IsSubdomainOf(n), false},
		{"not of a name that is a suffix of octets only", MustParseName(`a\007example\003org.`).IsSubdomainOf(MustParseName("example.org")), false},
		{"of no name", n.IsSubdomainOf(""), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{".", `a\.b.c`, `\000`, "*.example.org.", "a..b", `\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			return
		}
		if length, err := wireNameLen([]byte(n)); err != nil || length != len(n) {
			t.Fatalf("ParseName(%q) = %q is no wire name: %d, %v", s, string(n), length, err)
		}
		if back, err := ParseName(n.String()); err != nil || back != n {
			t.Fatalf("%q prints as %q, which reads as %q, %v", string(n), n.String(), string(back), err)
		}
	})
}
