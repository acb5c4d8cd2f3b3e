package zone

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// oracle answers by the letter of RFC 1034 4.3.2 and RFC 4592 from a map of strings: the slow obvious twin of Lookup. Names are in
// presentation form, lower case, with a dot at the end and no escapes.
type oracle struct {
	origin  string
	records map[string][]oracleRecord // by owner
}

type oracleRecord struct {
	rr  dns.RR
	pop string
}

// outcome is an answer in a form that can be compared and printed.
type outcome struct {
	rcode       int
	aa, steered bool
	kind        Kind
	outside     string
	answer      []string
	authority   []string
	additional  []string // sorted
}

func (o outcome) String() string {
	return fmt.Sprintf("%s rcode=%d aa=%t steered=%t outside=%q\n  answer\n    %s\n  authority\n    %s\n  additional\n    %s", o.kind, o.rcode, o.aa, o.steered,
		o.outside, strings.Join(o.answer, "\n    "), strings.Join(o.authority, "\n    "), strings.Join(o.additional, "\n    "))
}

func newOracle(origin string) *oracle { return &oracle{origin, map[string][]oracleRecord{}} }

func (o *oracle) add(rr dns.RR, pop string) {
	name := strings.ToLower(rr.Header().Name)
	o.records[name] = append(o.records[name], oracleRecord{rr, pop})
}

func inside(name, zone string) bool {
	return zone == "." || name == zone || strings.HasSuffix(name, "."+zone)
}

// exists: it owns something, or something below it does.
func (o *oracle) exists(name string) bool {
	for owner := range o.records {
		if inside(owner, name) {
			return true
		}
	}
	return false
}

func (o *oracle) of(name string, typ uint16) []oracleRecord {
	var out []oracleRecord
	for _, r := range o.records[name] {
		if r.rr.Header().Rrtype == typ {
			out = append(out, r)
		}
	}
	return out
}

// ancestors lists name and what is above it up to the origin, the highest first.
func (o *oracle) ancestors(name string) []string {
	out := []string{}
	for name != o.origin {
		out = append(out, name)
		_, rest, _ := strings.Cut(name, ".")
		if name = rest; name == "" {
			name = "."
		}
	}
	out = append(out, o.origin)
	slices.Reverse(out)
	return out
}

// source gives the owner whose records answer for name, and the cut or the DNAME's owner on the way if there is one.
func (o *oracle) source(name string, ds bool) (source, cut, dname string) {
	above := o.ancestors(name)
	for i, a := range above {
		if i > 0 && len(o.of(a, dns.TypeNS)) > 0 && (a != name || !ds) {
			return "", a, ""
		}
		if a != name && len(o.of(a, dns.TypeDNAME)) > 0 {
			return "", "", a
		}
	}
	if o.exists(name) {
		return name, "", ""
	}
	encloser := o.origin
	for _, a := range above {
		if o.exists(a) {
			encloser = a
		}
	}
	wildcard := "*." + strings.TrimPrefix(encloser, ".")
	if o.exists(wildcard) {
		return wildcard, "", ""
	}
	return "", "", ""
}

type oracleQuery struct {
	*oracle
	q   oracleQuestion
	out outcome
	has map[string]bool // "owner type" of what is in answer and additional
}

type oracleQuestion struct {
	name string
	typ  uint16
	do   bool
	pref []string // PoPs in order of preference
}

func (o *oracle) lookup(q oracleQuestion) outcome {
	x := &oracleQuery{oracle: o, q: q, has: map[string]bool{}}
	if !inside(q.name, o.origin) {
		return outcome{rcode: dns.RcodeRefused, kind: Outside}
	}
	chain := map[string]bool{}
	name := q.name
	for {
		source, cut, dname := o.source(name, q.typ == dns.TypeDS)
		if cut != "" {
			x.refer(cut)
			break
		}
		if source == "" && dname == "" {
			x.negative(NXDomain, dns.RcodeNameError)
			break
		}
		var target string
		if dname != "" {
			target = x.redirect(name, dname)
		} else {
			target = x.answer(name, source)
		}
		if target == "" {
			break
		}
		chain[name] = true
		if !inside(target, o.origin) {
			x.out.outside = target
			break
		}
		if chain[target] || len(chain) == 16 {
			break
		}
		name = target
	}
	slices.Sort(x.out.additional)
	return x.out
}

func (x *oracleQuery) answer(name, source string) (target string) {
	typ := x.q.typ
	if typ == dns.TypeANY && len(x.records[source]) > 0 {
		typ = x.anyType(source)
	}
	if len(x.of(source, typ)) == 0 {
		if typ = dns.TypeCNAME; len(x.of(source, typ)) == 0 {
			x.negative(NoData, dns.RcodeSuccess)
			return ""
		}
		target = "follow"
	}
	x.out.kind, x.out.aa = Success, true
	rrs, pop, steered := choose(x.of(source, typ), x.q.pref)
	x.out.steered = x.out.steered || steered
	if key := name + dns.Type(typ).String(); !x.has[key] { // RFC 2181 5: no set twice
		x.put(&x.out.answer, name, source, typ, rrs, pop, rrs[0].Header().Ttl)
		x.has[key] = true
	}
	for _, rr := range rrs {
		x.additional(name, rr, false)
	}
	if target != "" {
		target = strings.ToLower(rrs[0].(*dns.CNAME).Target)
	}
	return target
}

// redirect is RFC 6672 3.2 3C.
func (x *oracleQuery) redirect(name, owner string) (target string) {
	x.out.kind, x.out.aa = Success, true
	rrs := bare(x.of(owner, dns.TypeDNAME))
	ttl := rrs[0].Header().Ttl
	if !x.has[owner+"DNAME"] {
		x.put(&x.out.answer, owner, owner, dns.TypeDNAME, rrs, "", ttl)
		x.has[owner+"DNAME"] = true
	}
	target = strings.TrimSuffix(name, strings.TrimPrefix(owner, ".")) + strings.TrimPrefix(strings.ToLower(rrs[0].(*dns.DNAME).Target), ".")
	if len(target) > 254 { // the length octets take the dots' place, and the root its own
		x.out.kind, x.out.rcode = YXDomain, dns.RcodeYXDomain
		return ""
	}
	cname := &dns.CNAME{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: ttl}, Target: target}
	x.out.answer = append(x.out.answer, line(name, ttl, cname))
	if x.q.typ == dns.TypeCNAME {
		return ""
	}
	return target
}

func (x *oracleQuery) anyType(source string) uint16 {
	best, rank := uint16(0), 1<<30
	for _, r := range x.records[source] {
		t := r.rr.Header().Rrtype
		v := int(t)
		switch t {
		case dns.TypeSOA:
			v = 0
		case dns.TypeRRSIG, dns.TypeNSEC:
			v += 1 << 20
		}
		if v < rank {
			best, rank = t, v
		}
	}
	return best
}

// choose picks the variant: preferred PoP, default, first by name.
func choose(records []oracleRecord, pref []string) (rrs []dns.RR, pop string, steered bool) {
	byPoP := map[string][]dns.RR{}
	var pops []string
	for _, r := range records {
		if byPoP[r.pop] == nil {
			pops = append(pops, r.pop)
		}
		byPoP[r.pop] = append(byPoP[r.pop], r.rr)
	}
	slices.Sort(pops)
	pop = pops[0]
	steered = len(pops) > 1 || pop != ""
	if steered {
		for _, p := range slices.Backward(pref) {
			if byPoP[p] != nil {
				pop = p
			}
		}
	}
	return byPoP[pop], pop, steered
}

// put adds an RRset, and with DO its signatures, to a section.
func (x *oracleQuery) put(section *[]string, name, source string, typ uint16, rrs []dns.RR, pop string, ttl uint32) {
	lines, sigs := make([]string, 0, len(rrs)), []string{}
	if sig, ok := rrs[0].(*dns.RRSIG); ok {
		ttl = sig.OrigTtl
	}
	for _, rr := range rrs {
		lines = append(lines, line(name, ttl, rr))
	}
	if typ != dns.TypeRRSIG && x.q.do {
		for _, r := range x.of(source, dns.TypeRRSIG) {
			if r.pop == pop && r.rr.(*dns.RRSIG).TypeCovered == typ {
				sigs = append(sigs, line(name, ttl, r.rr))
			}
		}
	}
	slices.Sort(lines)
	slices.Sort(sigs)
	*section = append(append(*section, slices.Compact(lines)...), slices.Compact(sigs)...)
}

func line(name string, ttl uint32, rr dns.RR) string {
	rr = dns.Copy(rr)
	rr.Header().Name, rr.Header().Ttl = name, ttl
	return strings.ToLower(rr.String())
}

func (x *oracleQuery) negative(kind Kind, rcode int) {
	x.out.kind, x.out.rcode, x.out.aa = kind, rcode, true
	soa := x.of(x.origin, dns.TypeSOA)[0].rr.(*dns.SOA)
	x.put(&x.out.authority, x.origin, x.origin, dns.TypeSOA, []dns.RR{soa}, "", min(soa.Minttl, soa.Hdr.Ttl))
}

func (x *oracleQuery) refer(cut string) {
	x.out.kind = Delegation
	do := x.q.do
	rrs := bare(x.of(cut, dns.TypeNS))
	x.q.do = false // the NS of a cut are the child's: never signed here
	x.put(&x.out.authority, cut, cut, dns.TypeNS, rrs, "", rrs[0].Header().Ttl)
	x.q.do = do
	if ds := bare(x.of(cut, dns.TypeDS)); do && len(ds) > 0 {
		x.put(&x.out.authority, cut, cut, dns.TypeDS, ds, "", ds[0].Header().Ttl)
	}
	for _, rr := range rrs {
		x.additional(cut, rr, true)
	}
}

func bare(records []oracleRecord) []dns.RR {
	rrs := make([]dns.RR, 0, len(records))
	for _, r := range records {
		rrs = append(rrs, r.rr)
	}
	return rrs
}

// additional adds the addresses of the name in a record.
func (x *oracleQuery) additional(owner string, rr dns.RR, glue bool) {
	var target string
	switch rr := rr.(type) {
	case *dns.NS:
		target = rr.Ns
	case *dns.MX:
		target = rr.Mx
	case *dns.SRV:
		target = rr.Target
	case *dns.HTTPS:
		if target = rr.Target; target == "." && rr.Priority > 0 {
			target = owner
		}
	}
	target = strings.ToLower(target)
	if target == "" || target == "." || !inside(target, x.origin) {
		return
	}
	source, cut, _ := x.source(target, false)
	if cut != "" {
		if _, server := rr.(*dns.NS); !glue && !server {
			return
		}
		source, glue = target, true
	}
	for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
		records := x.of(source, typ)
		if len(records) == 0 || x.has[target+dns.Type(typ).String()] {
			continue
		}
		rrs, pop, steered := choose(records, nil)
		if steered && !glue {
			continue
		}
		x.has[target+dns.Type(typ).String()] = true
		x.put(&x.out.additional, target, source, typ, rrs, pop, rrs[0].Header().Ttl)
	}
}

// outcomeOf is a Result in the oracle's form. It goes through Fill, so that it is tested too.
func outcomeOf(res *Result, qname string) (outcome, error) {
	m := new(dns.Msg)
	if err := res.Fill(m, MustParseName(qname), qname); err != nil {
		return outcome{}, err
	}
	o := outcome{rcode: m.Rcode, aa: m.Authoritative, steered: res.Steered, kind: res.Kind}
	if res.Outside != "" {
		o.outside = res.Outside.String()
	}
	o.answer, o.authority, o.additional = lines(m.Answer), lines(m.Ns), lines(m.Extra)
	slices.Sort(o.additional)
	return o, nil
}

// lines prints records, those of each RRset sorted.
func lines(rrs []dns.RR) []string {
	var out []string
	for from := 0; from < len(rrs); {
		to := from
		var set []string
		for ; to < len(rrs) && rrs[to].Header().Rrtype == rrs[from].Header().Rrtype && rrs[to].Header().Name == rrs[from].Header().Name; to++ {
			set = append(set, strings.ToLower(rrs[to].String()))
		}
		slices.Sort(set)
		out, from = append(out, set...), to
	}
	return out
}
