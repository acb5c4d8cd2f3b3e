package rendezvous

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

func TestHashIsFNV1a(t *testing.T) {
	for _, s := range []string{"", "a", "ams1", "a longer text, with more octets than a word has"} {
		want := fnv.New64a()
		_, _ = want.Write([]byte("salt" + s))
		if got := Append(New("salt"), s); uint64(got) != want.Sum64() {
			t.Errorf("%q: %x, want %x", s, uint64(got), want.Sum64())
		}
	}
}

func TestSumIsFixedForEver(t *testing.T) {
	// Computed apart, by a Python program that knows FNV-1a and the finisher from their papers.
	for s, want := range map[string]uint64{"": 0xefd01f60ba992926, "ams1": 0xbe0e01577352ffba} {
		if got := Append(New(""), s).Sum(); got != want {
			t.Errorf("%q: %#x, want %#x", s, got, want)
		}
	}
}

func TestLogarithmIsRightToItsLastBitButOne(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	check := func(x uint64) {
		want := (64 - math.Log2(float64(x)+1)) * (1 << fractionBits)
		if got := float64(negLog2(x)); math.Abs(got-want) > 1.01 {
			t.Fatalf("seed %d: -log2 of %d is %v, want %v", seed, x, got, want)
		}
	}
	for _, x := range []uint64{0, 1, 2, 3, 1<<32 - 1, 1 << 32, 1 << 63, 1<<63 - 1, 1<<64 - 1, 1<<64 - 2} {
		check(x)
	}
	for range 100_000 {
		check(r.Uint64() >> r.IntN(64))
	}
}

// best is the candidate that wins for a client.
func best(client string, weights map[string]uint32) string {
	names := make([]string, 0, len(weights))
	for name := range weights {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.MaxFunc(names, func(a, b string) int {
		sa := Weigh(Append(Append(New("test"), client), a).Sum(), weights[a])
		sb := Weigh(Append(Append(New("test"), client), b).Sum(), weights[b])
		switch {
		case sa.Beats(sb):
			return 1
		case sb.Beats(sa):
			return -1
		}
		return 0
	})
}

func TestSharesAreInProportionToWeights(t *testing.T) {
	const clients = 60_000
	weights := map[string]uint32{"a": 1, "b": 2, "c": 7, "d": 10}
	got := map[string]int{}
	for i := range clients {
		got[best(strconv.Itoa(i), weights)]++
	}
	for name, w := range weights {
		p := float64(w) / 20
		if share := float64(got[name]) / clients; math.Abs(share-p) > 5*math.Sqrt(p*(1-p)/clients) {
			t.Errorf("%s with weight %d of 20 gets %.4f", name, w, share)
		}
	}
}

func TestOnlyTheGrowingWeightTakesAndOnlyTheLostShareMoves(t *testing.T) {
	before := map[string]uint32{"a": 3, "b": 3, "c": 3}
	grown := map[string]uint32{"a": 3, "b": 5, "c": 3}
	lost := map[string]uint32{"a": 3, "c": 3}
	moved := 0
	for i := range 20_000 {
		client := strconv.Itoa(i)
		was := best(client, before)
		if is := best(client, grown); is != was {
			if moved++; is != "b" {
				t.Fatalf("client %s went from %s to %s when b grew", client, was, is)
			}
		}
		if is := best(client, lost); is != was && was != "b" {
			t.Fatalf("client %s went from %s to %s when b went", client, was, is)
		}
	}
	if moved == 0 {
		t.Error("nobody moved")
	}
}

func TestGreatestWeightsDoNotOverflow(t *testing.T) {
	worst, light := Weigh(0, math.MaxUint32), Weigh(0, 1)
	if !worst.Beats(light) || light.Beats(worst) {
		t.Error("the greatest weight loses to the least with equal sums")
	}
}

func BenchmarkWeigh(b *testing.B) {
	var s Score
	for i := 0; b.Loop(); i++ {
		if t := Weigh(uint64(i)*0x9e3779b97f4a7c15, 3); t.Beats(s) {
			s = t
		}
	}
}
