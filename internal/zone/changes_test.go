package zone

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestChangesCountWhatADiffFinds goes through random versions and compares, for several of them in one step, with the difference of the two ends, which
// reads both zones.
func TestChangesCountWhatADiffFinds(t *testing.T) {
	rnd := newRandom(t)
	steps := 0
	for range 60 {
		z, first := makeRandomZone(t, rnd)
		codec := Codec{Origin: first.Origin()}
		cur := first
		var deltas [][]byte
		for range 1 + rnd.IntN(4) {
			other := (&randomZone{rnd: rnd, origin: z.origin, oracle: newOracle(z.origin), b: NewBuilder(first.Origin()), t: t}).build()
			next, err := cur.Apply(randomDelta(rnd, modelOf(cur), other))
			if err != nil {
				continue
			}
			if b, err := codec.Diff(cur, next); err != nil {
				t.Fatal(err)
			} else if b != nil {
				deltas, cur = append(deltas, b), next
			}
		}
		if rnd.IntN(3) == 0 { // and back
			if b, err := codec.Diff(cur, first); err != nil {
				t.Fatal(err)
			} else if b != nil {
				deltas, cur = append(deltas, b), first
			}
		}
		got, err := codec.Changes(first, cur, slices.Values(deltas), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		want, keys := countDiff(first, cur)
		sortKeys(got.Examples)
		sortKeys(keys)
		if !slices.Equal(got.Examples, keys) {
			t.Fatalf("changed are %v, want %v", got.Examples, keys)
		}
		got.Examples = nil
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		steps += len(deltas)
		if few, err := codec.Changes(first, cur, slices.Values(deltas), 2); err != nil || len(few.Examples) != min(2, len(keys)) {
			t.Fatalf("%d examples of %d, %v, want at most two", len(few.Examples), len(keys), err)
		}
	}
	t.Logf("%d deltas", steps)
}

func sortKeys(keys []Key) {
	slices.SortFunc(keys, func(a, b Key) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

func countDiff(old, new *Snapshot) (c Changes, keys []Key) {
	d := Diff(old, new)
	c.Deleted, c.Settings = len(d.Delete), len(d.Steer)
	keys = slices.Clone(d.Delete)
	for _, set := range d.Put {
		was, had := old.Get(set.Key())
		switch {
		case !had:
			c.Added++
		case set.Type == dns.TypeSOA && sameSOA(was, set):
			continue
		default:
			c.Changed++
		}
		keys = append(keys, set.Key())
	}
	return c, keys
}

// sameSOA compares SOAs by their text, without the serial.
func sameSOA(a, b RRset) bool {
	text := func(s RRset) string {
		rrs, err := s.RRs()
		if err != nil {
			return err.Error()
		}
		soa := rrs[0].(*dns.SOA)
		soa.Serial = 0
		return soa.String()
	}
	return text(a) == text(b)
}

func TestChangesRefusesADamagedDelta(t *testing.T) {
	_, s := makeRandomZone(t, newRandom(t))
	if _, err := (Codec{Origin: s.Origin()}).Changes(s, s, slices.Values([][]byte{[]byte("junk")}), 1); err == nil {
		t.Error("no error")
	}
}
