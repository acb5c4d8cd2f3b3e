package mapfile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxErrors bounds how many faults of one file are kept: nobody reads more, and a file of the wrong kind has millions.
const maxErrors = 50

// Error is one fault of a file.
type Error struct {
	File string
	Line int // from 1; 0 = the file as a whole
	Err  error
}

// Error returns "file:line: what is wrong, and what to write".
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

// Unwrap returns what is wrong without the position.
func (e *Error) Unwrap() error { return e.Err }

// Errors are the faults of one file, in line order. There is at least one.
type Errors struct {
	File string
	List []*Error // at most 50

	count int // of all
}

// Error returns one line per fault.
func (e *Errors) Error() string {
	lines := make([]string, 0, len(e.List)+1)
	for _, err := range e.List {
		lines = append(lines, err.Error())
	}
	if more := e.count - len(e.List); more > 0 {
		lines = append(lines, fmt.Sprintf("%s: and %d more errors", e.File, more))
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns every fault, for errors.As and errors.Is.
func (e *Errors) Unwrap() []error {
	all := make([]error, len(e.List))
	for i, err := range e.List {
		all[i] = err
	}
	return all
}

func (e *Errors) add(line int, format string, args ...any) {
	e.count++
	if len(e.List) < maxErrors {
		e.List = append(e.List, &Error{File: e.File, Line: line, Err: fmt.Errorf(format, args...)})
	}
}

// dropWhole takes back the faults of the file as a whole.
func (e *Errors) dropWhole() {
	had := len(e.List)
	e.List = slices.DeleteFunc(e.List, func(err *Error) bool { return err.Line == 0 })
	e.count -= had - len(e.List)
}

// fail adds a fault and returns all.
func (e *Errors) fail(line int, format string, args ...any) error {
	e.add(line, format, args...)
	return e.sorted()
}

// sorted returns e in line order, or nil when it is empty.
func (e *Errors) sorted() error {
	if e.count == 0 {
		return nil
	}
	slices.SortStableFunc(e.List, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	return e
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

// hint returns " (did you mean X?)" for the known word nearest to got, "" if none is near, and otherwise lists a few.
func hint(got string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := editDistance(strings.ToLower(got), k); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf(" (did you mean %s?)", best)
	case len(known) == 0 || len(known) > 12:
		return ""
	}
	return fmt.Sprintf(" (known: %s)", strings.Join(known, ", "))
}

// editDistance counts the single-byte edits between a and b. Words longer than any of ours are simply far.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
