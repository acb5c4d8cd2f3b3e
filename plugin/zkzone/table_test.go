package zkzone

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/coredns/plugin"

	"github.com/miekg/dns"
)

func tableOf(origins ...string) *table {
	zones := map[zone.Name]*served{}
	for _, o := range origins {
		name := zone.MustParseName(o)
		zones[name] = &served{name: name, origin: o}
	}
	return newTable(zones)
}

// TestTableAgreesWithMatches: the stock linear search is the oracle.
func TestTableAgreesWithMatches(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	labels := []string{"a.", "b.", "ab.", `x\.y.`, `\000.`, "*.", "example."}
	random := func(most int) string {
		name := ""
		for range r.IntN(most + 1) {
			name += labels[r.IntN(len(labels))]
		}
		if name == "" {
			return "."
		}
		return name
	}
	hits := 0
	for range 2000 {
		origins := make([]string, r.IntN(8))
		for i := range origins {
			origins[i] = random(4)
		}
		table := tableOf(origins...)
		for range 20 {
			qname := random(7)
			want := plugin.Zones(origins).Matches(qname)
			got := ""
			if here := table.match(zone.MustParseName(qname)); here != nil {
				got = here.origin
				hits++
			}
			if got != want {
				t.Fatalf("%s in %q: got %q, want %q", qname, origins, got, want)
			}
		}
	}
	if hits < 1000 {
		t.Errorf("only %d names lay in a zone", hits)
	}
	long := ""
	for range 127 {
		long += "a."
	}
	if here := tableOf(long, "a.").match(zone.MustParseName(long)); here == nil || here.origin != long {
		t.Error("a name of 127 labels is not found")
	}
}

// TestDSIsAnsweredByTheZoneAbove (RFC 4035 3.1.4.1).
func TestDSIsAnsweredByTheZoneAbove(t *testing.T) {
	table := tableOf("example.", "sub.example.", "alone.", ".")
	for _, tc := range []struct {
		name string
		typ  uint16
		want string
	}{
		{"sub.example.", dns.TypeDS, "example."},
		{"sub.example.", dns.TypeNS, "sub.example."},
		{"x.sub.example.", dns.TypeDS, "sub.example."},
		{"alone.", dns.TypeDS, "."},
		{".", dns.TypeDS, "."},
	} {
		if got := table.answers(zone.MustParseName(tc.name), tc.typ); got.origin != tc.want {
			t.Errorf("%s %s is answered by %s, want %s", tc.name, dns.TypeToString[tc.typ], got.origin, tc.want)
		}
	}
	if got := tableOf("sub.example.").answers(zone.MustParseName("sub.example."), dns.TypeDS); got.origin != "sub.example." {
		t.Error("the zone itself doesn't answer where the one above is not served")
	}
}

// BenchmarkMatch compares the table with plugin.Zones.Matches, which it took the
// place of, for names that lie two labels below an origin.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		origins := make([]string, n)
		names := make([]zone.Name, n)
		texts := make([]string, n)
		for i := range n {
			origins[i] = fmt.Sprintf("zone%05d.customer%d.example.", i, i%97)
			texts[i] = "www.dept." + origins[i]
			names[i] = zone.MustParseName(texts[i])
		}
		table := tableOf(origins...)
		b.Run(fmt.Sprintf("table/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if table.match(names[i*7919%n]) == nil {
					b.Fatal("not found")
				}
				i++
			}
		})
		b.Run(fmt.Sprintf("plugin.Zones/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if plugin.Zones(origins).Matches(texts[i*7919%n]) == "" {
					b.Fatal("not found")
				}
				i++
			}
		})
	}
}
