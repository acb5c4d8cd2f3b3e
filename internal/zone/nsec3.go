package zone

import (
	"crypto/sha1" //nolint:gosec // what RFC 5155 prescribes; there is no other
	"encoding/base32"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// maxIterations is the most additional iterations of an NSEC3 chain. Validators give up on more (RFC 9276 3.2), and each negative answer costs
// three hashes of so many rounds, so that a zone with more is refused when it is published, not half served.
const maxIterations = 100

// usable tells whether a chain with such an NSEC3PARAM can be served: SHA-1, and no flags (RFC 5155 4.1.2).
func usable(params string) bool { return params[0] == dns.SHA1 && params[1] == 0 }

// checkIterations checks the apex's NSEC3PARAM.
func checkIterations(origin Name, apex node) error {
	params := apex.sets().ofType(dns.TypeNSEC3PARAM)
	if params == "" {
		return nil
	}
	for rd := range params.each {
		if n := u16(rd.Wire, 2); usable(rd.Wire) && n > maxIterations {
			return &Error{origin, dns.TypeNSEC3PARAM, fmt.Sprintf("%d iterations, at most %d are served; sign with 0 (RFC 9276 3.1)", n, maxIterations)}
		}
	}
	return nil
}

// hidden tells whether the node is only there to hold an NSEC3. Its name is not one of the zone's (RFC 5155 7.2.8).
func (n node) hidden() bool {
	if !n.has(flagNSEC3) || n.children() > 0 {
		return false
	}
	for s := n.sets(); s != ""; s = s.rest() {
		if typ := s.typ(); typ != dns.TypeNSEC3 && typ != dns.TypeRRSIG {
			return false
		}
	}
	return true
}

// denyCloser proves which name is the closest encloser: by the NSEC3 that matches it, and the one that covers the next closer name (RFC 5155 7.2.1). With
// opt-out an encloser that exists only for unsigned cuts has none; then it is the closest one that has. It is returned.
func (a *answering) denyCloser(d denial, encloser, closer Name) Name {
	n := a.matching(d, encloser)
	for n == "" && len(encloser) > len(a.origin) {
		closer, encloser = encloser, encloser.Parent()
		n = a.matching(d, encloser)
	}
	a.show(n, dns.TypeNSEC3)
	a.show(a.covering(d, closer), dns.TypeNSEC3)
	return encloser
}

// matchOrDeny shows what types the name has, or, with opt-out, that it is not in the chain.
func (a *answering) matchOrDeny(d denial, name Name) {
	if n := a.matching(d, name); n != "" {
		a.show(n, dns.TypeNSEC3)
	} else if len(name) > len(a.origin) {
		a.denyCloser(d, name.Parent(), name)
	}
}

// matching is the node of the NSEC3 of a name, "" if the name has none.
func (a *answering) matching(d denial, name Name) node {
	n := a.lookup(a.hashed(d, name))
	if n == "" || !n.has(flagNSEC3) || !d.owns(n) {
		return ""
	}
	return n
}

// covering is the node of the NSEC3 whose span the name's hash is in. The last one's span goes round to the first hash.
func (a *answering) covering(d denial, name Name) node {
	if n := a.before(chainNSEC3, a.hashed(d, name), d.owns); n != "" {
		return n
	}
	return a.before(chainNSEC3, a.origin.Prepend(lastHash), d.owns)
}

// lastHash is the highest hash there is as a label.
var lastHash = strings.Repeat("v", base32Hash.EncodedLen(sha1.Size))

// owns tells whether the node's NSEC3 is one of this chain: a zone that changes its salt has two.
func (d denial) owns(n node) bool {
	wire := n.sets().ofType(dns.TypeNSEC3).at(0).Wire
	return wire[0] == d.params[0] && strings.HasPrefix(wire[2:], d.params[2:])
}

// base32Hash is RFC 4648's base32hex without padding, in lower case as all names here.
var base32Hash = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// hashed is the owner of the NSEC3 of a name (RFC 5155 5), "" if the zone's name is too long for any.
func (a *answering) hashed(d denial, name Name) Name {
	var buf [maxName + 255]byte
	salt := d.params[5:]
	hash := sha1.Sum(append(append(buf[:0], name...), salt...)) //nolint:gosec // see the import
	for range u16(d.params, 2) {
		hash = sha1.Sum(append(append(buf[:0], hash[:]...), salt...)) //nolint:gosec // see the import
	}
	var label [32]byte
	base32Hash.Encode(label[:], hash[:])
	return a.origin.Prepend(string(label[:]))
}
