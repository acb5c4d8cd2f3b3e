package zone

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of RFC 1035 2.3.4.
const (
	maxName  = 255 // octets of a name in wire form, its root label included
	maxLabel = 63  // octets of one label
)

// Root is the name of the DNS root.
const Root Name = "\x00"

// Name is an absolute domain name in uncompressed wire form and lower case: length octet, label, …, zero octet. It is comparable, and a suffix of
// it that begins at a length octet is the name of an ancestor, so that walking up a name costs no copy. The zero value "" is no name; methods
// treat it as a name that contains nothing and is contained nowhere.
type Name string

var (
	errNameEmpty = errors.New("empty name")
	errLabelLen  = errors.New("label is not 1 to 63 octets long")
	errNameLen   = errors.New("name is longer than 255 octets")
	errEscape    = errors.New(`bad escape: want \DDD up to 255 or \X`)
)

// ParseName reads a name in presentation form (RFC 1035 5.1 with \DDD and \X escapes), taking it as absolute whether or not it ends in a dot.
func ParseName(presentation string) (Name, error) {
	n, err := parseName(presentation)
	if err != nil {
		return "", fmt.Errorf("parse name %.300q: %w", presentation, err)
	}
	return n, nil
}

// MustParseName is ParseName for constants and tests; it panics when s is not a name.
func MustParseName(s string) Name {
	n, err := ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

func parseName(s string) (Name, error) {
	switch s {
	case "":
		return "", errNameEmpty
	case ".":
		return Root, nil
	}
	var buf [maxName]byte
	start, end := 0, 1 // buf[start] is the length octet of the open label, buf[end] the next free octet
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '.' {
			if !closeLabel(buf[:], start, end) {
				return "", errLabelLen
			}
			start, end = end, end+1
			if end > maxName {
				return "", errNameLen
			}
			continue
		}
		if c == '\\' {
			var skip int
			if c, skip = unescape(s[i+1:]); skip == 0 {
				return "", errEscape
			}
			i += skip
		}
		if end >= maxName {
			return "", errNameLen
		}
		buf[end] = lower(c)
		end++
	}
	if end > start+1 { // no dot at the end
		if !closeLabel(buf[:], start, end) {
			return "", errLabelLen
		}
		start = end
	}
	if start >= maxName {
		return "", errNameLen
	}
	buf[start] = 0
	return Name(buf[:start+1]), nil
}

func closeLabel(buf []byte, start, end int) bool {
	n := end - start - 1
	if n < 1 || n > maxLabel {
		return false
	}
	buf[start] = byte(n)
	return true
}

// unescape decodes what follows a backslash and tells how many octets of s it took, 0 if it is malformed.
func unescape(s string) (c byte, octets int) {
	if s == "" {
		return 0, 0
	}
	if !digit(s[0]) {
		return s[0], 1
	}
	if len(s) < 3 || !digit(s[1]) || !digit(s[2]) {
		return 0, 0
	}
	v := int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0')
	if v > 255 {
		return 0, 0
	}
	return byte(v), 3 //nolint:gosec // just checked
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// lower folds ASCII only, as RFC 4343 wants.
func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// nameFromWire takes one uncompressed name from the front of b, in lower case, and tells how many octets it took.
func nameFromWire(b []byte) (Name, int, error) {
	n, err := wireNameLen(b)
	if err != nil {
		return "", 0, err
	}
	for i := range n { // a length octet is at most 63, which lower leaves alone
		if b[i] != lower(b[i]) {
			return lowerName(b[:n]), n, nil
		}
	}
	return Name(b[:n]), n, nil
}

// wireNameLen is the length of the uncompressed name at the front of b.
func wireNameLen(b []byte) (int, error) {
	for i := 0; i < len(b) && i < maxName; i += int(b[i]) + 1 {
		switch {
		case b[i] == 0:
			return i + 1, nil
		case b[i] > maxLabel:
			return 0, errors.New("compressed or extended label")
		}
	}
	if len(b) >= maxName {
		return 0, errNameLen
	}
	return 0, errors.New("name runs past the end")
}

func lowerName(wire []byte) Name {
	var buf [maxName]byte
	for i, c := range wire {
		buf[i] = lower(c)
	}
	return Name(buf[:len(wire)])
}

// String gives the presentation form with a dot at the end, escaped as miekg/dns does it.
func (n Name) String() string {
	if len(n) <= 1 {
		return "."
	}
	var b strings.Builder
	b.Grow(len(n))
	for len(n) > 1 {
		label := n[1 : 1+n[0]]
		for i := range len(label) {
			writeEscaped(&b, label[i])
		}
		b.WriteByte('.')
		n = n[1+len(label):]
	}
	return b.String()
}

func writeEscaped(b *strings.Builder, c byte) {
	switch {
	case c < ' ' || c > '~':
		b.Write([]byte{'\\', '0' + c/100, '0' + c/10%10, '0' + c%10})
	case strings.IndexByte(`. '@;()"\`, c) >= 0:
		b.Write([]byte{'\\', c})
	default:
		b.WriteByte(c)
	}
}

// Parent is the name without its first label; the root is its own parent.
func (n Name) Parent() Name {
	if len(n) <= 1 {
		return n
	}
	return n[1+n[0]:]
}

// Labels counts the labels, the root's not included.
func (n Name) Labels() int {
	c := 0
	for len(n) > 1 {
		n = n[1+n[0]:]
		c++
	}
	return c
}

// IsSubdomainOf tells whether n is o or lies below it.
func (n Name) IsSubdomainOf(o Name) bool {
	if o == "" {
		return false
	}
	for len(n) > len(o) {
		n = n[1+n[0]:]
	}
	return n == o
}

// IsWildcard tells whether the first label is a single asterisk (RFC 4592 2.1.1).
func (n Name) IsWildcard() bool { return len(n) > 2 && n[0] == 1 && n[1] == '*' }

// Prepend gives the name with label (raw octets, not escaped) in front, lower-cased; "" if the label or the name would be too long or the label empty.
func (n Name) Prepend(label string) Name {
	if n == "" || len(label) < 1 || len(label) > maxLabel || len(n)+1+len(label) > maxName {
		return ""
	}
	var buf [maxName]byte
	buf[0] = len8(label)
	for i := range len(label) {
		buf[1+i] = lower(label[i])
	}
	end := 1 + len(label) + copy(buf[1+len(label):], n)
	return Name(buf[:end])
}

// Compare orders names canonically (RFC 4034 6.1): label by label from the root, an ancestor before its descendants.
func (n Name) Compare(o Name) int {
	var ns, os labelStarts
	i, j := ns.fill(n), os.fill(o)
	for i > 0 && j > 0 {
		i--
		j--
		if c := strings.Compare(n.label(ns[i]), o.label(os[j])); c != 0 {
			return c
		}
	}
	return i - j
}

// labelStarts holds where the labels of a name begin, first label first. A name has at most 127 labels.
type labelStarts [maxName / 2]uint8

// fill returns the number of labels, the root's not included.
func (s *labelStarts) fill(n Name) int {
	c := 0
	for i := 0; i < len(n) && n[i] != 0; i += 1 + int(n[i]) {
		s[c] = uint8(i)
		c++
	}
	return c
}

// label is the label whose length octet is at start, without that octet.
func (n Name) label(start uint8) string {
	i := int(start)
	return string(n[i+1 : i+1+int(n[i])])
}
