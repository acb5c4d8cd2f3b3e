package publish

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/popdns/popdns/internal/querylog"
	"github.com/popdns/popdns/internal/simulate"
	"github.com/popdns/popdns/internal/steer"
)

// A MoveBudget says how much a new version of a map may move from one PoP to another. A first version moves nothing.
type MoveBudget struct {
	// Max is the greatest share that may move, 0 to 1: of the weights, or without any of the address space, in each plane and family. nil is
	// defaultMaxMove for maps of minGuardedRows rows or more, and no limit for smaller ones.
	Max *float64
	// Weights are queries or clients with weights, as popctl map simulate reads them; nil for none. Every PoP counts as having a variant of whatever
	// they name.
	Weights *Source
}

// defaultMaxMove is the shrink guard's idea applied to traffic: more than half of it in one go is most likely a mistake.
const defaultMaxMove = 0.5

// ParseShare reads "5%" or "0.5%" as a share of 0 to 1.
func ParseShare(s string) (float64, error) {
	digits, ok := strings.CutSuffix(s, "%")
	percent, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(percent >= 0 && percent <= 100) { // written so that NaN fails
		return 0, fmt.Errorf("%q is not a share from 0%% to 100%%, like 5%%", s)
	}
	return percent / 100, nil
}

// Weighed is what moves of given weights.
type Weighed struct {
	Queries int              `json:"queries"`
	Weight  float64          `json:"weight"`
	Bad     int              `json:"bad_lines"`
	Moved   float64          `json:"moved"` // 0 to 1
	Moves   []simulate.Move  `json:"moves"` // greatest first
	PoPs    []simulate.Share `json:"pops"`  // with the new version, and before
}

// maxBadLines is how many lines that can't be read are named.
const maxBadLines = 10

// move fills in what moves, and refuses what is beyond the budget.
func (p *MapPlan) move(cur, next *steer.Map, pops *steer.PoPs, budget MoveBudget) error {
	m := movesOf(cur, next, pops)
	p.Moves, p.Moved, p.Movers = m.flows, m.moved, m.movers
	if budget.Weights != nil {
		if err := p.weigh(cur, next, pops, *budget.Weights); err != nil {
			return err
		}
	}
	limit := defaultMaxMove
	switch {
	case budget.Max != nil:
		limit = *budget.Max
	case cur.Len() < minGuardedRows:
		return nil
	}
	p.Refused = append(p.Refused, p.overBudget(limit)...)
	return nil
}

// weigh works out what moves of the weights.
func (p *MapPlan) weigh(cur, next *steer.Map, pops *steer.PoPs, src Source) error {
	r, err := src.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	bad := 0
	s, err := simulate.Run(querylog.NewReader(r, src.Name, querylog.Auto), &simulate.World{Map: next, PoPs: pops}, &simulate.World{Map: cur, PoPs: pops}, func(err error) {
		if bad++; bad <= maxBadLines {
			p.Warnings = append(p.Warnings, err.Error())
		}
	})
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	if s.Queries == 0 {
		return errors.Join(fmt.Errorf("weights: %s has no line that can be used", src.Name), errors.New(strings.Join(p.Warnings, "\n")))
	}
	if bad > maxBadLines {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%s: %d more lines can't be read", src.Name, bad-maxBadLines))
	}
	p.Weights = &Weighed{Queries: s.Queries, Weight: s.Weight, Bad: s.Bad, Moved: s.Moved, Moves: s.Moves, PoPs: s.PoPs}
	return nil
}

// overBudget returns a finding for each share above the limit.
func (p *MapPlan) overBudget(limit float64) []string {
	over := func(share float64, of string) []string {
		if share <= limit+1e-9 {
			return nil
		}
		return []string{fmt.Sprintf("moves %s of %s, more than %s (--max-move)", percent(share), of, percent(limit))}
	}
	if p.Weights != nil {
		return over(p.Weights.Moved, "the weight")
	}
	var findings []string
	for _, m := range p.Moved {
		findings = append(findings, over(m.Share, m.Family+" ("+m.Plane+" plane)")...)
	}
	return findings
}

// moveLines is what moves, for people: nothing if nothing does.
func (p *MapPlan) moveLines() []string {
	var out []string
	for _, m := range p.Moves {
		out = append(out, fmt.Sprintf("%s of %s (%s plane): %s → %s", percent(m.Share), m.Family, m.Plane, m.From, m.To))
	}
	for _, m := range p.Moved {
		if m.Prefixes > 0 {
			out = append(out, fmt.Sprintf("%d of %d %s prefixes (%s plane) move", m.Prefixes, m.PrefixesOf, m.Family, m.Plane))
		}
	}
	for _, m := range p.Movers {
		out = append(out, fmt.Sprintf("mover %s %s: %s → %s, %s of %s", m.Plane, m.Block, m.From, m.To, percent(m.Share), m.family()))
	}
	if w := p.Weights; w != nil {
		out = append(out, fmt.Sprintf("%s of the weight of %d lines moves", percent(w.Moved), w.Queries))
		for _, m := range w.Moves {
			out = append(out, fmt.Sprintf("%s of the weight: %s → %s", percent(m.Share), m.From, m.To))
		}
	}
	return out
}

func (m *Mover) family() string {
	if strings.Contains(m.Block, ":") {
		return families[1]
	}
	return families[0]
}

// percent writes a share with four digits at most.
func percent(share float64) string { return fmt.Sprintf("%.4g %%", share*100) }
