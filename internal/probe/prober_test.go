package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/dir"
)

// world is what probers check: which targets are broken, and for whom.
type world struct {
	mu     sync.Mutex
	broken map[string]bool // "ams1", or "fra:ams1" as prober fra sees it
}

func (w *world) set(target string, broken bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken[target] = broken
}

func (w *world) ask(prober string) func(context.Context, *Check) error {
	return func(_ context.Context, c *Check) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.broken[c.Target.String()] || w.broken[prober+":"+c.Target.String()] {
			return errors.New("broken")
		}
		return nil
	}
}

func newStore(t *testing.T, pops ...string) store.Store {
	t.Helper()
	s, err := dir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, _, err := dataset.Init(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	list := make([]steer.PoP, len(pops))
	for i, name := range pops {
		list[i].Name = name
	}
	if _, err := publish.New(s, publish.Options{By: "test"}).ApplyPoPs(t.Context(), tableOf(t, list...)); err != nil {
		t.Fatal(err)
	}
	return s
}

func newProber(s store.Store, name string, w *world, log *strings.Builder, targets ...string) *Prober {
	spec := &Spec{}
	for _, target := range targets {
		spec.Checks = append(spec.Checks, Check{Target: parseTarget(target), Interval: 10 * time.Millisecond, Timeout: time.Second, Thresholds: Thresholds{Up: 5, OK: 4, Down: 3}})
	}
	return &Prober{
		Name: name, Spec: spec, Store: s, Publisher: publish.New(s, publish.Options{By: "probe " + name}), Policy: Policy{Quorum: 2, MaxDown: 50},
		Valid: time.Minute, Parallel: 4, Log: slog.New(slog.NewTextHandler(log, nil)), Metrics: NewMetrics(prometheus.NewRegistry()), Ask: w.ask(name),
	}
}

func failing(t *testing.T, s store.Store) string {
	t.Helper()
	table, err := publish.LoadPoPs(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for pop := range table.All() {
		for _, service := range pop.Failing {
			out = append(out, Target{pop.Name, service}.String())
		}
	}
	return strings.Join(out, " ")
}

func waitFailing(t *testing.T, s store.Store, want string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); failing(t, s) != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("failing: %q, want %q", failing(t, s), want)
		}
	}
}

func TestProbersPublishWhatAQuorumFinds(t *testing.T) {
	s := newStore(t, "ams1", "iad2", "sin1")
	w := &world{broken: map[string]bool{"c:sin1": true}} // prober c can't reach sin1
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	var rounds atomic.Int64
	for _, name := range []string{"a", "b", "c"} {
		p := newProber(s, name, w, &strings.Builder{}, "ams1/web", "iad2/web", "sin1", "ams1", "iad2")
		ask := p.Ask
		p.Ask = func(ctx context.Context, c *Check) error { rounds.Add(1); return ask(ctx, c) }
		wg.Go(func() {
			if err := p.Run(ctx); err != nil {
				t.Errorf("prober %s: %v", name, err)
			}
		})
	}
	wait := func(checks int64) {
		for from := rounds.Load(); rounds.Load() < from+checks; time.Sleep(time.Millisecond) {
		}
	}
	wait(300)
	w.set("iad2/web", true)
	waitFailing(t, s, "iad2/web")

	// What people set stays.
	pub := publish.New(s, publish.Options{By: "test"})
	if _, err := pub.SetServiceState(t.Context(), "iad2", "web", steer.Down); err != nil {
		t.Fatal(err)
	}
	w.set("iad2/web", false)
	waitFailing(t, s, "")
	table, err := publish.LoadPoPs(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if pop, _ := table.Get("iad2"); len(pop.Services) != 1 || pop.Services[0].State != steer.Down {
		t.Errorf("iad2 is %+v, want its service web still down by hand", pop)
	}

	// Everything fails: nobody is taken down. Each prober suspects itself.
	for _, target := range []string{"ams1/web", "iad2/web", "sin1", "ams1", "iad2"} {
		w.set(target, true)
	}
	wait(300)
	if got := failing(t, s); got != "" {
		t.Errorf("when everything fails %q is taken down", got)
	}
	// All but one: each service keeps half of its PoPs.
	w.set("sin1", false)
	wait(300)
	if got := failing(t, s); strings.Count(got, "web") > 1 || strings.Contains(got, "sin1") {
		t.Errorf("more than half of a service's PoPs is taken down: %q", got)
	}
}

func TestProberAloneChangesNothing(t *testing.T) {
	s := newStore(t, "ams1", "iad2", "sin1")
	w := &world{broken: map[string]bool{"ams1": true}}
	var log strings.Builder
	p := newProber(s, "a", w, &log, "ams1", "iad2", "sin1")
	for range 10 {
		if _, err := p.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := failing(t, s); got != "" {
		t.Errorf("%q is taken down by one prober", got)
	}
	if !strings.Contains(log.String(), "held") || !strings.Contains(log.String(), "quorum is 2") {
		t.Errorf("the log says nothing of it:\n%s", &log)
	}
	// With another one that agrees it does.
	if _, err := newProber(s, "b", w, &log, "ams1", "iad2", "sin1").Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := failing(t, s); got != "ams1" {
		t.Errorf("%q is taken down by two, want ams1", got)
	}
}

func TestOnceGoesOnCounting(t *testing.T) {
	s := newStore(t, "ams1", "iad2")
	w := &world{broken: map[string]bool{}}
	once := func() string { // another process each time
		p := newProber(s, "a", w, &strings.Builder{}, "ams1", "iad2")
		p.Policy.Quorum = 1
		if _, err := p.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		return failing(t, s)
	}
	got := make([]string, 0, 14)
	for i := range 14 {
		w.set("ams1", i >= 1 && i < 5) // three failures take it down, five successes bring it up
		got = append(got, once())
	}
	if want := "[   ams1 ams1 ams1 ams1 ams1 ams1     ]"; fmt.Sprint(got) != want {
		t.Errorf("after each run: %q, want %s", got, want)
	}
}

func TestMetricsAreCleanAndDocumented(t *testing.T) {
	s := newStore(t, "ams1", "iad2")
	p := newProber(s, "a", &world{broken: map[string]bool{"ams1": true}}, &strings.Builder{}, "ams1", "iad2/web")
	registry := prometheus.NewRegistry()
	p.Metrics = NewMetrics(registry)
	if _, err := p.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	page, err := os.ReadFile("../../docs/probes.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 9 {
		t.Errorf("%d metrics, want 9", len(families))
	}
	for _, f := range families {
		if !strings.Contains(string(page), "`"+f.GetName()+"`") {
			t.Errorf("docs/probes.md does not name %s", f.GetName())
		}
	}
}

func TestViewsOfOthersAreReadAndForgotten(t *testing.T) {
	s := newStore(t, "ams1")
	if views, err := ReadViews(t.Context(), s); err != nil || len(views) != 0 {
		t.Errorf("before the first: %v, %v", views, err)
	}
	now := time.Now()
	old := View{Prober: "old", Until: now.Add(-forgetAfter - time.Hour), Targets: map[string]Health{}}
	for _, v := range []View{old, viewOf("new", "ams1", "-iad2/web")} {
		if err := writeView(t.Context(), s, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(t.Context(), store.Create("probes/garbage", []byte("{")), store.Create("probes/alias", []byte(`{"prober":"new"}`))); err != nil {
		t.Fatal(err)
	}
	views, err := ReadViews(t.Context(), s)
	if err != nil || len(views) != 2 || views[0].Prober != "new" || !views[0].Targets["iad2/web"].Down {
		t.Fatalf("%+v, %v", views, err)
	}
	forget(t.Context(), s, views, now)
	if views, err = ReadViews(t.Context(), s); err != nil || len(views) != 1 {
		t.Errorf("%+v, %v", views, err)
	}
}
