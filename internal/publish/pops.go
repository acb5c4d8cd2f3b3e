package publish

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/steer"
)

// A PoPsReceipt says what a change of the PoP table did.
type PoPsReceipt struct {
	*dataset.Receipt
	Added, Deleted, Edited []string // names of PoPs

	lines []string
}

// ApplyPoPs makes next the PoP table. Refused are a table in which no PoP can take clients, and one without a PoP that a map names.
func (p *Publisher) ApplyPoPs(ctx context.Context, next *steer.PoPs) (*PoPsReceipt, error) {
	return p.replacePoPs(ctx, p.commit(), next)
}

func (p *Publisher) replacePoPs(ctx context.Context, c dataset.Commit, next *steer.PoPs) (*PoPsReceipt, error) {
	findings, err := p.missingFromMaps(ctx, next)
	if err != nil {
		return nil, err
	}
	return p.commitPoPs(ctx, c, findings, func(*steer.PoPs) (*steer.PoPs, error) { return next, nil })
}

// DrainPoP moves percent (0 to 100) of the PoP's client blocks elsewhere; 0 ends a drain.
func (p *Publisher) DrainPoP(ctx context.Context, name string, percent int) (*PoPsReceipt, error) {
	return p.editPoP(ctx, name, func(pop *steer.PoP) { pop.Drain = percent })
}

// SetPoPState takes the PoP out of service or puts it back. A drain stays as it is. Putting it back also forgets that checks found it
// down, until they find it again.
func (p *Publisher) SetPoPState(ctx context.Context, name string, state steer.State) (*PoPsReceipt, error) {
	return p.editPoP(ctx, name, func(pop *steer.PoP) {
		pop.State = state
		if state == steer.Up {
			*pop = pop.WithFailing("", false)
		}
	})
}

// DrainService is DrainPoP for one service of the PoP: for the names that are marked with it.
func (p *Publisher) DrainService(ctx context.Context, name, service string, percent int) (*PoPsReceipt, error) {
	return p.editPoP(ctx, name, func(pop *steer.PoP) {
		s := steer.Service{Name: service, Drain: percent}
		s.State, _ = pop.ServiceState(service)
		*pop = pop.WithService(s)
	})
}

// SetServiceState is SetPoPState for one service of the PoP.
func (p *Publisher) SetServiceState(ctx context.Context, name, service string, state steer.State) (*PoPsReceipt, error) {
	return p.editPoP(ctx, name, func(pop *steer.PoP) {
		s := steer.Service{Name: service, State: state}
		_, s.Drain = pop.ServiceState(service)
		*pop = pop.WithService(s)
		if state == steer.Up {
			*pop = pop.WithFailing(service, false)
		}
	})
}

func (p *Publisher) editPoP(ctx context.Context, name string, edit func(*steer.PoP)) (*PoPsReceipt, error) {
	return p.commitPoPs(ctx, p.commit(), nil, func(cur *steer.PoPs) (*steer.PoPs, error) {
		if cur == nil {
			return nil, fmt.Errorf("%w: publish it with popctl pop apply FILE", dataset.ErrNoDataset)
		}
		pop, ok := cur.Get(name)
		if !ok {
			return nil, fmt.Errorf("PoP %q is not in it; there is: %s", name, listed(popNames(cur)))
		}
		edit(&pop)
		if err := pop.Check(); err != nil {
			return nil, err
		}
		return cur.With(pop), nil
	})
}

// commitPoPs commits what edit makes of the present table; findings are what guards have found already.
func (p *Publisher) commitPoPs(ctx context.Context, c dataset.Commit, findings []string, edit func(*steer.PoPs) (*steer.PoPs, error)) (*PoPsReceipt, error) {
	out := &PoPsReceipt{}
	receipt, err := p.pops.Commit(ctx, c, func(v *dataset.Version[*steer.PoPs]) (*steer.PoPs, error) {
		cur := valueOf(v)
		next, err := edit(cur)
		if err != nil {
			return nil, editError{fmt.Errorf("the PoP table: %w", err)}
		}
		out.compare(cur, next)
		if cur != nil && len(out.Added)+len(out.Deleted)+len(out.Edited) == 0 {
			return cur, nil
		}
		found := slices.Clone(findings)
		if !anyUsable(next) {
			found = append(found, "leaves no PoP that is up and not fully drained")
		}
		if len(found) > 0 && !p.o.Force {
			return nil, &GuardError{What: "the PoP table", Findings: found}
		}
		return next, nil
	})
	if err != nil {
		return nil, cause(err)
	}
	out.Receipt = receipt
	return out, nil
}

// compare fills in what differs between the tables. It starts anew, because an edit may be tried more than once.
func (r *PoPsReceipt) compare(cur, next *steer.PoPs) {
	*r = PoPsReceipt{}
	for pop := range next.All() {
		old, ok := cur.Get(pop.Name)
		switch {
		case !ok:
			r.Added = append(r.Added, pop.Name)
			r.lines = append(r.lines, "+"+pop.Name)
		case !old.Equal(pop):
			r.Edited = append(r.Edited, pop.Name)
			r.lines = append(r.lines, popChange(old, pop))
		}
	}
	for pop := range cur.All() {
		if _, ok := next.Get(pop.Name); !ok {
			r.Deleted = append(r.Deleted, pop.Name)
			r.lines = append(r.lines, "-"+pop.Name)
		}
	}
}

// anyUsable tells whether some client can be sent to some PoP.
func anyUsable(t *steer.PoPs) bool {
	for pop := range t.All() {
		if state, drain := pop.For(""); state == steer.Up && drain < 100 {
			return true
		}
	}
	return false
}

// missingFromMaps returns a guard's finding for each map that names PoPs which next does not have.
func (p *Publisher) missingFromMaps(ctx context.Context, next *steer.PoPs) ([]string, error) {
	names, err := dataset.ListDatasets(ctx, p.s, "maps")
	if err != nil {
		return nil, fmt.Errorf("list the maps: %w", err)
	}
	var findings []string
	for _, name := range names {
		v, err := load(ctx, p.s, MapRef(name))
		if err != nil {
			return nil, err
		}
		if v == nil {
			continue
		}
		if missing := unknownPoPs(next, mapPoPs(v.Value)); len(missing) > 0 {
			findings = append(findings, fmt.Sprintf("lacks PoPs that map %s names: %s", name, listed(missing)))
		}
		staged, err := LoadCanary(ctx, p.s, name)
		if err != nil {
			return nil, err
		}
		if staged == nil {
			continue
		}
		if missing := unknownPoPs(next, mapPoPs(staged.Value.Map())); len(missing) > 0 {
			findings = append(findings, fmt.Sprintf("lacks PoPs that the staged version of map %s names: %s", name, listed(missing)))
		}
	}
	return findings, nil
}

func popNames(t *steer.PoPs) []string {
	var names []string
	for pop := range t.All() {
		names = append(names, pop.Name)
	}
	return names
}

// Lines tells what changed for each PoP: "ams1 drain 0%→30%".
func (r *PoPsReceipt) Lines() []string { return r.lines }

// popChange names the fields that differ.
func popChange(old, now steer.PoP) string {
	s := now.Name
	if old.State != now.State {
		s += fmt.Sprintf(" %s→%s", old.State, now.State)
	}
	if old.Drain != now.Drain {
		s += fmt.Sprintf(" drain %d%%→%d%%", old.Drain, now.Drain)
	}
	if old.Lat != now.Lat || old.Lon != now.Lon {
		s += fmt.Sprintf(" place %v,%v→%v,%v", old.Lat, old.Lon, now.Lat, now.Lon)
	}
	if old.Capacity != now.Capacity {
		s += fmt.Sprintf(" capacity %d→%d", old.Capacity, now.Capacity)
	}
	return s + servicesChange(old, now) + failingChange(old, now)
}

// failingChange names what checks found down or up again.
func failingChange(old, now steer.PoP) string {
	var s strings.Builder
	names := slices.Concat(old.Failing, now.Failing)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		was, is := slices.Contains(old.Failing, name), slices.Contains(now.Failing, name)
		if was == is {
			continue
		}
		if name != "" {
			s.WriteString(" " + name)
		}
		if is {
			s.WriteString(" ok→failing")
		} else {
			s.WriteString(" failing→ok")
		}
	}
	return s.String()
}

// SetFailing notes what checks found. find gets the present table, and may be called again with a newer one; it returns the services of each
// PoP, "" for the PoP itself, that are now failing or not. What it leaves out stays. A PoP that the table does not have is left out.
func (p *Publisher) SetFailing(ctx context.Context, find func(*steer.PoPs) map[string]map[string]bool) (*PoPsReceipt, error) {
	return p.commitPoPs(ctx, p.commit(), nil, func(cur *steer.PoPs) (*steer.PoPs, error) {
		if cur == nil {
			return nil, fmt.Errorf("%w: publish it with popctl pop apply FILE", dataset.ErrNoDataset)
		}
		next := cur
		for name, services := range find(cur) {
			pop, ok := cur.Get(name)
			if !ok {
				continue
			}
			for service, failing := range services {
				pop = pop.WithFailing(service, failing)
			}
			next = next.With(pop)
		}
		return next, nil
	})
}

// servicesChange names the services whose states differ.
func servicesChange(old, now steer.PoP) string {
	names := make([]string, 0, len(old.Services)+len(now.Services))
	for _, service := range slices.Concat(old.Services, now.Services) {
		names = append(names, service.Name)
	}
	slices.Sort(names)
	var s strings.Builder
	for _, name := range slices.Compact(names) {
		wasState, wasDrain := old.ServiceState(name)
		state, drain := now.ServiceState(name)
		if wasState != state {
			fmt.Fprintf(&s, " %s %s→%s", name, wasState, state)
		}
		if wasDrain != drain {
			fmt.Fprintf(&s, " %s drain %d%%→%d%%", name, wasDrain, drain)
		}
	}
	return s.String()
}
