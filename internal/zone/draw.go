package zone

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/rendezvous"
)

// drawing is a record in a draw; the best scores win.
type drawing struct {
	score rendezvous.Score
	index uint16
}

// pick chooses the records of a set that are answered, nil for all in canonical order. See Choose for the rules.
func (r *Result) pick(st *Steering, set rrsets, isSigned bool, seed uint64) []uint16 {
	count := set.count()
	limit := count
	if st.Answers > 0 {
		limit = min(limit, st.Answers)
	}
	weighted := set[2]&setWeighted != 0
	address := set.typ() == dns.TypeA || set.typ() == dns.TypeAAAA
	drawn := limit < count || st.Choose != ChooseAll && count > 1
	if !drawn || isSigned || !address && !weighted {
		return nil
	}
	r.drawAll(set, st.Choose, seed)
	slices.SortFunc(r.draw[1:limit], func(a, b drawing) int { return cmp.Compare(a.index, b.index) })
	from := len(r.picks)
	for _, d := range r.draw[:limit] {
		r.picks = append(r.picks, d.index)
	}
	return r.picks[from:len(r.picks):len(r.picks)]
}

// drawAll orders the records by a draw without replacement, see rendezvous.Weigh.
func (r *Result) drawAll(set rrsets, choose Choose, seed uint64) {
	r.draw = r.draw[:0]
	i := uint16(0)
	for rd := range set.each {
		weight := uint32(1)
		if choose != ChooseAll {
			weight = rd.Weight
		}
		sum := rand.Uint64() //nolint:gosec // spreads load, keeps no secret
		if choose == ChooseSticky {
			sum = rendezvous.Append(rendezvous.Hash(seed), rd.Wire).Sum()
		}
		r.draw = append(r.draw, drawing{rendezvous.Weigh(sum, weight), i})
		i++
	}
	slices.SortFunc(r.draw, func(a, b drawing) int {
		switch {
		case a.score.Beats(b.score):
			return -1
		case b.score.Beats(a.score):
			return 1
		}
		return cmp.Compare(a.index, b.index)
	})
}
