package steer

// A Part is a PoP's share of the client blocks that have some list.
type Part struct {
	PoP   string // "" for blocks that no PoP of the list serves
	Share float64
}

// Parts says which PoPs serve the client blocks that have a list, while the states are the table's and every PoP has a variant. Shares are above 0 and add up
// to 1. Partial drains and weights are shares of hashed blocks: what Parts says of them is the expectation.
func (t *PoPs) Parts(list []string) []Part {
	var parts []Part
	rest := 1.0
	add := func(pop string, share float64) {
		if share > 0 {
			parts = append(parts, Part{pop, share})
		}
	}
	for i := 0; i < len(list) && rest > 0; {
		name, weight := SplitEntry(list[i])
		if weight == 0 {
			share := rest * t.serves(name)
			add(name, share)
			rest -= share
			i++
			continue
		}
		end := groupEnd(list, i)
		group := make([]member, 0, end-i)
		for _, entry := range list[i:end] {
			name, weight := SplitEntry(entry)
			group = append(group, member{name, float64(weight), t.serves(name)})
		}
		i = end
		taken := make([]float64, len(group))
		divide(group, 1, taken)
		before := rest
		for j, m := range group {
			add(m.pop, before*taken[j])
			rest -= before * taken[j]
		}
	}
	if rest > roundingError {
		add("", rest)
	}
	return parts
}

// serves is the part of client blocks that the PoP is not drained of.
func (t *PoPs) serves(name string) float64 {
	if t.Len() == 0 {
		return 1
	}
	pop, ok := t.Get(name)
	if !ok || pop.State == Down {
		return 0
	}
	return 1 - float64(pop.Drain)/100
}

// member is an entry of a group with weights, and the part of the blocks that it is there for.
type member struct {
	pop    string
	weight float64
	there  float64
}

// maxSplits bounds the PoPs of one group that are drained in part and told apart exactly; what is beyond counts by its mean.
const maxSplits = 10

// divide adds to taken what each member of the group serves of a part of the blocks. A drain is a hash of its own, independent of that of the shares, so a
// member drained in part is there with all of its weight, or is not.
func divide(group []member, part float64, taken []float64) {
	divideFrom(group, 0, maxSplits, part, taken)
}

func divideFrom(group []member, at, splits int, part float64, taken []float64) {
	if part == 0 {
		return
	}
	for i := at; i < len(group) && splits > 0; i++ {
		there := group[i].there
		if there == 0 || there == 1 {
			continue
		}
		group[i].there = 1
		divideFrom(group, i+1, splits-1, part*there, taken)
		group[i].there = 0
		divideFrom(group, i+1, splits-1, part*(1-there), taken)
		group[i].there = there
		return
	}
	sum := 0.0
	for _, m := range group {
		sum += m.weight * m.there
	}
	if sum == 0 {
		return
	}
	for i, m := range group {
		taken[i] += part * m.weight * m.there / sum
	}
}

// roundingError is what differences of shares may come to.
const roundingError = 1e-12

// Flow is the share of client blocks that go from one PoP to another.
type Flow struct {
	From, To string
	Share    float64
}

// Flows returns the least that has to move for one division of the blocks to become the other. It is what does move, unless PoPs are drained in part or
// weights change: then it is a lower bound, because blocks may change places.
func Flows(was, is []Part) []Flow {
	var lost, gained []Part
	total := 0.0
	for _, p := range was {
		if d := p.Share - shareOf(is, p.PoP); d > roundingError {
			lost = append(lost, Part{p.PoP, d})
			total += d
		}
	}
	for _, p := range is {
		if d := p.Share - shareOf(was, p.PoP); d > roundingError {
			gained = append(gained, Part{p.PoP, d})
		}
	}
	flows := make([]Flow, 0, len(lost)*len(gained))
	for _, l := range lost {
		for _, g := range gained {
			flows = append(flows, Flow{l.PoP, g.PoP, l.Share * g.Share / total})
		}
	}
	return flows
}

func shareOf(parts []Part, pop string) float64 {
	for _, p := range parts {
		if p.PoP == pop {
			return p.Share
		}
	}
	return 0
}
