package simulate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/popdns/popdns/internal/querylog"
)

// Shares is how much of the queries goes where.
type Shares struct {
	Queries int     `json:"queries"`
	Weight  float64 `json:"weight"`
	Lines   int     `json:"lines"`
	Skipped int     `json:"skipped"`   // comments, empty lines, and what else stands in a log
	Bad     int     `json:"bad_lines"` // lines that could not be read
	PoPs    []Share `json:"pops"`      // greatest first
	Reasons []Share `json:"reasons"`   // which rule of the map decided
	Choices []Share `json:"choices"`   // how the PoP was chosen
	Moves   []Move  `json:"moves"`     // from what before would have done, greatest first; empty if there is no before
	Moved   float64 `json:"moved"`     // their sum
}

// A Share is the part of the weight that has a name.
type Share struct {
	Name   string  `json:"name"`
	Weight float64 `json:"weight"`
	Share  float64 `json:"share"`            // 0 to 1
	Before float64 `json:"before,omitempty"` // the share with what was before
}

// A Move is the part of the weight that goes elsewhere.
type Move struct {
	From   string  `json:"from"`
	To     string  `json:"to"`
	Weight float64 `json:"weight"`
	Share  float64 `json:"share"`
}

// Run reads all queries and adds up what now does with them, and if before is not nil also what that did. bad is called for each line that can't be read.
// It keeps nothing of a query: memory grows with the number of PoPs only.
func Run(in *querylog.Reader, now, before *World, bad func(error)) (*Shares, error) {
	t := newTally()
	for q, err := range in.Queries() {
		if err == nil {
			err = t.add(&q, now, before)
			if _, ok := errors.AsType[*QueryError](err); ok {
				err = in.Fault(err)
			}
		}
		if _, ok := errors.AsType[*querylog.LineError](err); ok {
			t.s.Bad++
			bad(err)
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	t.s.Lines, t.s.Skipped = in.Lines(), in.Skipped()
	return t.shares()
}

// tally is the sums under way.
type tally struct {
	s                            Shares
	pops, earlier                map[string]float64
	reasons, choices             map[string]float64
	reasonsEarlier, choiceBefore map[string]float64
	moves                        map[[2]string]float64
}

func newTally() *tally {
	sums := func() map[string]float64 { return map[string]float64{} }
	return &tally{
		pops: sums(), earlier: sums(), reasons: sums(), choices: sums(), reasonsEarlier: sums(), choiceBefore: sums(),
		moves: map[[2]string]float64{},
	}
}

func (t *tally) add(q *querylog.Query, now, before *World) error {
	o, err := now.Ask(q)
	if err != nil {
		return err
	}
	if before != nil {
		was, err := before.Ask(q)
		if err != nil {
			return err
		}
		t.earlier[was.PoP] += q.Weight
		t.reasonsEarlier[was.Reason] += q.Weight
		t.choiceBefore[was.Choice] += q.Weight
		if was.PoP != o.PoP {
			t.moves[[2]string{was.PoP, o.PoP}] += q.Weight
		}
	}
	t.s.Queries++
	t.s.Weight += q.Weight
	t.pops[o.PoP] += q.Weight
	t.reasons[o.Reason] += q.Weight
	t.choices[o.Choice] += q.Weight
	return nil
}

func (t *tally) shares() (*Shares, error) {
	s := &t.s
	if s.Queries > 0 && s.Weight == 0 {
		return nil, fmt.Errorf("the weights of all %d queries are 0: there is nothing to take shares of", s.Queries)
	}
	s.PoPs = t.list(t.pops, t.earlier)
	s.Reasons = t.list(t.reasons, t.reasonsEarlier)
	s.Choices = t.list(t.choices, t.choiceBefore)
	s.Moves = []Move{}
	for way, weight := range t.moves {
		if weight > 0 {
			s.Moves = append(s.Moves, Move{way[0], way[1], weight, weight / s.Weight})
		}
	}
	slices.SortFunc(s.Moves, func(a, b Move) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	for _, m := range s.Moves {
		s.Moved += m.Share
	}
	return s, nil
}

// list sorts sums by weight. "" is what no rule decided, and is left out.
func (t *tally) list(sums, earlier map[string]float64) []Share {
	for name := range earlier {
		sums[name] += 0
	}
	out := []Share{}
	for name, weight := range sums {
		if name != "" && (weight > 0 || earlier[name] > 0) {
			out = append(out, Share{name, weight, weight / t.s.Weight, earlier[name] / t.s.Weight})
		}
	}
	slices.SortFunc(out, func(a, b Share) int { return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Name, b.Name)) })
	return out
}
