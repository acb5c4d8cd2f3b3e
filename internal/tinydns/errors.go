package tinydns

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxListed is how many errors of one file [Errors] keeps.
const MaxListed = 20

// Error is one fault of a data file.
type Error struct {
	File string
	Line int    // first is 1; 0 when the fault belongs to no line
	Msg  string // what is wrong, with the remedy in parentheses
}

// Error returns "file:line: what (remedy)".
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Msg
	}
	return e.File + ":" + strconv.Itoa(e.Line) + ": " + e.Msg
}

// Errors is every fault that was found in a file; it is never empty.
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

func (e *Errors) add(file string, line int, format string, args ...any) {
	if len(e.List) == MaxListed {
		e.More++
		return
	}
	e.List = append(e.List, &Error{File: file, Line: line, Msg: fmt.Sprintf(format, args...)})
}
