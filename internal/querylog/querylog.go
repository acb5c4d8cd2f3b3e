// Package querylog reads what was asked of name servers, line by line: CSV, and the lines that CoreDNS's log plugin writes.
//
// A line that can't be read does not end the reading: [Reader.Queries] yields it as a *[LineError] and goes on.
package querylog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
)

// A Query is one line.
type Query struct {
	Resolver netip.Addr   // the source address; invalid if the line has none
	ECS      netip.Prefix // the client subnet, masked; invalid if the line has none
	Name     string       // the name asked for, "" if the line has none
	Type     string       // of the question, "" if the line does not say
	Weight   float64      // what the query counts, 0 or more; 1 if the line does not say
}

// Format is how the lines are written.
type Format string

// The formats.
const (
	Auto Format = "auto" // Log if one of the first lines is one of the log plugin's, otherwise CSV
	CSV  Format = "csv"  // address,ecs,qname,weight; or any of address, ecs, qname, type, weight, named by the first line
	Log  Format = "log"  // the lines of CoreDNS's log plugin; all others are skipped
)

// ParseFormat reads the name of a format.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case Auto, CSV, Log:
		return f, nil
	}
	return "", fmt.Errorf("unknown format %q: write auto, csv or log", s)
}

// A LineError is a line that can't be read.
type LineError struct {
	File string
	Line int // from 1
	Err  error
}

// Error says file, line and what is wrong.
func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e *LineError) Unwrap() error { return e.Err }

// maxLine bounds a line, in octets: a name has 255 at most.
const maxLine = 64 << 10

// A Reader reads one file. It must not be used concurrently.
type Reader struct {
	in      *bufio.Reader
	file    string
	format  Format
	columns []column // of CSV
	line    int
	skipped int
}

// NewReader returns a Reader of r; file is its name for errors.
func NewReader(r io.Reader, file string, f Format) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, maxLine), file: file, format: f, columns: defaultColumns}
}

// Lines counts the lines read so far.
func (r *Reader) Lines() int { return r.line }

// Skipped counts the lines that are nobody's query: comments, empty ones, and in a log everything else that was logged.
func (r *Reader) Skipped() int { return r.skipped }

// Fault makes a LineError of what is wrong with the query yielded last.
func (r *Reader) Fault(err error) error { return &LineError{r.file, r.line, err} }

// Queries yields the queries, each with a nil error, and a *LineError for each line that can't be read. Any other error is the last it yields.
func (r *Reader) Queries() iter.Seq2[Query, error] {
	return func(yield func(Query, error) bool) {
		if r.format == Auto {
			r.format = r.detect()
		}
		for {
			line, err := r.next()
			if line == nil && err == io.EOF {
				return
			}
			if err != nil && err != io.EOF {
				if !errors.Is(err, errTooLong) {
					yield(Query{}, fmt.Errorf("read %s: %w", r.file, err))
					return
				}
				if !yield(Query{}, r.Fault(err)) {
					return
				}
				continue
			}
			q, isQuery, err := r.parse(string(bytes.TrimSpace(line)))
			switch {
			case err != nil:
				err = r.Fault(err)
			case !isQuery:
				r.skipped++
				continue
			}
			if !yield(q, err) {
				return
			}
		}
	}
}

var errTooLong = fmt.Errorf("line of more than %d octets", maxLine)

// next returns the next line, nil at the end. What is too long of one is passed over.
func (r *Reader) next() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if len(line) > 0 {
		r.line++
	}
	if !errors.Is(err, bufio.ErrBufferFull) {
		if len(line) == 0 {
			return nil, err
		}
		if err == io.EOF {
			err = nil // the next call says so again
		}
		return line, err
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.in.ReadSlice('\n')
	}
	if err != nil && err != io.EOF {
		return nil, err
	}
	return nil, errTooLong
}

// detect looks at what fits in the buffer.
func (r *Reader) detect() Format {
	ahead, _ := r.in.Peek(maxLine)
	for line := range bytes.Lines(ahead) {
		if _, ok, _ := parseLog(string(bytes.TrimSpace(line))); ok {
			return Log
		}
	}
	return CSV
}

func (r *Reader) parse(line string) (q Query, isQuery bool, err error) {
	if line == "" || line[0] == '#' {
		return q, false, nil
	}
	if r.format == Log {
		return parseLog(line)
	}
	return r.parseCSV(line)
}
