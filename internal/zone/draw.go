package zone

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/miekg/dns"
)

// drawing is a record in a draw; the lowest keys win.
type drawing struct {
	key   float64
	index uint16
}

// pick chooses the records of a set that are answered, nil for all in canonical order. See Steering for the rules.
func (r *Result) pick(st Steering, set rrsets, isSigned bool) []uint16 {
	count := set.count()
	limit := count
	if st.Answers > 0 {
		limit = min(limit, st.Answers)
	}
	weighted := set[2]&setWeighted != 0
	address := set.typ() == dns.TypeA || set.typ() == dns.TypeAAAA
	drawn := limit < count || st.Choose == ChooseWeighted && count > 1
	if !drawn || isSigned || !address && !weighted {
		return nil
	}
	r.drawAll(set, st.Choose == ChooseWeighted)
	from := len(r.picks)
	for _, d := range r.draw[:limit] {
		r.picks = append(r.picks, d.index)
	}
	return r.picks[from:len(r.picks):len(r.picks)]
}

// drawAll orders the records by a draw without replacement: the smallest of exponential variables with the weights as rates comes first with
// a chance in proportion to its weight, and so on among the rest (Efraimidis and Spirakis, 2006).
func (r *Result) drawAll(set rrsets, byWeight bool) {
	r.draw = r.draw[:0]
	i := uint16(0)
	for rd := range set.each {
		weight := uint32(1)
		if byWeight {
			weight = max(1, rd.Weight)
		}
		r.draw = append(r.draw, drawing{rand.ExpFloat64() / float64(weight), i}) //nolint:gosec // spreads load, keeps no secret
		i++
	}
	slices.SortFunc(r.draw, func(a, b drawing) int { return cmp.Compare(a.key, b.key) })
}
