// Package xfrtest holds what the tests of zone transfers share: a secondary that trusts nobody, and random histories of a steered zone with
// the plainest possible idea of what a secondary must hold of each version.
package xfrtest

import (
	"fmt"
	"maps"

	"github.com/miekg/dns"
)

// A Secondary is a zone as transfers made it: a set of records in presentation form. Its zero value is empty.
type Secondary struct {
	Records map[string]bool
	Serial  uint32
	soa     string
}

// Apply takes all records of one transfer, an AXFR or an IXFR (RFC 1995 4), and changes the zone as they say. It returns an error, and changes nothing,
// unless the transfer is well formed and each of its differences fits: what goes was there, what comes was not.
func (s *Secondary) Apply(rrs []dns.RR) error {
	if len(rrs) == 0 {
		return fmt.Errorf("empty transfer")
	}
	newest, ok := rrs[0].(*dns.SOA)
	if !ok {
		return fmt.Errorf("first record is %s, want the SOA", rrs[0])
	}
	if len(rrs) == 1 {
		if newest.Serial != s.Serial {
			return fmt.Errorf("a single SOA with serial %d for a secondary at %d", newest.Serial, s.Serial)
		}
		return nil
	}
	body, last := rrs[1:len(rrs)-1], rrs[len(rrs)-1]
	if last.String() != newest.String() {
		return fmt.Errorf("last record is %s, want %s", last, newest)
	}
	next := &Secondary{Records: map[string]bool{}}
	if len(body) > 0 && body[0].Header().Rrtype == dns.TypeSOA {
		next = &Secondary{maps.Clone(s.Records), s.Serial, s.soa}
		for len(body) > 0 {
			var err error
			if body, err = next.difference(body); err != nil {
				return err
			}
		}
	} else if err := next.add(rrs[:len(rrs)-1]); err != nil {
		return err
	}
	if next.soa != newest.String() {
		return fmt.Errorf("ends with %s, want %s", next.soa, newest)
	}
	*s = *next
	return nil
}

// difference applies one difference sequence and returns what follows it.
func (s *Secondary) difference(rrs []dns.RR) (rest []dns.RR, err error) {
	if rrs[0].String() != s.soa {
		return nil, fmt.Errorf("difference begins with %s, the zone has %s", rrs[0], s.soa)
	}
	n := untilSOA(rrs[1:]) + 1
	for _, rr := range rrs[:n] {
		if !s.Records[rr.String()] {
			return nil, fmt.Errorf("%s goes but is not there", rr)
		}
		delete(s.Records, rr.String())
	}
	s.soa = ""
	rrs = rrs[n:]
	if len(rrs) == 0 {
		return nil, fmt.Errorf("difference has no new SOA")
	}
	n = untilSOA(rrs[1:]) + 1
	return rrs[n:], s.add(rrs[:n])
}

func untilSOA(rrs []dns.RR) int {
	for i, rr := range rrs {
		if rr.Header().Rrtype == dns.TypeSOA {
			return i
		}
	}
	return len(rrs)
}

func (s *Secondary) add(rrs []dns.RR) error {
	for _, rr := range rrs {
		if s.Records[rr.String()] {
			return fmt.Errorf("%s comes but is there", rr)
		}
		s.Records[rr.String()] = true
		if soa, ok := rr.(*dns.SOA); ok {
			if s.soa != "" {
				return fmt.Errorf("a second SOA: %s", soa)
			}
			s.soa, s.Serial = soa.String(), soa.Serial
		}
	}
	return nil
}
