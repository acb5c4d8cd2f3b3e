package xfr_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/xfr"
	"github.com/popdns/popdns/internal/xfr/xfrtest"
	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"

	"github.com/miekg/dns"
)

func records(tb testing.TB, t xfr.Transfer) []dns.RR {
	tb.Helper()
	var out []dns.RR
	for batch, err := range t.Batches() {
		if err != nil {
			tb.Fatal(err)
		}
		if len(batch) == 0 {
			tb.Error("an empty batch")
		}
		out = append(out, batch...)
	}
	return out
}

func transfer(tb testing.TB, j *xfr.Journal, serial uint32) xfr.Transfer {
	tb.Helper()
	t, ok := j.Transfer(serial)
	if !ok {
		tb.Fatal("no version to transfer")
	}
	return t
}

// TestSecondariesFollowRandomHistories has secondaries that ask now and then, across the end of the serial space, and compares each with what its
// serial stands for. The versions come as from a writer: sometimes made from one another, sometimes read anew.
func TestSecondariesFollowRandomHistories(t *testing.T) {
	kinds := map[xfr.Kind]int{}
	for range 20 {
		h := xfrtest.NewHistory(t)
		rnd := h.Rand()
		serial := ^uint32(0) - uint32(rnd.IntN(100))
		cur := h.Snapshot(t, serial)
		j := &xfr.Journal{}
		j.Advance(cur, nil)
		secondaries := make([]xfrtest.Secondary, 4)
		for range 100 {
			h.Step()
			if serial += uint32(1 + rnd.IntN(3)); serial == 0 {
				serial = 1
			}
			next := h.Snapshot(t, serial)
			if rnd.IntN(3) > 0 {
				var err error
				if next, err = cur.Apply(zone.Diff(cur, next)); err != nil {
					t.Fatal(err)
				}
			}
			if !j.Advance(next, nil) {
				t.Fatalf("serial %d is not taken", serial)
			}
			cur = next
			for i := range secondaries {
				if rnd.IntN(1+3*i) > 0 {
					continue
				}
				s := &secondaries[i]
				x := transfer(t, j, s.Serial)
				kinds[x.Kind]++
				if err := s.Apply(records(t, x)); err != nil {
					t.Fatalf("%s to serial %d: %v", x.Kind, serial, err)
				}
				if want := h.Exported(t, serial); !maps.Equal(s.Records, want) {
					t.Fatalf("after %s to serial %d: got %v, want %v", x.Kind, serial, slices.Sorted(maps.Keys(s.Records)), slices.Sorted(maps.Keys(want)))
				}
				if x := transfer(t, j, s.Serial); x.Kind != xfr.Current || len(records(t, x)) != 1 {
					t.Fatalf("an up-to-date secondary gets %s", x.Kind)
				}
			}
		}
	}
	t.Logf("transfers: %v", kinds)
	for _, k := range []xfr.Kind{xfr.Full, xfr.Fallback, xfr.Incremental} {
		if kinds[k] < 50 {
			t.Errorf("only %d of kind %s", kinds[k], k)
		}
	}
}

// hosts is a zone of n addresses.
func hosts(tb testing.TB, n int) *zone.Snapshot {
	tb.Helper()
	var b strings.Builder
	b.WriteString("$ORIGIN example.org.\n@ 60 IN SOA ns h 1 2 3 4 5\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53\n")
	for i := range n {
		fmt.Fprintf(&b, "h%d 60 IN A 10.%d.%d.%d\n", i, i>>16, i>>8&255, i&255)
	}
	s, err := zonefile.Read(strings.NewReader(b.String()), "hosts.zone", zone.MustParseName("example.org."))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// withHosts gives n hosts, from the first on, another address.
func withHosts(tb testing.TB, s *zone.Snapshot, first, n int, octet byte) *zone.Snapshot {
	tb.Helper()
	var d zone.Delta
	for i := first; i < first+n; i++ {
		set, err := zone.NewRRset(zone.MustParseName(fmt.Sprintf("h%d.example.org.", i)), dns.TypeA, 60, "", zone.Rdata{Wire: []byte{11, octet, byte(i >> 8), byte(i)}})
		if err != nil {
			tb.Fatal(err)
		}
		d.Put = append(d.Put, set)
	}
	next, err := s.Apply(d)
	if err != nil {
		tb.Fatal(err)
	}
	return next.WithSerial(s.Serial() + 1)
}

func TestJournalKeepsNoMoreVersionsThanItsBound(t *testing.T) {
	s := hosts(t, 40_000) // large enough that octets are not the bound that is met
	j := &xfr.Journal{}
	j.Advance(s, nil)
	for i := range xfr.MaxDifferences + 10 {
		s = withHosts(t, s, i, 1, 1)
		j.Advance(s, nil)
	}
	oldest := s.Serial() - xfr.MaxDifferences
	if x := transfer(t, j, oldest); x.Kind != xfr.Incremental {
		t.Errorf("%d versions back gives %s, want ixfr", xfr.MaxDifferences, x.Kind)
	}
	if x := transfer(t, j, oldest-1); x.Kind != xfr.Fallback {
		t.Errorf("%d versions back gives %s, want fallback", xfr.MaxDifferences+1, x.Kind)
	}
}

func TestIXFRLargerThanTheZoneIsAnAXFR(t *testing.T) {
	const n = 1000
	s := hosts(t, n)
	j := &xfr.Journal{}
	j.Advance(s, nil)
	s = withHosts(t, s, 0, n/3, 1)
	j.Advance(s, nil)
	if x := transfer(t, j, 1); x.Kind != xfr.Incremental {
		t.Errorf("a third of the zone changed: %s, want ixfr", x.Kind)
	}
	s = withHosts(t, s, n/3, n/3, 1)
	j.Advance(s, nil)
	if x := transfer(t, j, 1); x.Kind != xfr.Fallback || len(records(t, x)) != n+4 {
		t.Errorf("two thirds of the zone changed, each record twice in the differences: %s, want fallback", x.Kind)
	}
	if x := transfer(t, j, 2); x.Kind != xfr.Incremental {
		t.Errorf("from the version between: %s, want ixfr", x.Kind)
	}
}

func TestSecondaryAheadOfTheServerIsUpToDate(t *testing.T) {
	j := &xfr.Journal{}
	j.Advance(hosts(t, 1).WithSerial(^uint32(0)), nil)
	for serial, want := range map[uint32]xfr.Kind{^uint32(0): xfr.Current, 5: xfr.Current, ^uint32(0) - 5: xfr.Fallback, 0: xfr.Full} {
		if x := transfer(t, j, serial); x.Kind != want {
			t.Errorf("serial %d gives %s, want %s", serial, x.Kind, want)
		}
	}
}

func TestJournalTakesNoVersionThatIsNotNewer(t *testing.T) {
	j := &xfr.Journal{}
	if _, ok := j.Transfer(0); ok {
		t.Error("an empty journal has something to transfer")
	}
	s := hosts(t, 3).WithSerial(10)
	j.Advance(s, nil)
	for _, serial := range []uint32{10, 9, 10 + 1<<31} {
		if j.Advance(s.WithSerial(serial), nil) {
			t.Errorf("serial %d is taken after 10", serial)
		}
	}
	if x := transfer(t, j, 10); x.Kind != xfr.Current {
		t.Errorf("serial 10 gives %s", x.Kind)
	}
}

func TestTransferIsOfTheMomentItWasMade(t *testing.T) {
	s := hosts(t, 2000)
	j := &xfr.Journal{}
	j.Advance(s, nil)
	for i := range 10 {
		s = withHosts(t, s, i, 1, 1)
		j.Advance(s, nil)
	}
	whole, some := transfer(t, j, 0), transfer(t, j, 5)
	for i := range xfr.MaxDifferences {
		s = withHosts(t, s, i%2000, 1, byte(2+i/2000))
		j.Advance(s, nil)
	}
	for _, x := range []xfr.Transfer{whole, some} {
		rrs := records(t, x)
		if got := rrs[len(rrs)-1].(*dns.SOA).Serial; got != 11 || rrs[0].(*dns.SOA).Serial != 11 {
			t.Errorf("%s captured at serial 11 sends %d", x.Kind, got)
		}
	}
	if got := len(records(t, some)); got != 2+6*4 {
		t.Errorf("6 changes are %d records, want two SOA around 6 times SOA, old, SOA, new", got)
	}
}

// BenchmarkTransferWhole makes the records of a million-record AXFR.
func BenchmarkTransferWhole(b *testing.B) {
	j := &xfr.Journal{}
	j.Advance(hosts(b, 1_000_000), nil)
	for b.Loop() {
		if n := len(records(b, transfer(b, j, 0))); n != 1_000_004 {
			b.Fatalf("%d records", n)
		}
	}
}

// BenchmarkAdvance keeps the difference of one change in a zone of a million records of which many changed before.
func BenchmarkAdvance(b *testing.B) {
	s := hosts(b, 1_000_000)
	for i := range 10_000 {
		s = withHosts(b, s, i, 1, 1)
	}
	j := &xfr.Journal{}
	j.Advance(s, nil)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		s = withHosts(b, s, i%1000, 1, byte(2+i/1000))
		b.StartTimer()
		j.Advance(s, nil)
	}
}
