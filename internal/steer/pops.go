package steer

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/popdns/popdns/internal/setsum"
)

// State tells whether a PoP may be handed out at all.
type State uint8

// States of a PoP.
const (
	Up State = iota
	Down
)

// String returns "up" or "down".
func (s State) String() string {
	if s == Down {
		return "down"
	}
	return "up"
}

// ParseState reads what String writes.
func ParseState(s string) (State, error) {
	switch s {
	case "up":
		return Up, nil
	case "down":
		return Down, nil
	}
	return Up, fmt.Errorf("unknown state %q: write up or down", s)
}

// PoP is one site.
type PoP struct {
	Name     string  // a-z, 0-9, '-', 1 to 63 bytes
	Lat, Lon float64 // degrees, north and east positive
	State    State
	Drain    int   // percent of client blocks that go elsewhere, 0 to 100
	Capacity int64 // in the operator's unit, the same for all PoPs; 0 = unknown
	// Services are what is out of order beside the PoP itself, by name in ascending order. One that is up and not drained is not listed.
	Services []Service
	// Failing is what active checks found down, sorted: names of services, and "" for the PoP itself. It is kept apart from
	// the states above, which are people's: neither overrides the other, and the worse of them counts.
	Failing []string
}

// Service is the state of one service at a PoP: it concerns the names that are marked with the service's name.
type Service struct {
	Name  string // as a PoP's
	State State
	Drain int
}

// For returns the state and the drain that count for names of the service: the worst of the PoP's own, the service's and what checks found. "" is no service.
func (p *PoP) For(service string) (State, int) {
	if len(p.Failing) > 0 && p.Fails(service) {
		return Down, p.Drain
	}
	if service == "" || len(p.Services) == 0 {
		return p.State, p.Drain
	}
	state, drain := p.ServiceState(service)
	return max(p.State, state), max(p.Drain, drain)
}

// Fails tells whether checks found the PoP, or the service, down.
func (p *PoP) Fails(service string) bool {
	return slices.Contains(p.Failing, "") || slices.Contains(p.Failing, service)
}

// WithFailing returns p with what checks found for one service, "" for the PoP itself.
func (p PoP) WithFailing(service string, failing bool) PoP {
	i, found := slices.BinarySearch(p.Failing, service)
	if found == failing {
		return p
	}
	list := slices.Clone(p.Failing)
	if failing {
		list = slices.Insert(list, i, service)
	} else {
		list = slices.Delete(list, i, i+1)
	}
	if p.Failing = slices.Clip(list); len(list) == 0 {
		p.Failing = nil
	}
	return p
}

// ServiceState returns the service's own state and drain.
func (p *PoP) ServiceState(service string) (State, int) {
	for i := range p.Services {
		if s := &p.Services[i]; s.Name == service {
			return s.State, s.Drain
		}
	}
	return Up, 0
}

// Equal tells whether p and o are the same in everything.
func (p PoP) Equal(o PoP) bool {
	return p.Name == o.Name && p.Lat == o.Lat && p.Lon == o.Lon && p.State == o.State && p.Drain == o.Drain && p.Capacity == o.Capacity &&
		slices.Equal(p.Services, o.Services) && slices.Equal(p.Failing, o.Failing)
}

// WithService returns p with s in place of the service of its name; one that is in order is left out.
func (p PoP) WithService(s Service) PoP {
	i, found := slices.BinarySearchFunc(p.Services, s.Name, func(o Service, name string) int { return strings.Compare(o.Name, name) })
	services := slices.Clone(p.Services)
	switch inOrder := s.State == Up && s.Drain == 0; {
	case found && inOrder:
		services = slices.Delete(services, i, i+1)
	case found:
		services[i] = s
	case !inOrder:
		services = slices.Insert(services, i, s)
	}
	p.Services = slices.Clip(services)
	if len(services) == 0 {
		p.Services = nil
	}
	return p
}

// Check returns an error that names the first field out of its bounds.
func (p PoP) Check() error {
	if err := CheckName(p.Name); err != nil {
		return err
	}
	switch {
	case !(math.Abs(p.Lat) <= 90): // written so that NaN fails
		return fmt.Errorf("pop %s: lat %v is outside -90..90", p.Name, p.Lat)
	case !(math.Abs(p.Lon) <= 180):
		return fmt.Errorf("pop %s: lon %v is outside -180..180", p.Name, p.Lon)
	case p.State > Down:
		return fmt.Errorf("pop %s: unknown state %d", p.Name, p.State)
	case p.Drain < 0 || p.Drain > 100:
		return fmt.Errorf("pop %s: drain %d is outside 0..100 percent", p.Name, p.Drain)
	case p.Capacity < 0:
		return fmt.Errorf("pop %s: capacity %d is negative", p.Name, p.Capacity)
	}
	if err := p.checkServices(); err != nil {
		return fmt.Errorf("pop %s: %w", p.Name, err)
	}
	if err := p.checkFailing(); err != nil {
		return fmt.Errorf("pop %s: %w", p.Name, err)
	}
	return nil
}

func (p PoP) checkFailing() error {
	if len(p.Failing) > MaxServices {
		return fmt.Errorf("%d failing services: %w, at most %d", len(p.Failing), ErrTooLarge, MaxServices)
	}
	for i, name := range p.Failing {
		if name != "" && CheckName(name) != nil {
			return fmt.Errorf("failing service %q: want 1 to %d of a-z, 0-9 and '-'", name, MaxNameBytes)
		}
		if i > 0 && p.Failing[i-1] >= name {
			return fmt.Errorf("failing service %q: twice or out of order", name)
		}
	}
	return nil
}

func (p PoP) checkServices() error {
	if len(p.Services) > MaxServices {
		return fmt.Errorf("%d services: %w, at most %d", len(p.Services), ErrTooLarge, MaxServices)
	}
	for i, s := range p.Services {
		if CheckName(s.Name) != nil {
			return fmt.Errorf("service name %q: want 1 to %d of a-z, 0-9 and '-'", s.Name, MaxNameBytes)
		}
		switch {
		case s.State > Down:
			return fmt.Errorf("service %s: unknown state %d", s.Name, s.State)
		case s.Drain < 0 || s.Drain > 100:
			return fmt.Errorf("service %s: drain %d is outside 0..100 percent", s.Name, s.Drain)
		case s.State == Up && s.Drain == 0:
			return fmt.Errorf("service %s: in order, so not to be listed", s.Name)
		case i > 0 && p.Services[i-1].Name >= s.Name:
			return fmt.Errorf("service %s: twice or out of order", s.Name)
		}
	}
	return nil
}

// PoPs is the immutable table of sites, safe for concurrent use. A nil *PoPs is an empty table.
type PoPs struct {
	serial uint32
	list   []PoP          // by name
	index  map[string]int // name → position in list
	sum    setsum.Sum     // of the items that popItem makes
}

// NewPoPs builds a table; pops may be in any order. It refuses an invalid PoP, a name given twice, and more than MaxPoPs.
func NewPoPs(serial uint32, pops []PoP) (*PoPs, error) {
	if len(pops) > MaxPoPs {
		return nil, fmt.Errorf("pop table of %d: %w, at most %d", len(pops), ErrTooLarge, MaxPoPs)
	}
	list := slices.Clone(pops)
	slices.SortFunc(list, func(a, b PoP) int { return strings.Compare(a.Name, b.Name) })
	for i, p := range list {
		if err := p.Check(); err != nil {
			return nil, err
		}
		if i > 0 && list[i-1].Name == p.Name {
			return nil, fmt.Errorf("pop %s is given twice", p.Name)
		}
	}
	return newSortedPoPs(serial, list), nil
}

func newSortedPoPs(serial uint32, list []PoP) *PoPs {
	t := &PoPs{serial: serial, list: list, index: make(map[string]int, len(list))}
	for i, p := range list {
		t.index[p.Name] = i
		t.sum.Add(popItem(p))
	}
	return t
}

// Serial returns the table's version number.
func (t *PoPs) Serial() uint32 {
	if t == nil {
		return 0
	}
	return t.serial
}

// Len returns how many PoPs there are.
func (t *PoPs) Len() int {
	if t == nil {
		return 0
	}
	return len(t.list)
}

// Get returns the PoP called name.
func (t *PoPs) Get(name string) (PoP, bool) {
	if t == nil {
		return PoP{}, false
	}
	i, ok := t.index[name]
	if !ok {
		return PoP{}, false
	}
	return t.list[i], true
}

// All yields the PoPs by name.
func (t *PoPs) All() iter.Seq[PoP] {
	if t == nil {
		return func(func(PoP) bool) {}
	}
	return slices.Values(t.list)
}

// With returns a table in which p has replaced the PoP of its name, or was added. It does not check p: whoever takes p from
// outside calls p.Check first, and PoPsCodec refuses to encode a table with an invalid PoP.
func (t *PoPs) With(p PoP) *PoPs {
	list := slices.Collect(t.All())
	i, found := slices.BinarySearchFunc(list, p.Name, func(q PoP, name string) int { return strings.Compare(q.Name, name) })
	if found {
		list[i] = p
	} else {
		list = slices.Insert(list, i, p)
	}
	return newSortedPoPs(t.Serial(), list)
}
