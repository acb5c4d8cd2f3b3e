package zone

import "github.com/miekg/dns"

// additional adds the addresses that the answer's or referral's records name, as far as this zone has them (RFC 1034 4.3.2 step 6, RFC 2782,
// RFC 9460 4.2). Sets stop where the section is full enough for any message.
func (a *answering) additional() {
	for i := range a.res.Answer {
		a.targets(&a.res.Answer[i], false)
	}
	for i := range a.res.Authority {
		if set := &a.res.Authority[i]; set.Type == dns.TypeNS {
			a.targets(set, true)
		}
	}
}

// maxAdditional bounds the additional section: more names than that have no place beside the answer in any message.
const maxAdditional = 64

// targets adds the addresses of the names in the rdata of a set.
func (a *answering) targets(set *Set, glue bool) {
	at := targetAt(set.Type)
	if at < 0 {
		return
	}
	for wire := range set.Rdata {
		if len(a.res.Additional) >= maxAdditional {
			return
		}
		a.target(set, wire, at, glue)
	}
}

// target adds the addresses of the name at the given place of one rdata.
func (a *answering) target(set *Set, wire string, at int, glue bool) {
	name := targetName(wire[at:])
	if name == Root {
		if set.Type != dns.TypeSVCB && set.Type != dns.TypeHTTPS || u16(wire, 0) == 0 {
			return // no such service (RFC 2782, RFC 7505, RFC 9460 2.5.1)
		}
		name = set.Owner // RFC 9460 2.5.2
	}
	if name.IsSubdomainOf(a.origin) {
		a.addresses(name, glue, set.Type == dns.TypeNS)
	}
}

// targetName is the name at the front of checked rdata; it may be followed by parameters and be in upper case where RFC 4034 6.2 does not lower it.
func targetName(wire string) Name {
	end, mixed := 0, false
	for ; wire[end] != 0; end += 1 + int(wire[end]) {
		for _, c := range []byte(wire[end+1 : end+1+int(wire[end])]) {
			mixed = mixed || c != lower(c)
		}
	}
	if mixed {
		return lowerName([]byte(wire[:end+1]))
	}
	return Name(wire[:end+1])
}

// targetAt is where in the rdata the name stands whose addresses go along, -1 for types that have none.
func targetAt(typ uint16) int {
	switch typ {
	case dns.TypeNS:
		return 0
	case dns.TypeMX, dns.TypeSVCB, dns.TypeHTTPS:
		return 2
	case dns.TypeSRV:
		return 6
	}
	return -1
}

// addresses adds a name's A and AAAA, unless they are in the message already. Names below a cut are the child's: they go along as glue, with a referral
// and with the zone's own name servers (server), whose addresses nobody else may be able to give (RFC 8109 3.3 for the root).
func (a *answering) addresses(name Name, glue, server bool) {
	f := a.locate(name, false)
	n := f.node
	if f.cut != "" {
		if !glue && !server {
			return
		}
		n, glue = a.lookup(name), true
	}
	if n == "" {
		return
	}
	for _, typ := range [...]uint16{dns.TypeA, dns.TypeAAAA} {
		of := n.sets().ofType(typ)
		if of == "" || has(a.res.Answer, name, typ) || has(a.res.Additional, name, typ) {
			continue
		}
		set := of.first()
		if !glue && (set.pop() != "" || of.rest() != "") {
			continue // steered, see Lookup
		}
		a.res.Additional = append(a.res.Additional, Set{
			Owner: name, Type: typ, TTL: set.ttl(), set: set,
		})
		if a.q.DO && signed(n.sets(), typ, set.pop()) { // RFC 4035 3.1.1
			a.res.Additional = append(a.res.Additional, signatures(name, n.sets(), set))
		}
	}
}

func has(sets []Set, owner Name, typ uint16) bool {
	for i := range sets {
		if sets[i].Type == typ && sets[i].Owner == owner {
			return true
		}
	}
	return false
}
