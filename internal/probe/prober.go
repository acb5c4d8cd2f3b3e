package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
)

// SyncEvery is the time between two writings of a view when nothing changes.
const SyncEvery = 10 * time.Second

// syncTimeout bounds one exchange with the store; checks go on meanwhile.
const syncTimeout = 20 * time.Second

// A Prober runs checks and publishes what a quorum of probers agrees on.
type Prober struct {
	Name      string
	Spec      *Spec
	Store     store.Store
	Publisher *publish.Publisher // of Store, used by nobody else
	Policy    Policy
	Valid     time.Duration // how long a view counts; more than SyncEvery for Run
	Parallel  int           // checks under way at once, at most
	Log       *slog.Logger
	Metrics   *Metrics
	Ask       func(context.Context, *Check) error // nil means Check.Ask

	// One goroutine owns these, that of Run or Once.
	health map[Target]Health
	last   map[Target]error // of the last result, for those that have one

	// The exchange with the store, one at a time, owns these.
	held    map[Target]string
	live    string
	trouble bool
}

type result struct {
	check *Check
	err   error
	took  time.Duration
}

// Run checks until ctx ends, which is no error. What fails for a time is logged once and tried again; a store that was never initialised is an
// error that wraps dataset.ErrNoStore.
func (p *Prober) Run(ctx context.Context) error {
	if err := p.begin(ctx); err != nil {
		return err
	}
	p.Log.Info("probing", "prober", p.Name, "targets", len(p.Spec.Checks), "quorum", p.Policy.Quorum)
	results := make(chan result)
	var wg sync.WaitGroup
	defer wg.Wait()
	turns := make(chan struct{}, p.Parallel)
	for i := range p.Spec.Checks {
		wg.Go(func() { p.repeat(ctx, &p.Spec.Checks[i], turns, results) })
	}
	tick := time.NewTicker(SyncEvery)
	defer tick.Stop()
	synced := make(chan struct{}, 1)
	syncing, due, suspect := false, false, false
	for {
		select {
		case <-ctx.Done():
			wg.Wait()
			p.leave()
			return nil
		case r := <-results:
			changed := p.note(r)
			if now := p.suspect(); now != suspect {
				suspect, changed = now, true
				p.logSuspect(suspect)
			}
			due = due || changed
		case <-tick.C:
			due = true
		case <-synced:
			syncing = false
		}
		if due && !syncing && len(p.health) > 0 {
			view := p.view(time.Now())
			syncing, due = true, false
			wg.Go(func() {
				p.sync(ctx, view)
				synced <- struct{}{}
			})
		}
	}
}

// leave ends the view's validity: whoever stops on purpose counts no longer at once.
func (p *Prober) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	v := p.view(time.Now())
	v.Until = v.Stamped.Add(-maxSkew)
	_ = writeView(ctx, p.Store, v) // otherwise it ends by itself
}

// repeat asks again and again, first at a random time within the interval, then with a tenth of jitter, so that neither the checks of one
// prober nor one check of many probers come at once.
func (p *Prober) repeat(ctx context.Context, c *Check, turns chan struct{}, results chan<- result) {
	wait := time.NewTimer(rand.N(c.Interval)) //nolint:gosec // jitter needs no secrecy
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		wait.Reset(c.Interval - c.Interval/10 + rand.N(c.Interval/5)) //nolint:gosec // as above
		select {
		case <-ctx.Done():
			return
		case turns <- struct{}{}:
		}
		r := p.ask(ctx, c)
		<-turns
		if ctx.Err() != nil {
			return // it failed because we stop
		}
		select {
		case <-ctx.Done():
			return
		case results <- r:
		}
	}
}

func (p *Prober) ask(ctx context.Context, c *Check) result {
	ask := p.Ask
	if ask == nil {
		ask = func(ctx context.Context, c *Check) error { return c.Ask(ctx) }
	}
	start := time.Now()
	err := ask(ctx, c)
	return result{c, err, time.Since(start)}
}

// A Report is what Once found.
type Report struct {
	Targets []TargetReport `json:"targets"`
	Suspect bool           `json:"suspect"` // everything failed: the view doesn't count
}

// A TargetReport is one target's.
type TargetReport struct {
	Target string `json:"target"`
	Error  string `json:"error,omitempty"` // of this check
	State  string `json:"state"`           // up or down, by the thresholds
	Good   int    `json:"good"`
	Bad    int    `json:"bad"`
}

// Once makes every check once, goes on from the prober's last view, and publishes like Run.
func (p *Prober) Once(ctx context.Context) (*Report, error) {
	if err := p.begin(ctx); err != nil {
		return nil, err
	}
	results := make([]result, len(p.Spec.Checks))
	turns := make(chan struct{}, p.Parallel)
	var wg sync.WaitGroup
	for i := range p.Spec.Checks {
		turns <- struct{}{}
		wg.Go(func() {
			results[i] = p.ask(ctx, &p.Spec.Checks[i])
			<-turns
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	report := &Report{Targets: []TargetReport{}}
	for _, r := range results {
		p.note(r)
		h := p.health[r.check.Target]
		t := TargetReport{Target: r.check.Target.String(), State: stateOf(h).String(), Good: h.Good, Bad: h.Bad}
		if r.err != nil {
			t.Error = r.err.Error()
		}
		report.Targets = append(report.Targets, t)
	}
	if report.Suspect = p.suspect(); report.Suspect {
		p.logSuspect(true)
	}
	return report, p.exchange(ctx, p.view(time.Now()))
}

func stateOf(h Health) steer.State {
	if h.Down {
		return steer.Down
	}
	return steer.Up
}

// begin takes up the counters of this prober's last view, of the targets that are still checked.
func (p *Prober) begin(ctx context.Context) error {
	p.health, p.last, p.held = map[Target]Health{}, map[Target]error{}, map[Target]string{}
	if _, err := dataset.ReadCluster(ctx, p.Store); err != nil {
		return err
	}
	if err := p.warnUnknown(ctx); err != nil {
		return err
	}
	v, err := readView(ctx, p.Store, p.Name)
	switch {
	case errors.Is(err, store.ErrNoNode):
		return nil
	case errors.Is(err, store.ErrUnavailable):
		return err
	case err != nil:
		p.Log.Warn("starting anew", "reason", err)
		return nil
	}
	for _, c := range p.Spec.Checks {
		if h, ok := v.Targets[c.Target.String()]; ok {
			p.health[c.Target] = h
		}
	}
	return nil
}

// warnUnknown names checks whose results nobody can use.
func (p *Prober) warnUnknown(ctx context.Context) error {
	table, err := publish.LoadPoPs(ctx, p.Store)
	if err != nil {
		return err
	}
	var unknown []string
	for _, c := range p.Spec.Checks {
		if _, ok := table.Get(c.Target.PoP); !ok {
			unknown = append(unknown, c.Target.PoP)
		}
	}
	slices.Sort(unknown)
	if unknown = slices.Compact(unknown); len(unknown) > 0 {
		p.Log.Warn("PoPs that the PoP table does not have are checked for nothing", "pops", strings.Join(unknown[:min(len(unknown), 8)], ","), "number", len(unknown))
	}
	return nil
}

// note takes a result in and tells whether the target's state changed.
func (p *Prober) note(r result) bool {
	t := r.check.Target
	before := p.health[t]
	h := r.check.Step(before, r.err == nil)
	p.health[t], p.last[t] = h, r.err
	p.Metrics.checked(t, h, r.took, r.err)
	if h.Known == before.Known && h.Down == before.Down {
		return false
	}
	line := p.Log.Info
	args := []any{"target", t.String(), "state", stateOf(h).String()}
	if r.err != nil {
		line, args = p.Log.Warn, append(args, "error", r.err)
	}
	line("target is "+stateOf(h).String(), args...)
	return true
}

// suspect tells whether everything that was checked failed, at more than one PoP: more likely this prober's own network than all of them.
func (p *Prober) suspect() bool {
	pops := map[string]bool{}
	for t, err := range p.last {
		if err == nil {
			return false
		}
		pops[t.PoP] = true
	}
	return len(pops) > 1
}

func (p *Prober) logSuspect(suspect bool) {
	p.Metrics.suspect.Set(truth(suspect))
	if suspect {
		p.Log.Error("every check fails, so this prober suspects itself and does not count", "prober", p.Name)
	} else {
		p.Log.Info("checks succeed again, this prober counts", "prober", p.Name)
	}
}

func (p *Prober) view(now time.Time) View {
	v := View{Prober: p.Name, Stamped: now.UTC(), Until: now.Add(p.Valid).UTC(), Suspect: p.suspect(), Targets: map[string]Health{}}
	for t, h := range p.health {
		v.Targets[t.String()] = h
	}
	return v
}

// sync is exchange with its trouble logged when it comes and goes.
func (p *Prober) sync(ctx context.Context, v View) {
	err := p.exchange(ctx, v)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		p.Metrics.failures.Inc()
	}
	if (err != nil) != p.trouble {
		p.trouble = err != nil
		if err != nil {
			p.Log.Error("the store can't be written, still trying", "error", err)
		} else {
			p.Log.Info("the store can be written again")
		}
	}
}

// exchange writes the view, reads all others' and publishes what changes.
func (p *Prober) exchange(ctx context.Context, v View) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if err := writeView(ctx, p.Store, v); err != nil {
		return err
	}
	p.Metrics.synced.SetToCurrentTime()
	views, err := ReadViews(ctx, p.Store)
	if err != nil {
		return err
	}
	table, err := publish.LoadPoPs(ctx, p.Store)
	if err != nil {
		return err
	}
	verdict := p.Policy.Judge(table, views, v.Stamped)
	defer func() { p.report(verdict) }()
	forget(ctx, p.Store, views, v.Stamped)
	if len(verdict.Changes) == 0 {
		return nil
	}
	receipt, err := p.Publisher.SetFailing(ctx, func(cur *steer.PoPs) map[string]map[string]bool {
		verdict = p.Policy.Judge(cur, views, v.Stamped)
		return verdict.byPoP()
	})
	if refused, ok := errors.AsType[*publish.GuardError](err); ok {
		for _, t := range sorted(verdict.Changes) {
			verdict.Held = append(verdict.Held, Held{t, strings.Join(refused.Findings, "; ")})
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if receipt.Changed {
		p.Metrics.changes.Inc()
		p.Log.Warn("published", "serial", receipt.New, "changes", strings.Join(receipt.Lines(), ", "), "probers", strings.Join(verdict.Live, ","))
	}
	return nil
}

func (v Verdict) byPoP() map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for t, failing := range v.Changes {
		if out[t.PoP] == nil {
			out[t.PoP] = map[string]bool{}
		}
		out[t.PoP][t.Service] = failing
	}
	return out
}

// report logs what changed of who counts and what is held.
func (p *Prober) report(v Verdict) {
	p.Metrics.probers.Set(float64(len(v.Live)))
	p.Metrics.held.Set(float64(len(v.Held)))
	if live := strings.Join(v.Live, ","); live != p.live {
		p.live = live
		line := p.Log.Info
		if len(v.Live) < p.Policy.Quorum {
			line = p.Log.Warn
		}
		line("probers that count", "probers", live, "number", len(v.Live), "quorum", p.Policy.Quorum)
	}
	held := map[Target]string{}
	for _, h := range v.Held {
		held[h.Target] = h.Why
		if p.held[h.Target] != h.Why {
			p.Log.Error("held: the target stays as it is", "target", h.Target.String(), "reason", h.Why)
		}
	}
	for _, t := range slices.Collect(maps.Keys(p.held)) {
		if _, still := held[t]; !still {
			p.Log.Info("no longer held", "target", t.String())
		}
	}
	p.held = held
}
