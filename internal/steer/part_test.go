package steer

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// TestPartsAreWhatChooseDoesToManyBlocks draws lists and states and lets Choose decide for 20,000 blocks.
func TestPartsAreWhatChooseDoesToManyBlocks(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7)) // statistics: the same draw each time
	pops := []PoP{{Name: "up"}, {Name: "down", State: Down}, {Name: "away", Drain: 100}, {Name: "some", Drain: 30}, {Name: "more", Drain: 75}, {Name: "half", Drain: 50}}
	table, err := NewPoPs(1, pops)
	if err != nil {
		t.Fatal(err)
	}
	weights := []string{"", "", "*1", "*3", "*7"}
	const blocks = 20_000
	for range 60 {
		list := []string{}
		for _, i := range r.Perm(len(pops))[:1+r.IntN(len(pops))] {
			list = append(list, pops[i].Name+weights[r.IntN(len(weights))])
		}
		if r.IntN(4) == 0 {
			list = append(list, "unknown")
		}
		got := map[string]float64{}
		for i := range blocks {
			d := Decision{List: list, Block: netip.PrefixFrom(netip.AddrFrom4([4]byte{44, byte(i >> 8), byte(i)}), 24)}
			got[d.Choose(table, "", func(string) bool { return true }).PoP] += 1.0 / blocks
		}
		sum := 0.0
		for _, p := range table.Parts(list) {
			sum += p.Share
			if math.Abs(got[p.PoP]-p.Share) > 0.015 {
				t.Errorf("%v: %q has %.4f, Choose gives it %.4f of the blocks", list, p.PoP, p.Share, got[p.PoP])
			}
			delete(got, p.PoP)
		}
		if math.Abs(sum-1) > 1e-9 || len(got) > 0 {
			t.Errorf("%v: parts add up to %v; chosen, and not among them: %v", list, sum, got)
		}
	}
}

// TestFlowsAreNoMoreThanWhatMoves compares with what Choose does to the same blocks by both lists.
func TestFlowsAreNoMoreThanWhatMoves(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	pops := []PoP{{Name: "a", Drain: 30}, {Name: "b", Drain: 60}, {Name: "c"}, {Name: "d", State: Down}, {Name: "e"}, {Name: "f"}}
	table, err := NewPoPs(1, pops)
	if err != nil {
		t.Fatal(err)
	}
	draw := func() (list []string) {
		for _, i := range r.Perm(len(pops))[:1+r.IntN(len(pops))] {
			list = append(list, pops[i].Name)
		}
		return list
	}
	all := func(string) bool { return true }
	const blocks = 5_000
	for range 60 {
		was, is := draw(), draw()
		moved := 0.0
		for i := range blocks {
			block := netip.PrefixFrom(netip.AddrFrom4([4]byte{44, byte(i >> 8), byte(i)}), 24)
			before, after := Decision{List: was, Block: block}, Decision{List: is, Block: block}
			if before.Choose(table, "", all).PoP != after.Choose(table, "", all).PoP {
				moved += 1.0 / blocks
			}
		}
		sum := 0.0
		for _, f := range Flows(table.Parts(was), table.Parts(is)) {
			sum += f.Share
		}
		exact := !slices.ContainsFunc(append(was, is...), func(pop string) bool { p, _ := table.Get(pop); return p.Drain > 0 })
		if sum > moved+0.015 || exact && math.Abs(sum-moved) > 1e-9 {
			t.Errorf("%v to %v: the flows are %.4f, and %.4f move", was, is, sum, moved)
		}
	}
}

func TestFlowsTurnOneDivisionIntoTheOther(t *testing.T) {
	r := rand.New(rand.NewPCG(rand.Uint64(), 9))
	draw := func() (parts []Part) {
		sum := 0.0
		for _, pop := range []string{"a", "b", "c", "d", ""} {
			if share := r.Float64(); r.IntN(2) == 0 {
				parts = append(parts, Part{pop, share})
				sum += share
			}
		}
		if len(parts) == 0 {
			return []Part{{"a", 1}}
		}
		for i := range parts {
			parts[i].Share /= sum
		}
		return parts
	}
	for range 2000 {
		was, is := draw(), draw()
		have := map[string]float64{}
		for _, p := range was {
			have[p.PoP] = p.Share
		}
		for _, f := range Flows(was, is) {
			if f.From == f.To || f.Share <= 0 {
				t.Fatalf("%v to %v: flow %+v", was, is, f)
			}
			have[f.From] -= f.Share
			have[f.To] += f.Share
		}
		for _, p := range is {
			have[p.PoP] -= p.Share
		}
		for pop, rest := range have {
			if math.Abs(rest) > 1e-9 {
				t.Fatalf("%v to %v: %q is left with %v", was, is, pop, rest)
			}
		}
	}
}
