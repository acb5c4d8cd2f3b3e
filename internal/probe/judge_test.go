package probe

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/steer"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func tableOf(tb testing.TB, pops ...steer.PoP) *steer.PoPs {
	tb.Helper()
	t, err := steer.NewPoPs(1, pops)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// viewOf is a prober's view: "ams1/web" is up, "-iad2/web" is down.
func viewOf(prober string, targets ...string) View {
	v := View{Prober: prober, Stamped: noon, Until: noon.Add(time.Minute), Targets: map[string]Health{}}
	for _, t := range targets {
		down := t[0] == '-'
		if down {
			t = t[1:]
		}
		v.Targets[t] = Health{Known: true, Down: down}
	}
	return v
}

func TestJudge(t *testing.T) {
	suspect := viewOf("b", "-ams1", "-iad2", "-sin1")
	suspect.Suspect = true
	old := viewOf("b", "-ams1", "iad2", "sin1")
	old.Until = noon.Add(-maxSkew - time.Second)
	three := []steer.PoP{{Name: "ams1"}, {Name: "iad2"}, {Name: "sin1"}}
	failing := []steer.PoP{{Name: "ams1", Failing: []string{""}}, {Name: "iad2"}, {Name: "sin1"}}
	for name, c := range map[string]struct {
		pops  []steer.PoP
		views []View
		want  string // changes
		held  int
	}{
		"one prober alone":            {three, []View{viewOf("a", "-ams1", "iad2", "sin1")}, "map[]", 1},
		"two agree":                   {three, []View{viewOf("a", "-ams1", "iad2", "sin1"), viewOf("b", "-ams1", "iad2", "sin1")}, "map[ams1:true]", 0},
		"one lies":                    {three, []View{viewOf("a", "-ams1", "iad2"), viewOf("b", "ams1", "iad2"), viewOf("c", "ams1", "iad2")}, "map[]", 0},
		"two against two":             {three, []View{viewOf("a", "-ams1"), viewOf("b", "-ams1"), viewOf("c", "ams1"), viewOf("d", "ams1")}, "map[]", 1},
		"one is out of date":          {three, []View{viewOf("a", "-ams1", "iad2", "sin1"), old}, "map[]", 1},
		"one suspects itself":         {three, []View{viewOf("a", "-ams1", "iad2", "sin1"), suspect}, "map[]", 1},
		"up again":                    {failing, []View{viewOf("a", "ams1", "iad2"), viewOf("b", "ams1", "iad2")}, "map[ams1:false]", 0},
		"up again, says one":          {failing, []View{viewOf("a", "ams1"), viewOf("b", "-ams1")}, "map[]", 0},
		"no prober is left":           {failing, nil, "map[]", 0},
		"it is failing already":       {failing, []View{viewOf("a", "-ams1", "iad2", "sin1"), viewOf("b", "-ams1", "iad2", "sin1")}, "map[]", 0},
		"all at once":                 {three, []View{viewOf("a", "-ams1", "-iad2", "-sin1"), viewOf("b", "-ams1", "-iad2", "-sin1")}, "map[]", 3},
		"the next one after the half": {failing, []View{viewOf("a", "-ams1", "-iad2", "sin1"), viewOf("b", "-ams1", "-iad2", "sin1")}, "map[]", 1},
		"a swap":                      {failing, []View{viewOf("a", "ams1", "-iad2", "sin1"), viewOf("b", "ams1", "-iad2", "sin1")}, "map[ams1:false iad2:true]", 0},
		"services apart":              {three, []View{viewOf("a", "-ams1/web", "iad2/web", "-iad2/mail", "ams1/mail"), viewOf("b", "-ams1/web", "iad2/web", "-iad2/mail", "ams1/mail")}, "map[ams1/web:true iad2/mail:true]", 0},
		"a PoP that is not there":     {three, []View{viewOf("a", "-fra1", "ams1"), viewOf("b", "-fra1", "ams1")}, "map[]", 0},
		"the only one":                {three, []View{viewOf("a", "-ams1"), viewOf("b", "-ams1")}, "map[]", 1},
	} {
		v := Policy{Quorum: 2, MaxDown: 50}.Judge(tableOf(t, c.pops...), c.views, noon)
		got := map[string]bool{}
		for target, down := range v.Changes {
			got[target.String()] = down
		}
		if fmt.Sprint(got) != c.want || len(v.Held) != c.held {
			t.Errorf("%s: changes %v, held %v; want %s and %d held", name, got, v.Held, c.want, c.held)
		}
	}
}

// TestNoMinorityDecides walks random tables and views and looks at what must hold of every verdict.
func TestNoMinorityDecides(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 2))
	changed := 0
	for range 5000 {
		p := Policy{Quorum: 1 + r.IntN(4), MaxDown: r.IntN(101)}
		pops := make([]steer.PoP, 0, 5)
		for i := range 1 + r.IntN(5) {
			pop := steer.PoP{Name: fmt.Sprintf("p%d", i), State: steer.State(r.IntN(2)), Drain: r.IntN(101)}
			for _, s := range []string{"", "web"} {
				pop = pop.WithFailing(s, r.IntN(3) == 0)
			}
			pops = append(pops, pop)
		}
		views := make([]View, 0, 6)
		for i := range r.IntN(6) {
			v := viewOf(fmt.Sprint("v", i))
			v.Suspect = r.IntN(5) == 0
			v.Until = noon.Add(time.Duration(r.IntN(60)-20) * time.Second)
			for j := range 6 {
				for _, s := range []string{"", "web"} {
					if r.IntN(4) > 0 {
						v.Targets[Target{fmt.Sprint("p", j), s}.String()] = Health{Known: true, Down: r.IntN(2) == 0}
					}
				}
			}
			views = append(views, v)
		}
		table := tableOf(t, pops...)
		verdict := p.Judge(table, views, noon)
		for target, down := range verdict.Changes {
			changed++
			agree, against := 0, 0
			for _, v := range views {
				if h, ok := v.Targets[target.String()]; ok && !v.Suspect && !noon.After(v.Until.Add(maxSkew)) {
					if h.Down == down {
						agree++
					} else {
						against++
					}
				}
			}
			pop, known := table.Get(target.PoP)
			if !known || agree < p.Quorum || against >= p.Quorum || slices.Contains(pop.Failing, target.Service) == down {
				t.Fatalf("seed %d: %+v: %s becomes failing=%v with %d for and %d against it", seed, p, target, down, agree, against)
			}
		}
		for _, service := range []string{"", "web"} {
			newly, failing, checked := 0, 0, 0
			for pop := range table.All() {
				target := Target{pop.Name, service}
				if !slices.ContainsFunc(views, func(v View) bool {
					_, ok := v.Targets[target.String()]
					return ok && !v.Suspect && !noon.After(v.Until.Add(maxSkew))
				}) {
					continue
				}
				checked++
				down, changes := verdict.Changes[target]
				switch {
				case changes && down:
					newly++
					failing++
				case !changes && slices.Contains(pop.Failing, service):
					failing++
				}
			}
			if newly > 0 && failing*100 > checked*p.MaxDown {
				t.Fatalf("seed %d: %+v lets %d of %d PoPs be failing for %q", seed, p, failing, checked, service)
			}
		}
	}
	if changed < 800 {
		t.Errorf("only %d changes", changed)
	}
}
