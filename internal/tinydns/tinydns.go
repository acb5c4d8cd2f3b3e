// Package tinydns reads the data files of D. J. Bernstein's tinydns-data (djbdns 1.05), client locations included, as zones.
//
// # Lines
//
//	Zfqdn:mname:rname:ser:ref:ret:exp:min:ttl:timestamp:lo   SOA
//	.fqdn:ip:x:ttl:timestamp:lo                              SOA, NS and, with ip, A
//	&fqdn:ip:x:ttl:timestamp:lo                              NS and, with ip, A
//	=fqdn:ip:ttl:timestamp:lo                                A and PTR
//	+fqdn:ip:ttl:timestamp:lo                                A
//	@fqdn:ip:x:dist:ttl:timestamp:lo                         MX and, with ip, A
//	'fqdn:s:ttl:timestamp:lo                                 TXT, in strings of 127 octets
//	^fqdn:p:ttl:timestamp:lo                                 PTR
//	Cfqdn:p:ttl:timestamp:lo                                 CNAME
//	:fqdn:n:rdata:ttl:timestamp:lo                           type n
//	%lo:ipprefix                                             clients of location lo
//	-…  #…                                                   disabled, comment
//
// A server name x without a dot means x.ns.fqdn (x.mx.fqdn in an @ line). Octal escapes hold in names, in s and in rdata.
// Defaults are tinydns-data's: a TTL of 259200 s for NS, 2560 s for SOA, 86400 s for the rest; the data file's time of change
// as serial, 16384 2048 1048576 2560 for the other fields of an SOA. Of several SOA records the first one counts, as it does in tinydns.
//
// # Locations become variants
//
// tinydns shows a client in location lo the records marked lo together with the unmarked ones. A variant here replaces the
// default variant. So the variant for lo holds both: the records of lo and the unmarked ones of that name and type. The PoP's
// name is the location's code in lower case unless a mapping is given. The % lines are returned as a table from prefix to
// code, from which the caller can make the resolver plane of a map.
//
// # Zones
//
// A data file holds many zones. Reading one keeps what lies at or below its origin, except what belongs to another zone (a name with
// an SOA of its own): of that only the delegation stays, NS and DS with the addresses that the NS records need. What was left out is counted.
//
// # Stricter than tinydns-data
//
// What tinydns-data passes over in silence is an error here, with line and remedy: an address, number or location that is not one, fields
// too many (an unescaped colon), a timestamp (the record would appear or vanish by the clock, which no versioned zone can do), an SOA or NS record
// for one location only, the SRV and IPv6 lines of patched versions (their fields differ from patch to patch: use a : line).
//
// # What differs when served
//
// Records of one name and type with several TTLs get the least (RFC 2181 5.2; counted), where tinydns gives
// each record its own, or all addresses that of the last. Wildcards follow RFC 4592, where tinydns lets
// *.example.org match below other existing names too. A name whose records are all for other locations does not exist for a tinydns
// client; here it gets another PoP's answer rather than none.
package tinydns

import (
	"io"
	"net/netip"
	"time"

	"github.com/popdns/popdns/internal/zone"
)

// Locations tells the location of a client: prefix (/0, /8, /16, /24 or /32, the longest one wins) to location code. An empty code
// stands for clients of no location.
type Locations map[netip.Prefix]string

// Conversion is a zone of a data file and what else the file said.
type Conversion struct {
	Snapshot  *zone.Snapshot
	Locations Locations         // all % lines of the file
	PoPs      map[string]string // location code to PoP name, for every location with a record in the zone
	Skipped   int               // records outside the zone, or of other zones below it
	Lowered   int               // variants whose records had several TTLs
	SOAs      int               // further SOA records of the zone, of which only the first counts
}

// Read converts the zone origin of a data file; see [Convert].
func Read(r io.Reader, file string, origin zone.Name, opts ...Option) (*zone.Snapshot, error) {
	c, err := Convert(r, file, origin, opts...)
	if err != nil {
		return nil, err
	}
	return c.Snapshot, nil
}

// Convert converts the zone origin of a data file. The name file only stands in errors. Faults of the file are reported as *[finding.List],
// all that were found; an error of r as it is, wrapped. A line may be 1 MiB long at most.
func Convert(r io.Reader, file string, origin zone.Name, opts ...Option) (*Conversion, error) {
	p := newParser(file, origin)
	p.modified = modTime(r)
	for _, o := range opts {
		o(p)
	}
	if err := p.lines(r); err != nil {
		return nil, err
	}
	return p.assemble()
}

// Option changes how [Read] and [Convert] read.
type Option func(*parser)

// WithPoPs names the PoP of each location code; a location in the zone that is not among them is an error. Two locations with
// one PoP are joined.
func WithPoPs(byCode map[string]string) Option {
	return func(p *parser) { p.popOf = byCode }
}

// WithModTime sets the file's time of change, from which SOA records without a serial get theirs. The default is what
// the reader's Stat method says (that of an os.File), or serial 1 when it has none.
func WithModTime(t time.Time) Option {
	return func(p *parser) { p.modified = t }
}
