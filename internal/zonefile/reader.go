package zonefile

import (
	"errors"
	"hash/maphash"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/zone"
)

// fallbackTTL is what records without a TTL get after a syntax error, so that one missing $TTL is reported once.
const fallbackTTL = 3600

// reader is the state of one Read.
type reader struct {
	origin zone.Name

	main    *scanner
	inc     *includes
	parser  *dns.ZoneParser
	lastTTL uint32

	builder    *zone.Builder
	owners     map[zone.Name]*ownerSettings
	index      index
	signatures signatures
	hasSOA     bool // at the apex
	hasNS      bool // at the apex
	unread     bool // some record could not be read: it may be the one that is missing
	errs       *finding.List

	even     bool // whether PoPs with different types are an error
	knownPoP func(string) bool
	popNames []string
}

func newReader(src io.Reader, file string, origin zone.Name) *reader {
	shown := file
	if file == "" {
		shown = "zone of " + origin.String()
	}
	r := &reader{errs: &finding.List{File: shown}, origin: origin, builder: zone.NewBuilder(origin), owners: map[zone.Name]*ownerSettings{}}
	r.index.seed = maphash.MakeSeed()
	r.main = newScanner(src, shown, filepath.Base(file))
	r.main.onStray = r.stray
	r.inc = newIncludes(file, r.main, r.stray)
	r.main.origin = origin.String()
	r.parser = r.newParser(r.main.origin)
	return r
}

func (r *reader) newParser(origin string) *dns.ZoneParser {
	p := dns.NewZoneParser(r.main, origin, r.main.name)
	p.SetIncludeAllowed(true)
	p.SetIncludeFS(r.inc)
	return p
}

func (r *reader) stray(m mark) {
	r.errs.AddAt(m.at, "mark without a record (put it behind a record, or remove the @)")
}

// records reads to the end of the file. Its error is one of reading; faults of the text go to r.errs.
func (r *reader) records() error {
	for {
		r.inc.closed = r.inc.closed[:0]
		rr, ok := r.parser.Next()
		if ok {
			r.record(rr)
			continue
		}
		err := r.parser.Err()
		if err == nil {
			return nil
		}
		r.unread = true
		if sc := r.inc.broken(); sc != nil {
			if !errors.Is(sc.failed, errEntryTooLong) {
				return sc.failed
			}
			r.errs.AddAt(finding.Position{File: sc.file, Line: sc.cur.line}, "%w", errEntryTooLong)
			return nil
		}
		var syntax *dns.ParseError
		if !errors.As(err, &syntax) {
			return err
		}
		r.syntaxError(syntax)
		if done := r.recover(); done {
			return nil
		}
	}
}

// recover goes on behind a syntax error with a new parser: the old one's error is sticky.
func (r *reader) recover() (done bool) {
	for len(r.inc.stack) > 0 { // the rest of an included file is given up
		r.inc.stack[len(r.inc.stack)-1].Close()
	}
	if r.main.resync() != nil {
		return true // the end of the file, or an entry too long: whatever it is, a fault is already reported
	}
	r.parser = r.newParser(r.main.origin)
	r.parser.SetDefaultTTL(max(r.lastTTL, 1))
	if r.lastTTL == 0 {
		r.parser.SetDefaultTTL(fallbackTTL)
	}
	if r.main.ttl != "" {
		r.main.prefix = "$TTL " + r.main.ttl + "\n"
	}
	return false
}

// record takes in one record that the parser has read.
func (r *reader) record(rr dns.RR) {
	sc := r.inc.active()
	e := sc.current()
	h := rr.Header()
	r.lastTTL = h.Ttl
	at := finding.Position{File: sc.file, Line: e.line}
	if h.Name == "" {
		if r.errs.Len() == 0 {
			r.errs.AddAt(at, "record without an owner (begin the line with a name or @)")
		}
		return
	}
	r.apex(h)
	set, ok := r.settings(e)
	if !ok {
		return
	}
	if h.Class != dns.ClassINET {
		r.errs.AddAt(at, "class %s (remove it: zones are of class IN)", dns.Class(h.Class))
		return
	}
	if err := r.add(at, rr, &set); err != nil {
		r.refused(at, rr, set.pop, err)
		return
	}
	r.index.add(at, h, set.pop)
	if len(set.at) > 0 && set.steers() {
		r.steer(h.Name, &set)
	}
}

func (r *reader) add(at finding.Position, rr dns.RR, set *settings) error {
	if rr.Header().Rrtype == dns.TypeRRSIG {
		return r.signatures.add(at, r.origin, rr, set)
	}
	return r.builder.AddRR(rr, set.pop, set.weight)
}

// settings reads the marks of the record. A record with a faulty mark is left out: as part of another variant it would
// only make further errors.
func (r *reader) settings(e *entry) (set settings, ok bool) {
	if len(e.marks) == 0 {
		return set, true
	}
	before := r.errs.Len()
	set = parseMarks(e.marks, r.errs)
	r.checkPoP(&set)
	return set, r.errs.Len() == before
}

// apex remembers whether the zone has what it cannot be without.
func (r *reader) apex(h *dns.RR_Header) {
	has := &r.hasSOA
	switch h.Rrtype {
	case dns.TypeSOA:
	case dns.TypeNS:
		has = &r.hasNS
	default:
		return
	}
	if *has {
		return
	}
	name, err := zone.ParseName(h.Name)
	*has = err == nil && name == r.origin
}

func (r *reader) steer(owner string, set *settings) {
	name, err := zone.ParseName(owner)
	if err != nil {
		return // AddRR has taken it a moment ago
	}
	o := r.owners[name]
	if o == nil {
		o = &ownerSettings{at: map[string]finding.Position{}}
		r.owners[name] = o
	}
	o.merge(set, r.errs)
}

func (s *settings) steers() bool {
	for _, key := range ownerKeys {
		if _, ok := s.at[key]; ok {
			return true
		}
	}
	return false
}

func (r *reader) checkPoP(set *settings) {
	if r.knownPoP == nil || set.pop == "" || r.knownPoP(set.pop) {
		return
	}
	remedy := "add it to the PoP table first"
	if near := finding.Nearest(set.pop, r.popNames); near != "" {
		remedy = "did you mean " + near + "?"
	}
	r.errs.AddAt(set.at["pop"], "unknown PoP %.80s (%s)", set.pop, remedy)
}

// build ends the reading: the checks that need the whole zone.
func (r *reader) build() (*zone.Snapshot, error) {
	if !r.hasSOA && !r.unread {
		r.errs.Add(0, "no SOA record for %s (add one)", r.origin)
	}
	if !r.hasNS && !r.unread {
		r.errs.Add(0, "no NS record for %s (add at least one)", r.origin)
	}
	r.besideCNAME()
	r.signatures.addTo(r.builder, r.errs)
	for owner, o := range r.owners {
		if err := r.builder.Steer(owner, o.steer); err != nil {
			r.errs.AddAt(r.index.find(owner.String(), 0), "%w", err)
		}
	}
	if err := r.errs.Err(); err != nil {
		return nil, err
	}
	s, err := r.builder.Build()
	if err == nil {
		r.steering(s)
		if err := r.errs.Err(); err != nil {
			return nil, err
		}
		return s, nil
	}
	var at finding.Position
	if fault, ok := errors.AsType[*zone.Error](err); ok {
		at = r.index.find(fault.Owner.String(), fault.Type)
	}
	r.errs.AddAt(at, "%w%s", err, zoneRemedy(err.Error()))
	return nil, r.errs.Err()
}

// steering checks what steering settings and variants say together.
func (r *reader) steering(s *zone.Snapshot) {
	for owner, o := range r.owners {
		r.allowed(s, owner, o)
	}
	if !r.even {
		return
	}
	for u := range s.Uneven() {
		typ := dns.Type(u.Missing)
		r.errs.AddAt(r.index.find(u.Owner.String(), u.Missing), "%s has %s at one PoP and not at %s: its clients would get another PoP's (add it for %s, or remove it)",
			u.Owner, typ, u.MissingFrom, u.MissingFrom)
	}
}

// allowed reports the PoPs that pops= allows and that have nothing to answer with.
func (r *reader) allowed(s *zone.Snapshot, owner zone.Name, o *ownerSettings) {
	if o.steer.PoPs == "" {
		return
	}
	have := s.PoPsAt(owner)
	for pop := range strings.SplitSeq(o.steer.PoPs, ",") {
		if !slices.Contains(have, pop) {
			r.errs.AddAt(o.at["pops"], "pops= allows %s, which has no variant of %s (there is: %s)", pop, owner, strings.Join(have, ", "))
		}
	}
}
