package zone

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"github.com/miekg/dns"
)

var errRdata = errors.New("malformed rdata")

// RdataOf gives a record's type and its rdata as a zone stores it: uncompressed, with the names that RFC 4034 6.2 lists in lower case.
func RdataOf(rr dns.RR) (typ uint16, rdata []byte, err error) {
	typ = rr.Header().Rrtype
	buf := make([]byte, dns.Len(rr)+1)
	end, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil { // dns.Len is an estimate for some types
		buf = make([]byte, maxName+10+maxMessage)
		if end, err = dns.PackRR(rr, buf, 0, nil, false); err != nil {
			return 0, nil, fmt.Errorf("pack rdata of %s: %w", dns.Type(typ), err)
		}
	}
	n, err := wireNameLen(buf[:end])
	if err != nil {
		return 0, nil, fmt.Errorf("pack owner of %s: %w", dns.Type(typ), err)
	}
	rdata, err = canonicalRdata(typ, buf[n+10:end])
	return typ, rdata, err
}

// unpackRR makes a record from its parts. The rdata is not kept.
func unpackRR(owner string, typ uint16, ttl uint32, rdata []byte) (dns.RR, error) {
	if len(rdata) > math.MaxUint16 {
		return nil, errRdata
	}
	h := dns.RR_Header{Name: owner, Rrtype: typ, Class: dns.ClassINET, Ttl: ttl, Rdlength: uint16(len(rdata))} //nolint:gosec // just checked
	if len(rdata) == 0 {                                                                                       // miekg/dns takes this for a record of an update (RFC 2136) and leaves the type out
		return nil, errRdata
	}
	rr, end, err := dns.UnpackRRWithHeader(h, rdata, 0)
	if err != nil {
		return nil, fmt.Errorf("unpack rdata: %w", err)
	}
	if end != len(rdata) {
		return nil, errRdata
	}
	return rr, nil
}

// layout lists the parts of a type's rdata, for types that hold names or that are checked faster this way than by unpacking.
type layout []int

// Parts of a layout; a positive number is that many octets.
const (
	partName    = -1 // a name, stored in lower case (RFC 4034 6.2, RFC 6840 5.1)
	partString  = -2 // a character string (RFC 1035 3.3)
	partStrings = -3 // one or more character strings up to the end
	partRest    = -4 // anything up to the end
)

// layouts covers every type of RFC 4034 6.2 that is still in use and the commonest others. Types not listed are checked by unpacking.
var layouts = [...]layout{
	dns.TypeA:      {4},
	dns.TypeAAAA:   {16},
	dns.TypeNS:     {partName},
	dns.TypeMD:     {partName},
	dns.TypeMF:     {partName},
	dns.TypeCNAME:  {partName},
	dns.TypeMB:     {partName},
	dns.TypeMG:     {partName},
	dns.TypeMR:     {partName},
	dns.TypePTR:    {partName},
	dns.TypeDNAME:  {partName},
	dns.TypeSOA:    {partName, partName, 20},
	dns.TypeMINFO:  {partName, partName},
	dns.TypeRP:     {partName, partName},
	dns.TypeMX:     {2, partName},
	dns.TypeAFSDB:  {2, partName},
	dns.TypeRT:     {2, partName},
	dns.TypeKX:     {2, partName},
	dns.TypePX:     {2, partName, partName},
	dns.TypeSRV:    {6, partName},
	dns.TypeNAPTR:  {4, partString, partString, partString, partName},
	dns.TypeRRSIG:  {18, partName, partRest},
	dns.TypeSIG:    {18, partName, partRest},
	dns.TypeTXT:    {partStrings},
	dns.TypeSPF:    {partStrings},
	dns.TypeHINFO:  {partString, partString},
	dns.TypeDNSKEY: {4, partRest},
	dns.TypeDS:     {4, partRest},
}

// canonicalRdata checks that rdata is what the type prescribes and puts the names in it that RFC 4034 6.2 lists into lower case. It returns
// rdata itself when nothing had to change.
func canonicalRdata(typ uint16, rdata []byte) ([]byte, error) {
	if len(rdata) > maxMessage {
		return nil, errRdata
	}
	var parts layout
	if int(typ) < len(layouts) {
		parts = layouts[typ]
	}
	if parts == nil {
		return rdata, checkByUnpacking(typ, rdata)
	}
	out, pos := rdata, 0
	for _, p := range parts {
		n, err := partLen(p, rdata[pos:])
		if err != nil {
			return nil, err
		}
		if p == partName {
			out = lowered(out, rdata, pos, pos+n)
		}
		pos += n
	}
	if pos != len(rdata) {
		return nil, errRdata
	}
	return out, nil
}

// checkByUnpacking checks rdata with miekg/dns. Packing it again must give the same: otherwise it held a compressed name, which means
// something else in every message, or had more than one form.
func checkByUnpacking(typ uint16, rdata []byte) error {
	rr, err := unpackRR(".", typ, 0, rdata)
	if err != nil {
		return err
	}
	const before = 1 + 10 // the root as owner, type, class, TTL and length
	buf := make([]byte, before+len(rdata)+maxName)
	end, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil || !bytes.Equal(buf[before:end], rdata) {
		return errRdata
	}
	return nil
}

// partLen is the number of octets that part p takes at the front of b.
func partLen(p int, b []byte) (int, error) {
	switch p {
	case partName:
		n, err := wireNameLen(b)
		if err != nil {
			return 0, fmt.Errorf("name in rdata: %w", err)
		}
		return n, nil
	case partRest:
		if len(b) == 0 {
			return 0, errRdata
		}
		return len(b), nil
	case partString:
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return 0, errRdata
		}
		return 1 + int(b[0]), nil
	case partStrings:
		for n := 0; n < len(b); {
			n += 1 + int(b[n])
			if n == len(b) {
				return n, nil
			}
		}
		return 0, errRdata
	}
	if len(b) < p {
		return 0, errRdata
	}
	return p, nil
}

// lowered is out with octets [from, to) in lower case, where out is either orig or a copy of it made earlier: orig is never written to.
func lowered(out, orig []byte, from, to int) []byte {
	for i := from; i < to; i++ {
		c := lower(out[i])
		if c == out[i] {
			continue
		}
		if &out[0] == &orig[0] {
			out = append([]byte(nil), orig...)
		}
		out[i] = c
	}
	return out
}
