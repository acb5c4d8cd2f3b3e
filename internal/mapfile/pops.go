package mapfile

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/steer"
)

// ReadPoPs reads a PoP file. file is its name for messages. The table has serial 0. A PoP without keys is up and undrained.
// An error about the content is a *finding.List.
func ReadPoPs(r io.Reader, file string) (*steer.PoPs, error) {
	return ReadPoPsOver(r, file, nil)
}

// ReadPoPsOver is ReadPoPs for a file that is applied over a table in use: where the file leaves out a PoP's state or drain, the
// PoP keeps what it has in current, so that applying a file does not undo a drain that it says nothing about. PoPs that the
// file does not name are not in the result. current may be nil.
func ReadPoPsOver(r io.Reader, file string, current *steer.PoPs) (*steer.PoPs, error) {
	p := popsReader{errs: &finding.List{File: file}, seen: make(map[string]int), current: current}
	if err := readDocument(r, p.errs, p.top); err != nil {
		return nil, err
	}
	table, err := steer.NewPoPs(0, p.pops)
	if err != nil {
		p.errs.Add(0, "%w", err)
		return nil, p.errs.Err()
	}
	return table, nil
}

type popsReader struct {
	errs *finding.List
	pops []steer.PoP
	seen map[string]int // name → line

	current *steer.PoPs // whose states and drains stand where the file is silent
}

func (r *popsReader) top(doc value) {
	err := doc.pairs(func(name string, line int, v value) {
		if first, twice := r.seen[name]; twice {
			r.errs.Add(line, "pop %s is in line %d already: keep one of them", name, first)
			return
		}
		if len(r.seen) > steer.MaxPoPs {
			return // NewPoPs says so
		}
		r.seen[name] = line
		before := r.errs.Len()
		pop := r.pop(name, v)
		if err := pop.Check(); err != nil && r.errs.Len() == before {
			r.errs.Add(line, "%w", err)
		}
		r.pops = append(r.pops, pop)
	})
	if err != nil {
		r.errs.Add(doc.line(), "the file %w: write `NAME: {lat: ..., lon: ..., state: up}` lines", err)
	}
}

// field sets one key of a PoP.
var fields = map[string]func(p *steer.PoP, s string) error{
	"lat":      func(p *steer.PoP, s string) error { return parseDegrees(s, &p.Lat) },
	"lon":      func(p *steer.PoP, s string) error { return parseDegrees(s, &p.Lon) },
	"state":    func(p *steer.PoP, s string) (err error) { p.State, err = parseState(s); return err },
	"drain":    func(p *steer.PoP, s string) (err error) { p.Drain, err = parsePercent(s); return err },
	"capacity": func(p *steer.PoP, s string) (err error) { p.Capacity, err = parseCapacity(s); return err },
}

func (r *popsReader) pop(name string, v value) steer.PoP {
	pop := steer.PoP{Name: name}
	if was, ok := r.current.Get(name); ok {
		pop.State, pop.Drain, pop.Services, pop.Failing = was.State, was.Drain, was.Services, was.Failing
	}
	if v.null() {
		return pop
	}
	seen := make(map[string]int)
	err := v.pairs(func(key string, line int, v value) {
		if first, twice := seen[key]; twice {
			r.errs.Add(line, "pop %s: key %q is in line %d already", name, key, first)
			return
		}
		seen[key] = line
		if key == "services" {
			pop.Services = nil
			r.services(&pop, v)
			return
		}
		set, known := fields[key]
		if !known {
			r.errs.Add(line, "pop %s: unknown key %q%s", name, key, hint(key, append(slices.Sorted(maps.Keys(fields)), "services")))
			return
		}
		s, ok := v.text()
		if !ok {
			r.errs.Add(line, "pop %s: %s needs a single value", name, key)
			return
		}
		if err := set(&pop, s); err != nil {
			r.errs.Add(line, "pop %s: %s: %w", name, key, err)
		}
	})
	if err != nil {
		r.errs.Add(v.line(), "pop %s %w: write {lat: ..., lon: ..., state: up}", name, err)
	} else if (seen["lat"] == 0) != (seen["lon"] == 0) {
		r.errs.Add(v.line(), "pop %s: lat and lon go together: give both or none", name)
	}
	return pop
}

// services reads the states of a PoP's services: {web: {state: down}, mail: {drain: 30}}.
func (r *popsReader) services(pop *steer.PoP, v value) {
	seen := make(map[string]int)
	err := v.pairs(func(service string, line int, v value) {
		if first, twice := seen[service]; twice {
			r.errs.Add(line, "pop %s: service %s is in line %d already", pop.Name, service, first)
			return
		}
		seen[service] = line
		if err := steer.CheckName(service); err != nil {
			r.errs.Add(line, "pop %s: service %q: use 1 to %d of a-z, 0-9 and '-'", pop.Name, service, steer.MaxNameBytes)
			return
		}
		state := steer.PoP{Name: pop.Name}
		err := v.pairs(func(key string, line int, v value) {
			s, ok := v.text()
			if key != "state" && key != "drain" || !ok {
				r.errs.Add(line, "pop %s: service %s: write state: up or down, and drain: PERCENT, not %q", pop.Name, service, key)
				return
			}
			if err := fields[key](&state, s); err != nil {
				r.errs.Add(line, "pop %s: service %s: %s: %w", pop.Name, service, key, err)
			}
		})
		if err != nil {
			r.errs.Add(line, "pop %s: service %s %w: write {state: down} or {drain: 30}", pop.Name, service, err)
			return
		}
		*pop = pop.WithService(steer.Service{Name: service, State: state.State, Drain: state.Drain})
	})
	if err != nil {
		r.errs.Add(v.line(), "pop %s: services %w: write {NAME: {state: down}}", pop.Name, err)
	}
}

func parseDegrees(s string, to *float64) (err error) {
	if *to, err = strconv.ParseFloat(s, 64); err != nil {
		return fmt.Errorf("%q is not a number of degrees, like 52.3", s)
	}
	return nil
}

func parseState(s string) (steer.State, error) {
	state, err := steer.ParseState(s)
	if err != nil {
		return state, fmt.Errorf("%w%s", err, hint(s, []string{"up", "down"}))
	}
	return state, nil
}

func parsePercent(s string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSuffix(s, "%"))
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number of percent, like 30", s)
	}
	return n, nil
}

func parseCapacity(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%s is too large", s)
	}
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", s)
	}
	return n, nil
}
