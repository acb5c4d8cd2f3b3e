package zone

import "github.com/miekg/dns"

// maxChain is the most CNAME records, synthesised ones included, that an answer follows. BIND stops at 16; resolvers give up earlier.
const maxChain = 16

// Question is what Lookup answers. The class is IN.
type Question struct {
	Name Name
	Type uint16
	DO   bool // the client wants DNSSEC records (RFC 3225)
}

// Lookup answers q from the zone, by the algorithm of RFC 1034 4.3.2 as RFC 4592 clarifies it, into res, which it resets first. p chooses
// among variants; if it is nil the default variant is taken, otherwise the first. It allocates nothing once res has room. It may be called
// concurrently, each call with its own res.
//
//   - A chain of CNAMEs and DNAMEs (RFC 6672) is followed inside the zone, up to 16 CNAMEs. A chain that loops or is longer is answered as far
//     as it was followed, with NOERROR, as BIND does. A synthesised CNAME costs an allocation.
//   - A question of type ANY gets one RRset (RFC 8482 4.1): the SOA at the apex, elsewhere the one with the lowest type number that is neither
//     RRSIG nor NSEC, if there is one.
//   - With DO every RRset comes with its stored signatures, a referral with the child's DS, and what is not there with the zone's own NSEC (RFC 4035 3.1.3)
//     or NSEC3 (RFC 5155 7.2) that proves it; an NSEC3 proof costs up to five allocations.
//   - Positive answers carry no NS in the authority section.
//   - Additional addresses are never chosen by p: a steered name is left out, the client asks for it. Glue, which nobody else
//     can give, is taken from the default variant, otherwise the first.
func (s *Snapshot) Lookup(q Question, p Picker, res *Result) {
	res.Reset()
	if !q.Name.IsSubdomainOf(s.origin) {
		res.Rcode, res.Kind = dns.RcodeRefused, Outside
		return
	}
	a := answering{Snapshot: s, q: q, picker: p, res: res}
	for name := q.Name; name != ""; {
		name = a.step(name)
	}
	a.additional()
}

// answering is one Lookup under way.
type answering struct {
	*Snapshot
	q      Question
	picker Picker
	res    *Result
}

// step answers for one name of the chain and gives the next, "" at the end.
func (a *answering) step(name Name) (next Name) {
	f := a.locate(name, a.q.Type == dns.TypeDS)
	switch {
	case f.cut != "":
		a.refer(f.cut)
		return ""
	case f.dname != "":
		return a.redirect(name, f.dname)
	case f.node != "":
		return a.answer(name, &f)
	}
	a.negative(NXDomain)
	a.denyName(&f)
	return ""
}

// found is where the walk towards a name ended. The first three are "" if the name does not exist and no wildcard stands for it.
type found struct {
	node  node // owns the name's records: the name itself, or the wildcard that stands for it
	cut   node // the zone cut at or above the name
	dname node // the DNAME's owner above the name; what lies below it in the zone is occluded (RFC 6672 2.4)

	encloser node // the closest encloser of a name that does not exist, "" of others
	closer   Name // the next closer name: what would lie below the encloser (RFC 5155 1.3)
}

// locate walks from the apex towards the name; the first cut or DNAME on the way decides. With parentSide a cut at the name itself does not count: what the parent holds there is asked for.
func (s *Snapshot) locate(name Name, parentSide bool) found {
	var starts labelStarts
	i := starts.fill(name[:len(name)-len(s.origin)]) - 1
	encloser, hash := s.apex, s.originHash
	for ; i >= 0; i-- {
		if encloser.has(flagDNAME) {
			return found{dname: encloser}
		}
		h := hashChild(hash, name.label(starts[i]))
		below := s.find(h, "", name[starts[i]:])
		if below == "" || below.hidden() {
			return found{node: s.wildcard(encloser, hash), encloser: encloser, closer: name[starts[i]:]}
		}
		encloser, hash = below, h
		if below.has(flagNS) && (i > 0 || !parentSide) {
			return found{cut: below}
		}
	}
	return found{node: encloser}
}

// wildcard is the source of synthesis for a name whose closest encloser is given (RFC 4592 3.3.1), "" if there is none. Because empty
// non-terminals are nodes, they end the walk and so keep wildcards above them out (RFC 4592 2.2.2).
func (s *Snapshot) wildcard(encloser node, hash uint64) node {
	if encloser.children() == 0 {
		return ""
	}
	return s.find(hashChild(hash, "*"), "\x01*", encloser.name())
}

// answer answers from the node that owns the name's records, and gives the next name if that is a CNAME to be followed.
func (a *answering) answer(name Name, f *found) (next Name) {
	n, sets := f.node, f.node.sets()
	typ := a.q.Type
	if typ == dns.TypeANY && sets != "" {
		typ = anyType(sets)
	}
	if of := sets.ofType(typ); of != "" {
		if a.addAnswer(name, n, of) == "" {
			a.unavailable()
			return ""
		}
		a.positive()
		a.denyExact(f)
		return ""
	}
	if !n.has(flagCNAME) {
		a.negative(NoData)
		a.denyType(name, f)
		return ""
	}
	cname := a.addAnswer(name, n, sets.ofType(dns.TypeCNAME))
	if cname == "" {
		a.unavailable()
		return ""
	}
	a.denyExact(f)
	return a.follow(cname)
}

// anyType is the type that a question of type ANY is answered with.
func anyType(sets rrsets) uint16 {
	for s := sets; s != ""; s = s.rest() {
		if typ := s.typ(); typ != dns.TypeRRSIG && typ != dns.TypeNSEC {
			return typ
		}
	}
	return sets.typ()
}

// follow gives the target of the CNAME that was just added, if it is in the zone and the chain neither loops nor is too long.
func (a *answering) follow(cname rrsets) (next Name) {
	a.positive()
	target := Name(cname.at(0).Wire) // stored in lower case
	if !target.IsSubdomainOf(a.origin) {
		a.res.Outside = target
		return ""
	}
	links := 0
	for i := range a.res.Answer {
		if set := &a.res.Answer[i]; set.Type == dns.TypeCNAME {
			links++
			if set.Owner == target {
				return ""
			}
		}
	}
	if links >= maxChain {
		return ""
	}
	return target
}

// positive marks the answer as one from this zone. The AA bit belongs to the first name of the answer section (RFC 1035 4.1.1): a later
// referral does not take it away.
func (a *answering) positive() {
	a.res.Kind, a.res.Authoritative = Success, true
}

// unavailable answers that there is data, but none that may be handed out now. What of a chain was answered so far goes: a resolver would not use it.
func (a *answering) unavailable() {
	a.res.Reset()
	a.res.Kind, a.res.Rcode, a.res.Steered = Unavailable, dns.RcodeServerFailure, true
}

// addAnswer adds the variant for this client, and its signatures. It gives "", and adds nothing, if the client is to get none.
func (a *answering) addAnswer(name Name, n node, variants rrsets) rrsets {
	st := n.steering()
	set, choice := a.choose(n, &st, variants)
	if set == "" {
		return ""
	}
	if set.typ() == dns.TypeDNAME && has(a.res.Answer, name, dns.TypeDNAME) {
		return set // a chain may pass a DNAME twice, or end at one that it passed; no set comes twice (RFC 2181 5)
	}
	ttl := set.ttl()
	if choice.MaxTTL > 0 {
		ttl = min(ttl, choice.MaxTTL)
	}
	isSigned := signed(n.sets(), set.typ(), set.pop())
	a.res.Answer = append(a.res.Answer, Set{
		Owner: name, Type: set.typ(), TTL: ttl, set: set, picks: a.res.pick(&st, set, isSigned, choice.Seed),
	})
	if a.q.DO && isSigned {
		sigs := signatures(name, n.sets(), set)
		sigs.TTL = ttl // RFC 4034 3: the TTL of what they cover
		a.res.Answer = append(a.res.Answer, sigs)
	}
	return set
}

// choose picks one of the variants of a type, "" for none of them.
func (a *answering) choose(n node, st *Steering, variants rrsets) (rrsets, Choice) {
	steered := n.has(flagTagged) && (variants.first().pop() != "" || variants.rest() != "")
	if !steered && st.Choose != ChooseSticky {
		return variants.first(), Choice{}
	}
	a.res.Steered = true
	if a.picker == nil {
		return variants.first(), Choice{} // the default variant sorts first
	}
	if st.Map == "" && a.apex.has(flagSettings) {
		st.Map = a.apex.steering().Map
	}
	v, hasDefault := variantsOf(variants)
	c := a.picker.Pick(*st, v, hasDefault)
	switch {
	case c.Variant == Nothing:
		return "", c
	case c.Variant >= 0 && c.Variant < v.Len():
		return v.at(c.Variant), c
	}
	return variants.first(), c
}

// negative answers that there is no such name or type, with the SOA that says for how long to believe it.
func (a *answering) negative(kind Kind) {
	a.res.Kind, a.res.Authoritative = kind, true
	if kind == NXDomain {
		a.res.Rcode = dns.RcodeNameError // of the chain's last name, RFC 6604 3
	}
	sets := a.apex.sets()
	set := sets.ofType(dns.TypeSOA).first()
	rdata := set.at(0).Wire
	ttl := min(set.ttl(), u32(rdata, len(rdata)-4)) // RFC 2308 3
	a.res.Authority = append(a.res.Authority, Set{Owner: a.origin, Type: dns.TypeSOA, TTL: ttl, set: set})
	if a.q.DO && signed(sets, dns.TypeSOA, "") {
		sigs := signatures(a.origin, sets, set)
		sigs.TTL = min(sigs.TTL, ttl)
		a.res.Authority = append(a.res.Authority, sigs)
	}
}

// refer sends the client to the child's name servers.
func (a *answering) refer(cut node) {
	a.res.Kind = Delegation
	owner, sets := cut.name(), cut.sets()
	ns := sets.ofType(dns.TypeNS).first()
	a.res.Authority = append(a.res.Authority, Set{Owner: owner, Type: dns.TypeNS, TTL: ns.ttl(), set: ns})
	if !a.q.DO {
		return
	}
	if ds := sets.ofType(dns.TypeDS); ds != "" {
		a.res.Authority = append(a.res.Authority, Set{Owner: owner, Type: dns.TypeDS, TTL: ds.ttl(), set: ds})
		if signed(sets, dns.TypeDS, "") {
			a.res.Authority = append(a.res.Authority, signatures(owner, sets, ds))
		}
		return
	}
	a.denyDS(cut)
}

// signed tells whether the owner has a signature over the variant of the type. A variant's signatures carry its PoP tag.
func signed(sets rrsets, typ uint16, pop string) bool {
	if typ == dns.TypeRRSIG {
		return false
	}
	if sigs := sets.ofType(dns.TypeRRSIG).variant(pop); sigs != "" {
		for rd := range sigs.each {
			if u16(rd.Wire, 0) == typ {
				return true
			}
		}
	}
	return false
}

// signatures is the signatures over a set that is signed. Their TTL is the set's (RFC 4034 3).
func signatures(owner Name, sets rrsets, set rrsets) Set {
	return Set{
		Owner: owner, Type: dns.TypeRRSIG, TTL: set.ttl(), covers: set.typ(),
		set: sets.ofType(dns.TypeRRSIG).variant(set.pop()),
	}
}
