package zonefile

import (
	"hash/maphash"
	"math"
	"slices"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/finding"
)

// index remembers on which line each record stood, in 24 octets a record, for the errors that show only when another record
// or the end of the file is seen. It is searched from end to end, which only happens for an error.
type index struct {
	seed    maphash.Seed
	entries []indexed
	files   []string
	cnames  bool
}

// indexed is one record, or a run of records of the same owner, type and PoP. Names are held as hashes under a random seed: a
// collision could at worst put a wrong line number into an error.
type indexed struct {
	owner uint64
	ttl   uint32
	line  uint32
	typ   uint16
	file  uint16
	pop   uint32
}

func (x *index) add(at finding.Position, h *dns.RR_Header, pop string) {
	e := indexed{owner: x.hash(h.Name), ttl: h.Ttl, typ: h.Rrtype, file: x.fileID(at.File), pop: x.hashPoP(pop)}
	if at.Line <= math.MaxUint32 { // beyond it lines are not told
		e.line = uint32(at.Line) //nolint:gosec // checked above
	}
	if n := len(x.entries); n > 0 {
		last := x.entries[n-1]
		if last.owner == e.owner && last.typ == e.typ && last.pop == e.pop {
			return
		}
	}
	x.cnames = x.cnames || e.typ == dns.TypeCNAME
	x.entries = append(x.entries, e)
}

// hash folds the case of a presentation name. "\119ww" and "www" differ, which costs an error its line and no more.
func (x *index) hash(name string) uint64 {
	var buf [256]byte
	b := buf[:0]
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return maphash.Bytes(x.seed, b)
}

func (x *index) hashPoP(pop string) uint32 {
	if pop == "" {
		return 0
	}
	return uint32(maphash.String(x.seed, pop)) //nolint:gosec // the low half of a hash
}

func (x *index) fileID(name string) uint16 {
	if n := len(x.files); n > 0 && x.files[n-1] == name {
		return uint16(n - 1) //nolint:gosec // bounded below
	}
	i := slices.Index(x.files, name)
	if i < 0 {
		if i = len(x.files); i == math.MaxUint16 {
			return math.MaxUint16 - 1 // more files than anyone includes: the last one takes the blame
		}
		x.files = append(x.files, name)
	}
	return uint16(i) //nolint:gosec // bounded above
}

func (x *index) position(e indexed) finding.Position {
	return finding.Position{File: x.files[e.file], Line: int(e.line)}
}

// find is the position of the first record of an owner and type (0: any type), the zero position if there is none.
func (x *index) find(owner string, typ uint16) finding.Position {
	h := x.hash(owner)
	for _, e := range x.entries {
		if e.owner == h && (typ == 0 || e.typ == typ) {
			return x.position(e)
		}
	}
	return finding.Position{}
}

// sameSet is the first record of an owner, type and PoP.
func (x *index) sameSet(owner string, typ uint16, pop string) (ttl uint32, at finding.Position, ok bool) {
	h, p := x.hash(owner), x.hashPoP(pop)
	for _, e := range x.entries {
		if e.owner == h && e.typ == typ && e.pop == p {
			return e.ttl, x.position(e), true
		}
	}
	return 0, finding.Position{}, false
}
