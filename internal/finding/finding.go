// Package finding says what is wrong in a file that people wrote: in which file, on which line, what, and what to write
// instead.
//
// A reader makes one [List] per file, goes on reading after a fault, and returns [List.Err] at the end, so that everything is
// told at once. The text of a fault is one line in lower case that carries its own remedy; [Nearest] finds the word that was
// probably meant.
package finding

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxListed is how many faults a [List] keeps; the rest are only counted. Nobody reads more at once, and a file of the wrong
// kind has one on each of its millions of lines.
const MaxListed = 50

// Position is a place in a file.
type Position struct {
	File string // as the reader was given it, or the path of an included file
	Line int    // first is 1; 0 is the file as a whole (a zone without an SOA)
}

// String returns "file:line", or "file" for the whole of it.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

// SeenFrom names the position to somebody who is told of another one: only "line 7" when both lie in the same file.
func (p Position) SeenFrom(other Position) string {
	if p.File == other.File && p.Line > 0 {
		return "line " + strconv.Itoa(p.Line)
	}
	return p.String()
}

// Fault is one thing that is wrong.
type Fault struct {
	Position
	Err error // what is wrong, with the remedy; never nil
}

// Error returns "file:line: what is wrong".
func (f *Fault) Error() string { return f.String() + ": " + f.Err.Error() }

// Unwrap returns what is wrong without the position.
func (f *Fault) Unwrap() error { return f.Err }

// List is the faults of one file and of those that it includes. Readers return it as a *List and only when it is not empty.
// It is for one goroutine until it is returned, and not changed after that.
type List struct {
	File   string   // where a fault lies that is added without a file
	Faults []*Fault // at most [MaxListed], in the order of [List.Err]
	More   int      // how many were found beyond them
}

// Add notes a fault of a line of l.File; line 0 is the file as a whole. The format is that of [fmt.Errorf], %w included.
func (l *List) Add(line int, format string, args ...any) {
	l.AddAt(Position{Line: line}, format, args...)
}

// AddAt notes a fault of a place in any file. A place without a file is in l.File.
func (l *List) AddAt(at Position, format string, args ...any) {
	if len(l.Faults) == MaxListed {
		l.More++
		return
	}
	if at.File == "" {
		at.File = l.File
	}
	l.Faults = append(l.Faults, &Fault{Position: at, Err: fmt.Errorf(format, args...)})
}

// Len is how many faults were found, those that are not kept included.
func (l *List) Len() int { return len(l.Faults) + l.More }

// Err returns l, or nil when nothing is wrong. It puts the faults of each file in the order of their lines, those of the whole
// file first; files stay in the order in which they were first complained of.
func (l *List) Err() error {
	if l.Len() == 0 {
		return nil
	}
	rank := map[string]int{}
	for _, f := range l.Faults {
		if _, ok := rank[f.File]; !ok {
			rank[f.File] = len(rank)
		}
	}
	slices.SortStableFunc(l.Faults, func(a, b *Fault) int {
		if a.File != b.File {
			return rank[a.File] - rank[b.File]
		}
		return a.Line - b.Line
	})
	return l
}

// Error returns one line per fault, and "… and N more" when more were found than are kept.
func (l *List) Error() string {
	lines := make([]string, 0, len(l.Faults)+1)
	for _, f := range l.Faults {
		lines = append(lines, f.Error())
	}
	if l.More > 0 {
		lines = append(lines, fmt.Sprintf("… and %d more", l.More))
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns every fault that is kept, for [errors.Is] and [errors.As].
func (l *List) Unwrap() []error {
	all := make([]error, len(l.Faults))
	for i, f := range l.Faults {
		all[i] = f
	}
	return all
}
