package zonefile

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/finding"
)

const (
	readSize = 64 << 10
	// maxEntry bounds one record or directive, parentheses included: the lexer collects a token in memory, and a forgotten
	// quote would make the rest of the file one token. The longest legal record (64 KiB of rdata, four characters an octet) fits.
	maxEntry = 1 << 20
	// maxMark bounds one ;@ comment. Real ones are below 100 octets.
	maxMark = 1 << 10
	// maxDirective bounds the text that is kept of a directive.
	maxDirective = 4 << 10
)

var errEntryTooLong = fmt.Errorf("record longer than %d octets (is a quote or a parenthesis left open?)", maxEntry)

// scanner is the io.ByteReader below miekg's lexer. It follows the same quotes, escapes, parentheses and comments as the
// lexer does, for the two things that the lexer does not tell: on which line an entry began, and every marked comment with
// its line. (ZoneParser.Comment loses comments inside parentheses when another token follows on the next line.)
//
// The lexer asks for bytes one by one and stops right behind the newline that ends a record, so when ZoneParser.Next
// returns, the last finished entry is that record.
type scanner struct {
	r        io.Reader
	file     string // shown in errors
	name     string // as the parser knows it
	progress func(int64)
	read     int64

	buf      []byte
	pos, end int
	prefix   string // delivered first and not counted
	ended    bool   // the end of r was reached
	failed   error  // what ended the reading before that: the parser may report a broken record instead
	lastByte byte

	line  int // of the next byte
	state lexState
	brace int
	open  int // line of the last opened quote
	size  int // octets in the current entry

	origin, ttl string // what the last $ORIGIN and $TTL say, to go on from after a syntax error

	cur, last entry
	onStray   func(mark)
}

// entry is a record or directive with all its lines, or a line that holds neither.
type entry struct {
	line      int // where it begins; 0: nothing read yet
	hasData   bool
	marks     []mark
	directive []byte // without comments, when the entry begins with $
}

// mark is the text of one ;@ comment, without the ;@.
type mark struct {
	text []byte
	at   finding.Position
}

type lexState uint8

const (
	plain lexState = iota
	escaped
	quoted
	quotedEscaped
	commentStart
	comment
	markText
)

func newScanner(r io.Reader, file, name string) *scanner {
	return &scanner{r: r, file: file, name: name, line: 1, buf: make([]byte, readSize), lastByte: '\n', cur: entry{line: 1}}
}

// ordinary tells the octets that change nothing in the plain state.
var ordinary = func() (t [256]bool) {
	for i := range t {
		t[i] = !strings.ContainsRune(" \t\r\n;\"()\\", rune(i)) || i > 127
	}
	return t
}()

// ReadByte returns the next octet. The file always ends with a newline, whether or not it was written: without it miekg's
// parser takes a record of no data at the end for a dynamic update and reports nothing.
func (s *scanner) ReadByte() (byte, error) {
	if s.prefix != "" {
		c := s.prefix[0]
		s.prefix = s.prefix[1:]
		return c, nil
	}
	if s.pos == s.end {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	c := s.buf[s.pos]
	s.pos++
	if s.size++; s.size > maxEntry {
		s.failed = errEntryTooLong
		return 0, s.failed
	}
	if s.state == plain && ordinary[c] && s.cur.directive == nil {
		if !s.cur.hasData {
			s.startData(c)
		}
		return c, nil
	}
	s.step(c)
	return c, nil
}

// Read exists for the io.Reader that NewZoneParser asks for; the lexer uses ReadByte.
func (s *scanner) Read(p []byte) (int, error) {
	for i := range p {
		c, err := s.ReadByte()
		if err != nil {
			return i, err
		}
		p[i] = c
	}
	return len(p), nil
}

func (s *scanner) fill() error {
	if s.ended {
		return io.EOF
	}
	for range 100 { // as bufio: a reader that returns nothing for ever is broken
		n, err := s.r.Read(s.buf)
		if n > 0 {
			s.pos, s.end = 0, n
			s.lastByte = s.buf[n-1]
			s.read += int64(n)
			if s.progress != nil {
				s.progress(s.read)
			}
			return nil
		}
		if errors.Is(err, io.EOF) {
			s.ended = true
			if s.lastByte == '\n' {
				return io.EOF
			}
			s.buf[0], s.pos, s.end = '\n', 0, 1
			return nil
		}
		if err != nil {
			s.failed = err
			return err
		}
	}
	s.failed = io.ErrNoProgress
	return s.failed
}

func (s *scanner) startData(c byte) {
	s.cur.hasData = true
	if c == '$' && s.size == 1 {
		s.cur.directive = make([]byte, 0, 64)
		s.keep(c)
	}
}

func (s *scanner) keep(c byte) {
	if s.cur.directive != nil && len(s.cur.directive) < maxDirective {
		s.cur.directive = append(s.cur.directive, c)
	}
}

// step is the lexer's state machine as far as it matters here.
func (s *scanner) step(c byte) {
	if c == '\n' {
		s.newline()
		return
	}
	switch s.state {
	case plain:
		s.stepPlain(c)
	case escaped:
		s.state = plain
		s.keep(c)
	case quotedEscaped:
		s.state = quoted
	case quoted:
		switch c {
		case '\\':
			s.state = quotedEscaped
		case '"':
			s.state = plain
		}
		s.keep(c)
	case commentStart:
		s.state = comment
		if c == '@' {
			s.state = markText
			s.cur.marks = append(s.cur.marks, mark{at: finding.Position{File: s.file, Line: s.line}})
		}
	case markText:
		// Grown by a few dozen octets in practice, and maxMark at most.
		if m := &s.cur.marks[len(s.cur.marks)-1]; len(m.text) <= maxMark {
			m.text = append(m.text, c)
		}
	case comment:
	}
}

func (s *scanner) stepPlain(c byte) {
	switch c {
	case ' ', '\t', '\r':
		s.keep(c)
		return
	case ';':
		s.state = commentStart
		return
	case '\\':
		s.state = escaped
	case '"':
		s.state, s.open = quoted, s.line
	case '(':
		s.brace++
	case ')':
		s.brace = max(0, s.brace-1)
	}
	if !s.cur.hasData {
		s.startData(c)
		return
	}
	s.keep(c)
}

func (s *scanner) newline() {
	s.line++
	switch s.state {
	case quoted:
		return
	case quotedEscaped:
		s.state = quoted
		return
	}
	s.state = plain
	if s.brace > 0 {
		// miekg's lexer drops a newline inside parentheses, so that "(a", "b)" on two lines without indentation would
		// become one token, where RFC 1035 5.1 has two.
		s.prefix = " "
		s.keep(' ')
		return
	}
	s.finish()
}

// finish ends the current entry.
func (s *scanner) finish() {
	if len(s.cur.marks) > 0 && !s.cur.takesMarks() && s.onStray != nil {
		for _, m := range s.cur.marks {
			if s.cur.hasData || looksLikeMark(m.text) {
				s.onStray(m)
			}
		}
	}
	s.direct()
	s.last = s.cur
	s.cur = entry{line: s.line}
	s.size = 0
}

// direct remembers what the directives say. A bad one is the parser's to complain of; the former value stands.
func (s *scanner) direct() {
	if s.cur.directive == nil {
		return
	}
	verb, args := s.cur.verb()
	if len(args) == 0 {
		return
	}
	switch verb {
	case "$TTL":
		if _, err := dns.NewRR(". " + args[0] + " A 0.0.0.0"); err == nil {
			s.ttl = args[0]
		}
	case "$ORIGIN":
		name := args[0]
		switch {
		case name == "@":
			return
		case !dns.IsFqdn(name) && s.origin == ".":
			name += "."
		case !dns.IsFqdn(name):
			name += "." + s.origin
		}
		if _, ok := dns.IsDomainName(name); ok {
			s.origin = name
		}
	}
}

// takesMarks tells whether the entry is one that makes records.
func (e *entry) takesMarks() bool {
	verb, _ := e.verb()
	return e.hasData && (verb == "" || verb == "$GENERATE")
}

// verb splits a directive into its upper-case verb and its arguments; it is "" for anything else. An owner name may
// begin with $ too, so only the parser's four directives count.
func (e *entry) verb() (string, []string) {
	f := strings.Fields(string(e.directive))
	if len(f) == 0 {
		return "", nil
	}
	switch v := strings.ToUpper(f[0]); v {
	case "$TTL", "$ORIGIN", "$INCLUDE", "$GENERATE":
		return v, f[1:]
	}
	return "", nil
}

// current is the entry that the parser has just been given: the finished one, or the unfinished one when the parser
// stopped inside it.
func (s *scanner) current() *entry {
	if s.size > 0 {
		return &s.cur
	}
	return &s.last
}

// resync leaves an entry that the parser could not read, and every following one that has no owner of its own: its owner
// would be that of the entry that failed.
func (s *scanner) resync() error {
	stray := s.onStray
	s.onStray = nil // the marks of skipped entries are not stray
	defer func() { s.onStray = stray }()
	for s.size > 0 {
		if _, err := s.ReadByte(); err != nil {
			return err
		}
	}
	for {
		c, err := s.peek()
		if err != nil {
			return err
		}
		if c != ' ' && c != '\t' {
			return nil
		}
		for first := true; first || s.size > 0; first = false {
			if _, err := s.ReadByte(); err != nil {
				return err
			}
		}
	}
}

func (s *scanner) peek() (byte, error) {
	if s.pos == s.end {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	return s.buf[s.pos], nil
}
