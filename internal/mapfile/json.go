package mapfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/popdns/popdns/internal/finding"
)

// isJSON tells whether data is a JSON object as far as its first key. YAML's flow mapping, {default: [a]}, has bare keys.
func isJSON(data []byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) == 0 || data[0] != '{' {
		return false
	}
	data = bytes.TrimLeft(data[1:], " \t\r\n")
	return len(data) > 0 && data[0] == '"'
}

// maxDepth bounds how deep values that we skip may nest.
const maxDepth = 100

// jsonDocument is walked from left to right and knows its line. It is a reader of its own because json.Decoder takes several
// times as long for many rows (BenchmarkReadMap100k) and knows no lines; FuzzReadMap holds it against json.Valid.
type jsonDocument struct {
	data    []byte
	at      int
	counted int // up to where line ends are counted
	lines   int // counted so far
	depth   int
	err     error // the first syntax error: nothing is read after it
}

func readJSON(data []byte, errs *finding.List, top func(value)) error {
	d := &jsonDocument{data: data}
	if v := d.next(); d.err == nil {
		top(v)
		d.skip(v)
	}
	if d.peek() != 0 {
		d.fail("text after the closing brace")
	}
	if d.err != nil {
		dropWhole(errs) // what seems to be missing may stand in the part that was not read
		errs.Add(d.line(), "not JSON: %w", d.err)
	}
	return errs.Err()
}

// dropWhole takes back the faults of the file as a whole.
func dropWhole(errs *finding.List) {
	errs.Faults = slices.DeleteFunc(errs.Faults, func(f *finding.Fault) bool { return f.Line == 0 })
}

func (d *jsonDocument) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

// line returns the line that the walk has reached.
func (d *jsonDocument) line() int {
	d.lines += bytes.Count(d.data[d.counted:d.at], []byte{'\n'})
	d.counted = d.at
	return d.lines + 1
}

// peek skips white space and returns the next byte, 0 at the end or after an error.
func (d *jsonDocument) peek() byte {
	for ; d.err == nil && d.at < len(d.data); d.at++ {
		switch c := d.data[d.at]; c {
		case ' ', '\t', '\r', '\n':
		case 0:
			d.fail("a zero byte")
		default:
			return c
		}
	}
	return 0
}

// take consumes the byte c.
func (d *jsonDocument) take(c byte) {
	switch got := d.peek(); got {
	case c:
		d.at++
	case 0:
		d.fail("the file ends where %q is due", c)
	default:
		d.fail("%q where %q is due", got, c)
	}
}

// next reads a scalar, or an opening bracket.
func (d *jsonDocument) next() *jsonValue {
	v := &jsonValue{d: d, kind: d.peek(), at: d.line()}
	switch v.kind {
	case '{', '[':
		d.at++
	case '"':
		v.scalar = d.str()
	default:
		start := d.at
		for d.at < len(d.data) && !bytes.ContainsRune([]byte(" \t\r\n,:]}[{\""), rune(d.data[d.at])) {
			d.at++
		}
		v.scalar = string(d.data[start:d.at])
		if !json.Valid(d.data[start:d.at]) {
			d.fail("%q is no value", v.scalar)
		}
	}
	return v
}

// str reads a string.
func (d *jsonDocument) str() string {
	start := d.at
	d.take('"')
	escaped := false
	for ; d.err == nil && d.at < len(d.data); d.at++ {
		switch c := d.data[d.at]; {
		case c == '\\':
			escaped = true
			d.at++
		case c < ' ':
			d.fail("a string is not closed in its line")
		case c == '"':
			d.at++
			if !escaped {
				return string(d.data[start+1 : d.at-1])
			}
			var s string
			if json.Unmarshal(d.data[start:d.at], &s) != nil {
				d.fail("bad escape in %s", d.data[start:d.at])
			}
			return s
		}
	}
	d.at = min(d.at, len(d.data))
	d.fail("the file ends within a string")
	return ""
}

// skip reads v to its end, if nobody has walked it.
func (d *jsonDocument) skip(v *jsonValue) {
	if v.walked {
		return
	}
	switch v.kind {
	case '{':
		_ = v.pairs(func(string, int, value) {}) // it is an object
	case '[':
		_ = v.items(func(value) {}) // it is a list
	}
}

// each reads the elements of a list or an object up to its end.
func (d *jsonDocument) each(end byte, element func()) {
	if d.depth++; d.depth > maxDepth {
		d.fail("nested deeper than %d", maxDepth)
	}
	defer func() { d.depth-- }()
	if d.peek() == end {
		d.at++
		return
	}
	for d.err == nil {
		element()
		if d.peek() != ',' {
			d.take(end)
			return
		}
		d.at++
	}
}

type jsonValue struct {
	d      *jsonDocument
	kind   byte   // '{', '[', '"', or the first byte of another scalar
	scalar string // a string's content, or the literal
	at     int    // line
	walked bool
}

func (v *jsonValue) line() int { return v.at }

func (v *jsonValue) null() bool { return v.kind == 'n' }

func (v *jsonValue) text() (string, bool) {
	return v.scalar, v.kind != '{' && v.kind != '[' && !v.null()
}

func (v *jsonValue) pairs(yield func(key string, line int, v value)) error {
	if v.kind != '{' {
		return v.wrongKind()
	}
	v.walked = true
	d := v.d
	d.each('}', func() {
		d.peek()
		line := d.line()
		key := d.str()
		d.take(':')
		if inner := d.next(); d.err == nil {
			yield(key, line, inner)
			d.skip(inner)
		}
	})
	return nil
}

func (v *jsonValue) items(yield func(v value)) error {
	if v.kind != '[' {
		return v.wrongKind()
	}
	v.walked = true
	d := v.d
	d.each(']', func() {
		if inner := d.next(); d.err == nil {
			yield(inner)
			d.skip(inner)
		}
	})
	return nil
}

func (v *jsonValue) wrongKind() error {
	switch {
	case v.kind == '{':
		return wrongKind("an object")
	case v.kind == '[':
		return wrongKind("a list")
	case v.null():
		return wrongKind("null")
	}
	return wrongKind("a single value")
}
