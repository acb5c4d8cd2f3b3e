package zonefile

import (
	"errors"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/zone"
)

// syntaxError reports what miekg's parser could not read. ParseError keeps its parts to itself, so the text is taken apart:
// "file: dns: what: \"token\" at line: 3:14". Its line is that of the token in the file, except below $GENERATE, where it
// counts the generated lines.
func (r *reader) syntaxError(err *dns.ParseError) {
	text := err.Error()
	sc := r.inc.failed(text)
	text = strings.TrimPrefix(strings.TrimPrefix(text, sc.name+": "), "dns: ")
	e := sc.current()
	at := finding.Position{File: sc.file, Line: e.line}
	end := sc.line // the last line of the entry
	if sc.size == 0 || sc.ended && sc.pos == sc.end {
		end--
	}
	if i := strings.LastIndex(text, " at line: "); i >= 0 {
		line, _, _ := strings.Cut(text[i+len(" at line: "):], ":")
		if n, _ := strconv.Atoi(line); n > e.line && n <= end {
			if verb, _ := e.verb(); verb != "$GENERATE" {
				at.Line = n
			}
		}
		text = text[:i]
	}
	switch { // the lexer's own faults can come in place of any token
	case strings.HasSuffix(text, `: "unbalanced brace"`):
		at.Line, text = e.line, "parenthesis is not closed before the end of the file"
	case strings.HasSuffix(text, `: "extra closing brace"`):
		text = "closing parenthesis without an opening one"
	}
	if sc.state == quoted || sc.state == quotedEscaped {
		at.Line = sc.open
		text = "quote is not closed before the end of the file"
	}
	const maxText = 300 // a token can be as long as an entry
	if len(text) > maxText {
		text = text[:maxText] + "…"
	}
	r.errs.AddAt(at, "%s (%s)", text, syntaxRemedy(text))
}

// syntaxRemedies are looked up by what the parser's message begins with.
var syntaxRemedies = []struct{ prefix, remedy string }{
	{"missing TTL with no previous value", "begin the file with a $TTL line, or give this record a TTL"},
	{"not a TTL", "expected: owner, TTL, IN, type, data"},
	{"expecting RR type", "expected: owner, TTL, IN, type, data; an unknown type is written TYPEnnn"},
	{"unknown RR type", "an unknown type is written TYPEnnn, with data as RFC 3597 prescribes"},
	{"unknown class", "write IN or leave it out"},
	{"bad owner name", "labels are 1 to 63 octets, names at most 255"},
	{"bad initial origin name", "labels are 1 to 63 octets, names at most 255"},
	{"bad origin name", "labels are 1 to 63 octets, names at most 255"},
	{"failed to open", "the file must lie in the zone file's folder or below"},
	{"too deeply nested $INCLUDE", "at most 7 levels"},
	{"closing parenthesis", "remove it, or add the missing one"},
	{"parenthesis is not closed", "add the missing one"},
	{"quote is not closed", `add the missing "`},
	{"garbage after rdata", "remove it, or put a ; before it to make it a comment"},
	{"bad range in $GENERATE", "write start-stop or start-stop/step, at most 65536 steps"},
	{"unexpected newline", "the record's data is missing"},
}

func syntaxRemedy(text string) string {
	for _, s := range syntaxRemedies {
		if strings.HasPrefix(text, s.prefix) {
			return s.remedy
		}
	}
	if rest, ok := strings.CutPrefix(text, "bad "); ok {
		typ, _, _ := strings.Cut(rest, " ")
		if _, known := dns.StringToType[typ]; known {
			return "check this field of the " + typ + " record"
		}
	}
	return "check the line against RFC 1035 5.1"
}

// refused reports a record that the zone does not take.
func (r *reader) refused(at finding.Position, rr dns.RR, pop string, err error) {
	h := rr.Header()
	what, who := err.Error(), dns.Type(h.Rrtype).String()
	if fault, ok := errors.AsType[*zone.Error](err); ok {
		what = fault.Msg
	}
	if name, perr := zone.ParseName(h.Name); perr == nil {
		if !name.IsSubdomainOf(r.origin) {
			r.errs.AddAt(at, "%s is not in the zone %s (a name without a dot at its end is completed with $ORIGIN; remove the record otherwise)", name, r.origin)
			return
		}
		who = name.String() + " " + who
	}
	if ttl, first, ok := r.index.sameSet(h.Name, h.Rrtype, pop); ok && ttl != h.Ttl && h.Rrtype != dns.TypeRRSIG {
		r.errs.AddAt(at, "%s has ttl %d, but ttl %d on %s (all records of a name and type%s have one TTL: RFC 2181 5.2)",
			who, h.Ttl, ttl, first.SeenFrom(at), ofPoP(pop))
		return
	}
	if len(rdataOctets(rr)) == 0 {
		what = "no data (write it behind the type)"
	}
	r.errs.AddAt(at, "%s: %s%s", who, what, zoneRemedy(what))
}

// rdataOctets is the record's data, nil if it has none or cannot be packed: miekg's parser lets some types have none.
func rdataOctets(rr dns.RR) []byte {
	buf := make([]byte, dns.Len(rr)+1)
	end, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return buf // not empty, but faulty
	}
	name, err := dns.PackDomainName(rr.Header().Name, buf, 0, nil, false)
	if err != nil {
		return buf
	}
	return buf[min(name+10, end):end]
}

// zoneRemedy is what helps against a fault that internal/zone found, "" where its message says so itself.
func zoneRemedy(fault string) string {
	for _, z := range []struct{ fault, remedy string }{
		{"more than one record", " (keep one)"},
		{"with weight", " (keep one of the weights)"},
		{"SOA below the apex", " (remove it, or make it a zone of its own)"},
		{"cannot hold this type", " (remove the record)"},
		{"no message", " (use fewer or shorter records)"},
		{"malformed rdata", " (check the data against the type's format)"},
	} {
		if strings.Contains(fault, z.fault) {
			return z.remedy
		}
	}
	return ""
}

func ofPoP(pop string) string {
	if pop == "" {
		return ""
	}
	return " of PoP " + pop
}

// besideCNAME reports every record that stands beside a CNAME of the same owner (RFC 1034 3.6.2). Signatures and their
// denials may (RFC 4035 2.5).
func (r *reader) besideCNAME() {
	if !r.index.cnames {
		return
	}
	first := map[uint64]finding.Position{}
	for _, e := range r.index.entries {
		if _, ok := first[e.owner]; e.typ == dns.TypeCNAME && !ok {
			first[e.owner] = r.index.position(e)
		}
	}
	for _, e := range r.index.entries {
		cname, ok := first[e.owner]
		switch e.typ {
		case dns.TypeCNAME, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeKEY, dns.TypeSIG, dns.TypeNXT:
			continue
		}
		if ok {
			at := r.index.position(e)
			r.errs.AddAt(at, "%s beside the CNAME of %s (an owner with a CNAME has nothing else: remove one of them)",
				dns.Type(e.typ), cname.SeenFrom(at))
		}
	}
}
