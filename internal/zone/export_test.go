package zone

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// exportOf is what a secondary must hold of a zone, said once more in the plainest way: a set of records as text.
func exportOf(t *testing.T, s *Snapshot) map[string]bool {
	t.Helper()
	type key struct {
		owner Name
		typ   uint16
	}
	variants := map[key][]RRset{} // default first, then by PoP: the order of RRsets
	for set := range s.RRsets() {
		k := key{set.Owner, set.Type}
		variants[k] = append(variants[k], set)
	}
	signs := func(sigs []RRset, pop string, typ uint16) bool {
		return slices.ContainsFunc(sigs, func(s RRset) bool {
			return s.PoP == pop && slices.ContainsFunc(s.Rdata, func(rd Rdata) bool { return int(rd.Wire[0])<<8|int(rd.Wire[1]) == int(typ) })
		})
	}
	single := func(k key) bool {
		return k.typ == dns.TypeCNAME || k.typ != dns.TypeRRSIG && slices.ContainsFunc(variants[k], func(v RRset) bool {
			return signs(variants[key{k.owner, dns.TypeRRSIG}], v.PoP, k.typ)
		})
	}
	chosen := func(k key, pop string) bool {
		if single(k) {
			return variants[k][0].PoP == pop
		}
		return slices.ContainsFunc(variants[k], func(v RRset) bool { return v.PoP == pop })
	}
	out := map[string]bool{}
	for k, vs := range variants {
		ttl := vs[0].TTL
		for _, v := range vs {
			if !single(k) {
				ttl = min(ttl, v.TTL)
			}
		}
		for _, v := range vs {
			if !chosen(k, v.PoP) {
				continue
			}
			if k.typ != dns.TypeRRSIG {
				v.TTL = ttl
			}
			rrs, err := v.RRs()
			if err != nil {
				t.Fatal(err)
			}
			for _, rr := range rrs {
				if sig, ok := rr.(*dns.RRSIG); ok {
					covered := key{k.owner, sig.TypeCovered}
					if len(variants[covered]) > 0 && !chosen(covered, v.PoP) {
						continue
					}
				}
				out[rr.String()] = true
			}
		}
	}
	return out
}

func recordsOf(t *testing.T, sets []RRset) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, set := range sets {
		if set.PoP != "" {
			t.Errorf("%s has a PoP", set.Owner)
		}
		wire := set.AppendWire(nil)
		for off := 0; off < len(wire); {
			rr, next, err := dns.UnpackRR(wire, off)
			if err != nil {
				t.Fatal(err)
			}
			if off = next; out[rr.String()] {
				t.Errorf("%s comes twice", rr)
			}
			out[rr.String()] = true
		}
	}
	return out
}

func sameRecords(t *testing.T, what string, got, want map[string]bool) {
	t.Helper()
	lines := func(m map[string]bool) string {
		l := make([]string, 0, len(m))
		for s := range m {
			l = append(l, s)
		}
		slices.Sort(l)
		return strings.Join(l, "\n")
	}
	if g, w := lines(got), lines(want); g != w {
		t.Fatalf("%s: got\n%s\nwant\n%s", what, g, w)
	}
}

// TestExportAndItsDifferencesAgreeWithThePlainForm takes random zones, steered and signed, through random changes.
func TestExportAndItsDifferencesAgreeWithThePlainForm(t *testing.T) {
	rnd := newRandom(t)
	changes := 0
	for range 150 {
		z, s := makeRandomZone(t, rnd)
		was := exportOf(t, s)
		for range 15 {
			other := (&randomZone{rnd: rnd, origin: z.origin, oracle: newOracle(z.origin), b: NewBuilder(s.Origin()), t: t}).build()
			next, err := s.Apply(randomDelta(rnd, modelOf(s), other))
			if err != nil {
				continue
			}
			if rnd.IntN(4) == 0 {
				folded := *next
				folded.fold()
				next = &folded
			}
			changes++
			is := exportOf(t, next)
			sets := slices.Collect(next.Export())
			sameRecords(t, "export of\n"+dump(next), recordsOf(t, sets), is)
			if sets[0].Type != dns.TypeSOA {
				t.Fatalf("the export begins with %s", dns.TypeToString[sets[0].Type])
			}
			octets := 0
			for _, set := range sets {
				octets += len(set.AppendWire(nil))
			}
			if got := next.ExportOctets(); got != octets {
				t.Fatalf("ExportOctets says %d, they are %d", got, octets)
			}
			gone, come := ExportDiff(s, next)
			sameRecords(t, fmt.Sprintf("gone from\n%sto\n%s", dump(s), dump(next)), recordsOf(t, gone), without(was, is))
			sameRecords(t, fmt.Sprintf("come from\n%sto\n%s", dump(s), dump(next)), recordsOf(t, come), without(is, was))
			s, was = next, is
		}
	}
	if changes < 500 {
		t.Errorf("only %d changes were compared", changes)
	}
}

func without(a, b map[string]bool) map[string]bool {
	out := map[string]bool{}
	for s := range a {
		if !b[s] {
			out[s] = true
		}
	}
	return out
}

// TestDiffOfOneChangeCostsNothingMoreInAZoneOfManyChanges counts what is looked at, not time.
func TestDiffOfOneChangeCostsNothingMoreInAZoneOfManyChanges(t *testing.T) {
	s := numbered(t, 20_000)
	for i := range minFold {
		next, err := s.Apply(Delta{Put: []RRset{numberedHost(s.Origin(), i, 1)}})
		if err != nil {
			t.Fatal(err)
		}
		if next.image != s.image {
			t.Fatal("folded too early for this test")
		}
		looked := 0
		eachChange(s, next, func(node, node) { looked++ })
		if d := Diff(s, next); looked > 3 || len(d.Put) != 1 {
			t.Fatalf("change %d: %d names looked at for a delta of %d", i, looked, len(d.Put))
		}
		s = next
	}
}
