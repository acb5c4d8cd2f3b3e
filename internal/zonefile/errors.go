package zonefile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxListed is how many errors of one file [Errors] keeps. A file with more is usually not a zone file at all, and
// a terminal shows no more at once.
const MaxListed = 20

// Error is one fault of a zone file.
type Error struct {
	File string // as given to [Read], or the path of an included file
	Line int    // first is 1; 0 when the fault belongs to no line (a zone without an SOA)
	Msg  string // what is wrong, with the remedy in parentheses
}

// Error returns "file:line: what (remedy)".
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Msg
	}
	return e.File + ":" + strconv.Itoa(e.Line) + ": " + e.Msg
}

// Errors is every fault that [Read] found in a file, in the order of its lines. It is never empty.
type Errors struct {
	List []*Error // at most [MaxListed]
	More int      // how many were found beyond List
}

// Error returns one line per fault, and "… and N more" when there are more than List holds.
func (e *Errors) Error() string {
	var b strings.Builder
	for i, one := range e.List {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(one.Error())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\n… and %d more", e.More)
	}
	return b.String()
}

// Unwrap lets [errors.As] find an [*Error].
func (e *Errors) Unwrap() []error {
	out := make([]error, len(e.List))
	for i, one := range e.List {
		out[i] = one
	}
	return out
}

func (e *Errors) add(at position, format string, args ...any) {
	if len(e.List) == MaxListed {
		e.More++
		return
	}
	e.List = append(e.List, &Error{File: at.file, Line: at.line, Msg: fmt.Sprintf(format, args...)})
}

func (e *Errors) total() int { return len(e.List) + e.More }

func (e *Errors) any() bool { return len(e.List) > 0 }

// sorted puts the faults of each file in line order; files stay in the order in which they were first complained of.
func (e *Errors) sorted() *Errors {
	rank := map[string]int{}
	for _, one := range e.List {
		if _, ok := rank[one.File]; !ok {
			rank[one.File] = len(rank)
		}
	}
	slices.SortStableFunc(e.List, func(a, b *Error) int {
		if a.File != b.File {
			return rank[a.File] - rank[b.File]
		}
		return lineRank(a) - lineRank(b)
	})
	return e
}

// lineRank sorts the faults of the whole file behind those of its lines.
func lineRank(e *Error) int {
	if e.Line == 0 {
		return int(^uint32(0) >> 1)
	}
	return e.Line
}

// position is a place in a file; line 0 is the file as a whole.
type position struct {
	file string
	line int
}

// relativeTo names the position as seen from another one: only the line when both lie in the same file.
func (p position) relativeTo(o position) string {
	if p.file == o.file {
		return "line " + strconv.Itoa(p.line)
	}
	return p.file + ":" + strconv.Itoa(p.line)
}
