package querylog

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/popdns/popdns/internal/ecs"
)

// column sets a Query's field from a CSV cell that is not empty.
type column struct {
	name string
	set  func(q *Query, cell string) error
}

var columns = []column{
	{"address", setAddress},
	{"ecs", func(q *Query, cell string) (err error) { q.ECS, err = ecs.ParseSubnet(cell); return err }},
	{"qname", func(q *Query, cell string) error { q.Name = cell; return nil }},
	{"weight", setWeight},
	{"type", func(q *Query, cell string) error { q.Type = cell; return nil }},
}

// defaultColumns are those of a file whose first line does not name them.
var defaultColumns = columns[:4]

func setAddress(q *Query, cell string) error {
	a, err := netip.ParseAddr(cell)
	if err != nil || a.Zone() != "" {
		return fmt.Errorf("address %q is not an IP address, like 192.0.2.1", cell)
	}
	q.Resolver = a.Unmap()
	return nil
}

func setWeight(q *Query, cell string) error {
	w, err := strconv.ParseFloat(cell, 64)
	if err != nil || math.IsNaN(w) || math.IsInf(w, 0) || w < 0 {
		return fmt.Errorf("weight %q is not a number of 0 or more", cell)
	}
	q.Weight = w
	return nil
}

func (r *Reader) parseCSV(line string) (q Query, isQuery bool, err error) {
	cells := strings.Split(line, ",")
	for i, cell := range cells {
		cell = strings.TrimSpace(cell)
		if n := len(cell); n >= 2 && cell[0] == '"' && cell[n-1] == '"' {
			cell = cell[1 : n-1]
		}
		cells[i] = cell
	}
	if r.isHeader(cells) {
		return q, false, r.setColumns(cells)
	}
	if len(cells) > len(r.columns) {
		return q, false, fmt.Errorf("%d fields, want at most %d: %s", len(cells), len(r.columns), columnNames(r.columns))
	}
	q.Weight = 1
	for i, cell := range cells {
		if cell == "" {
			continue
		}
		if err := r.columns[i].set(&q, cell); err != nil {
			return q, false, err
		}
	}
	if !q.Resolver.IsValid() && !q.ECS.IsValid() {
		return q, false, errors.New("neither an address nor a client subnet: give one of them")
	}
	return q, true, nil
}

// isHeader tells whether the cells name columns instead of holding values: nothing was read before, and there is a known name among them.
func (r *Reader) isHeader(cells []string) bool {
	return r.line-r.skipped == 1 && slices.ContainsFunc(cells, func(cell string) bool { return columnOf(cell) >= 0 })
}

func columnOf(name string) int {
	return slices.IndexFunc(columns, func(c column) bool { return strings.EqualFold(c.name, name) })
}

func (r *Reader) setColumns(cells []string) error {
	var own []column
	for _, cell := range cells {
		i := columnOf(cell)
		if i < 0 {
			return fmt.Errorf("unknown column %q: there are %s", cell, columnNames(columns))
		}
		own = append(own, columns[i])
	}
	r.columns = own
	return nil
}

func columnNames(list []column) string {
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = c.name
	}
	return strings.Join(names, ",")
}

// parseLog reads a line in CoreDNS's common or combined log format, with whatever a log collector put in front:
//
//	[INFO] 192.0.2.53:40212 - 29008 "A IN www.example.org. udp 41 false 1232" NOERROR qr,aa,rd 59 0.000127s
//
// It says nothing of client subnets. Other lines are not queries.
func parseLog(line string) (q Query, isQuery bool, err error) {
	head, question, found := strings.Cut(line, ` "`)
	if !found {
		return q, false, nil
	}
	before, after := strings.Fields(head), strings.Fields(question)
	n := len(before)
	if n < 3 || before[n-2] != "-" || len(after) < 4 {
		return q, false, nil
	}
	if _, err := strconv.ParseUint(before[n-1], 10, 16); err != nil {
		return q, false, nil
	}
	client, err := netip.ParseAddrPort(before[n-3])
	if err != nil {
		return q, false, nil
	}
	return Query{Resolver: client.Addr().Unmap().WithZone(""), Name: after[2], Type: after[0], Weight: 1}, true, nil
}
