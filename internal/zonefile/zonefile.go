// Package zonefile reads and writes zones as RFC 1035 zone files.
//
// Steering is written in marked comments, so that any other name server still loads the same file (it would answer with the
// union of all variants):
//
//	www   60 IN A 192.0.2.10      ;@ pop=ams1
//	www   60 IN A 198.51.100.10   ;@ pop=iad2 weight=10
//	www   60 IN A 203.0.113.10    ; the default variant
//	www   60 IN AAAA 2001:db8::10 ;@ pop=ams1 map=edge answers=2 choose=weighted
//
// pop (a PoP's name) and weight (1 to 2³²-1) belong to the record. map (a map's name), answers (at most so many records in an
// answer) and choose (all or weighted) belong to the owner: one of its records says them, or several say the same. A mark
// begins its comment; it may stand in any comment of a record that goes over several lines in parentheses, and on a
// $GENERATE line it holds for every record that the line makes. A commented-out record is not a mark, whatever it holds.
//
// The rest is miekg/dns's parser: $ORIGIN, $TTL and $GENERATE (whose records get 3600 s where they name no TTL, whatever $TTL
// says), class IN only. $INCLUDE is followed when the file was named by a path, and only within that file's folder.
package zonefile

import (
	"fmt"
	"io"

	"github.com/popdns/popdns/internal/zone"
)

// Read reads a zone from r. The name file stands in errors; unless it is "", "-" or begins with "<" it is also the path
// whose folder $INCLUDE is relative to (links and .. do not lead out of it).
//
// A fault of the file is reported as *[finding.List], which lists all that were found; an error of r as it is, wrapped. After a
// record that cannot be read, records that take their owner from it are passed over.
//
// Memory besides the snapshot: 24 octets a record, and at most 1 MiB for the longest record.
func Read(r io.Reader, file string, origin zone.Name, opts ...Option) (*zone.Snapshot, error) {
	rd := newReader(r, file, origin)
	for _, o := range opts {
		o(rd)
	}
	defer rd.inc.close()
	if err := rd.records(); err != nil {
		return nil, fmt.Errorf("read %s: %w", rd.errs.File, err)
	}
	return rd.build()
}

// Option changes how [Read] reads.
type Option func(*reader)

// WithPoPs makes a pop= that known does not know an error. The names, which may be nil, serve to suggest the one that was
// probably meant.
func WithPoPs(known func(name string) bool, names []string) Option {
	return func(r *reader) { r.knownPoP, r.popNames = known, names }
}

// WithEvenPoPs makes it an error that the PoPs of one name have different types. What it finds is reported only if nothing else is wrong.
func WithEvenPoPs() Option {
	return func(r *reader) { r.even = true }
}

// WithProgress calls fn with the octets read so far from the file itself, once per 64 KiB or less, on Read's goroutine.
func WithProgress(fn func(octets int64)) Option {
	return func(r *reader) { r.main.progress = fn }
}
