package setsum

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// bigSum is the oracle: the definition, in math/big.
func bigSum(items [][]byte) Sum {
	modulus := new(big.Int).Lsh(big.NewInt(1), 256)
	total := new(big.Int)
	for _, item := range items {
		d := sha256.Sum256(item)
		total.Add(total, new(big.Int).SetBytes(d[:]))
	}
	var s Sum
	total.Mod(total, modulus).FillBytes(s[:])
	return s
}

func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func randomItems(r *rand.Rand) [][]byte {
	items := make([][]byte, r.IntN(50))
	for i := range items {
		items[i] = binary.BigEndian.AppendUint64(nil, r.Uint64())
	}
	return items
}

func TestSumEqualsItsDefinitionInBigIntegers(t *testing.T) {
	r := seeded(t)
	for range 200 {
		items := randomItems(r)
		var got Sum
		for _, item := range items {
			got.Add(item)
		}
		if want := bigSum(items); got != want {
			t.Fatalf("%d items: sum %s, want %s", len(items), got, want)
		}
	}
}

func TestOrderDoesNotMatterAndRemoveUndoesAdd(t *testing.T) {
	r := seeded(t)
	for range 200 {
		keep, gone := randomItems(r), randomItems(r)
		all := append(append([][]byte{}, keep...), gone...)
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		var got Sum
		for _, item := range all {
			got.Add(item)
		}
		for _, item := range gone {
			got.Remove(item)
		}
		if want := bigSum(keep); got != want {
			t.Fatalf("%d kept, %d removed: sum %s, want %s", len(keep), len(gone), got, want)
		}
	}
}

func TestRemoveBeforeAddComesBackToTheEmptySet(t *testing.T) {
	var s Sum
	s.Remove([]byte("a")) // borrows through every limb
	s.Add([]byte("a"))
	if s != (Sum{}) {
		t.Fatalf("sum %s, want the empty set's", s)
	}
}

func TestMergeOfPartsIsTheSumOfTheWhole(t *testing.T) {
	r := seeded(t)
	for range 100 {
		items := randomItems(r)
		cut := r.IntN(len(items) + 1)
		var left, right Sum
		for i, item := range items {
			if i < cut {
				left.Add(item)
			} else {
				right.Add(item)
			}
		}
		left.Merge(right)
		if want := bigSum(items); left != want {
			t.Fatalf("merged %s, want %s", left, want)
		}
	}
}

func TestCarryAndBorrowRunThroughAllLimbs(t *testing.T) {
	var ones, one Sum
	for i := range ones {
		ones[i] = 0xff
	}
	one[31] = 1
	ones.Merge(one)
	if ones != (Sum{}) {
		t.Fatalf("2^256-1 + 1 = %s, want 0", ones)
	}
}

func TestParseReadsWhatStringWritesAndNothingElse(t *testing.T) {
	var s Sum
	s.Add([]byte("x"))
	if got, err := Parse(s.String()); err != nil || got != s {
		t.Fatalf("Parse(%s) = %s, %v", s, got, err)
	}
	for _, bad := range []string{"", "00", s.String() + "00", strings.Repeat("g", 64), s.String()[:63] + " "} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("Parse(%q) = %s, want an error", bad, got)
		}
	}
}

func TestSumStandsInJSONAsItsDigits(t *testing.T) {
	var s, got Sum
	s.Add([]byte("x"))
	b, err := json.Marshal(s)
	if err != nil || string(b) != `"`+s.String()+`"` {
		t.Fatalf("Marshal = %s, %v", b, err)
	}
	if err := json.Unmarshal(b, &got); err != nil || got != s {
		t.Fatalf("Unmarshal = %s, %v, want %s", got, err, s)
	}
	if err := json.Unmarshal([]byte(`"00"`), &got); err == nil {
		t.Fatal("a short sum was read")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Sum{}.String())
	f.Add("zz")
	f.Fuzz(func(t *testing.T, digits string) {
		s, err := Parse(digits)
		if err == nil && s.String() != strings.ToLower(digits) {
			t.Fatalf("Parse(%q) prints %q", digits, s)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	item := make([]byte, 64)
	var s Sum
	b.ReportAllocs()
	for b.Loop() {
		s.Add(item)
	}
}
