package mapfile

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/popdns/popdns/internal/steer"
)

// WriteMap writes m as YAML that ReadMap reads to a map of the same rows and default. Equal maps give equal bytes: IPv4
// before IPv6, by address, and what stands in both planes with one list under nets.
func WriteMap(w io.Writer, m *steer.Map) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "default: %s\n", list(m.Default()))
	writeRows(out, "nets", rows(m, func(r steer.Row) bool { return r.Plane == steer.Resolver && inBothPlanes(m, r) }))
	for _, p := range []steer.Plane{steer.Resolver, steer.ECS} {
		writeRows(out, p.String(), rows(m, func(r steer.Row) bool { return r.Plane == p && !inBothPlanes(m, r) }))
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write map: %w", err)
	}
	return nil
}

// WritePoPs writes t as YAML that ReadPoPs reads to an equal table, by name, leaving out drain and capacity of zero.
func WritePoPs(w io.Writer, t *steer.PoPs) error {
	out := bufio.NewWriter(w)
	if t.Len() == 0 {
		fmt.Fprintln(out, "{}")
	}
	for p := range t.All() {
		fmt.Fprintf(out, "%s:\n  lat: %s\n  lon: %s\n  state: %s\n", name(p.Name), degrees(p.Lat), degrees(p.Lon), p.State)
		if p.Drain != 0 {
			fmt.Fprintf(out, "  drain: %d\n", p.Drain)
		}
		if p.Capacity != 0 {
			fmt.Fprintf(out, "  capacity: %d\n", p.Capacity)
		}
		if len(p.Services) > 0 {
			fmt.Fprint(out, "  services:\n")
		}
		for _, s := range p.Services {
			fmt.Fprintf(out, "    %s: {state: %s, drain: %d}\n", name(s.Name), s.State, s.Drain)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write pops: %w", err)
	}
	return nil
}

func rows(m *steer.Map, keep func(steer.Row) bool) iter.Seq[steer.Row] {
	return func(yield func(steer.Row) bool) {
		for r := range m.Rows() {
			if keep(r) && !yield(r) {
				return
			}
		}
	}
}

func inBothPlanes(m *steer.Map, r steer.Row) bool {
	other, ok := m.Row(steer.ECS-r.Plane, r.Prefix)
	return ok && slices.Equal(other, r.PoPs)
}

func writeRows(out io.Writer, section string, rows iter.Seq[steer.Row]) {
	first := true
	for r := range rows {
		if first {
			fmt.Fprintf(out, "%s:\n", section)
			first = false
		}
		fmt.Fprintf(out, "  %s: %s\n", prefix(r.Prefix), list(r.PoPs))
	}
}

// prefix quotes IPv6, whose colons confuse people more than they do YAML.
func prefix(p netip.Prefix) string {
	if p.Addr().Is4() {
		return p.String()
	}
	return strconv.Quote(p.String())
}

func list(pops []string) string {
	quoted := make([]string, len(pops))
	for i, p := range pops {
		quoted[i] = name(p)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// name quotes a PoP name that YAML would take for something else than a string.
func name(s string) string {
	switch s {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return strconv.Quote(s)
	}
	if s[0] < 'a' { // a digit or '-'
		return strconv.Quote(s)
	}
	return s
}

func degrees(d float64) string {
	return strconv.FormatFloat(d+0, 'f', -1, 64)
}
