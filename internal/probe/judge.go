package probe

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/popdns/popdns/internal/steer"
)

// Policy says when what probers think becomes the PoP table's.
type Policy struct {
	Quorum int // probers that must agree
	// MaxDown is the share, in percent, of the PoPs checked for one service that may be failing at once. More look like a fault
	// of the probers or of what they all depend on, so none is taken down then.
	MaxDown int
}

// A Verdict is what Judge makes of the views.
type Verdict struct {
	Live    []string        // probers that count, by name
	Changes map[Target]bool // failing or not, where the table says otherwise
	Held    []Held
}

// Held is a target that stays as it is although some probers think otherwise.
type Held struct {
	Target Target
	Why    string
}

// vote is how the live probers stand on one target.
type vote struct{ up, down int }

// Judge compares the views of probers with the PoP table. A view counts while it is valid and doesn't suspect itself. A target changes when a quorum
// says so and no quorum says the opposite; without either it stays. So a lone or cut-off prober changes nothing, and neither does
// the loss of all of them.
func (p Policy) Judge(table *steer.PoPs, views []View, now time.Time) Verdict {
	v := Verdict{Changes: map[Target]bool{}}
	votes := map[Target]*vote{}
	for _, view := range views {
		if view.Suspect || now.After(view.Until.Add(maxSkew)) {
			continue
		}
		v.Live = append(v.Live, view.Prober)
		for name, h := range view.Targets {
			t := parseTarget(name)
			if _, known := table.Get(t.PoP); !known {
				continue
			}
			if votes[t] == nil {
				votes[t] = &vote{}
			}
			if h.Down {
				votes[t].down++
			} else {
				votes[t].up++
			}
		}
	}
	slices.Sort(v.Live)
	for _, t := range sorted(votes) {
		n := votes[t]
		pop, _ := table.Get(t.PoP)
		failing := slices.Contains(pop.Failing, t.Service)
		switch down, up := n.down >= p.Quorum, n.up >= p.Quorum; {
		case down != up && down != failing:
			v.Changes[t] = down
		case down == up && n.down > 0 && !failing:
			v.Held = append(v.Held, Held{t, fmt.Sprintf("%d of %d probers find it down, and the quorum is %d", n.down, len(v.Live), p.Quorum)})
		}
	}
	p.holdMassLoss(table, votes, &v)
	return v
}

// holdMassLoss takes back what would leave too few PoPs for a service.
func (p Policy) holdMassLoss(table *steer.PoPs, votes map[Target]*vote, v *Verdict) {
	checked, failing := map[string]int{}, map[string]int{}
	for t := range votes {
		pop, _ := table.Get(t.PoP)
		down, changes := v.Changes[t]
		checked[t.Service]++
		if changes && down || !changes && slices.Contains(pop.Failing, t.Service) {
			failing[t.Service]++
		}
	}
	for _, t := range sorted(v.Changes) {
		if n, of := failing[t.Service], checked[t.Service]; v.Changes[t] && n*100 > of*p.MaxDown {
			delete(v.Changes, t)
			v.Held = append(v.Held, Held{t, fmt.Sprintf("with it %d of %d PoPs would be failing, more than %d %%", n, of, p.MaxDown)})
		}
	}
}

func sorted[V any](m map[Target]V) []Target {
	return slices.SortedFunc(maps.Keys(m), func(a, b Target) int { return cmp.Or(cmp.Compare(a.PoP, b.PoP), cmp.Compare(a.Service, b.Service)) })
}
