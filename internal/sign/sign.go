// Package sign makes a zone a signed one (RFC 4035 2), or signs a signed zone's changes.
//
// Load the keys with [LoadKeys] and call [Sign]. Every variant of a steered name is signed by itself, and its signatures carry its PoP; what proves that
// something is not there (NSEC, NSEC3) is the same for all clients.
//
// What signing made before (RRSIG, NSEC, NSEC3, NSEC3PARAM) is always derived anew from the content, so that a zone that was signed step by step is the
// zone that signing at once gives, but for the times in its signatures. Only signatures are kept, as long as they hold: a small change stays small.
package sign

import (
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
)

// What a Policy's zero values stand for.
const (
	DefaultValid = 14 * 24 * time.Hour
	refreshPart  = 4 // a signature is made anew in the last quarter of its time
	jitterPart   = 8 // signatures expire spread over the last eighth, so that not all are made anew at once
	// backdate is how long ago a new signature began to hold, for validators whose clocks are behind.
	backdate = time.Hour
	// dnskeyTTL is the DNSKEY set's in seconds, unless the zone has one already.
	dnskeyTTL = 3600
)

// Policy says how to sign.
type Policy struct {
	Valid    time.Duration // how long a signature holds, at most; 0 for DefaultValid
	Refresh  time.Duration // signatures that expire sooner than this are made anew; 0 for a quarter of Valid
	Denial   Denial
	All      bool // keep no signature
	Now      time.Time
	Progress func(done, total int) // may be nil; called from one goroutine
}

// Report says what Sign did.
type Report struct {
	Made    int       `json:"made"`    // signatures
	Kept    int       `json:"kept"`    // signatures that hold on
	Expires time.Time `json:"expires"` // when the first signature expires
	Again   time.Time `json:"again"`   // when the first signature is due to be made anew
}

// Sign signs content. prev is the signed version that clients have now, nil if there is none: where a record set is the same, its signatures are
// taken over as they are, unchecked, if a key of today made them and they don't expire soon. If nothing has to change the result is prev itself.
//
// The serial is content's if that is newer than prev's, otherwise prev's plus 1.
func Sign(content, prev *zone.Snapshot, keys *Keys, p Policy) (*zone.Snapshot, Report, error) {
	if err := p.complete(); err != nil {
		return nil, Report{}, err
	}
	g := &signing{origin: content.Origin(), prev: prev, policy: p}
	if err := g.collect(content, keys); err != nil {
		return nil, Report{}, err
	}
	if err := g.signAll(); err != nil {
		return nil, Report{}, err
	}
	signed, err := g.build(content)
	if err != nil {
		return nil, Report{}, err
	}
	if prev == nil {
		return signed, g.report(), nil
	}
	if signed.Sum() == prev.Sum() {
		return prev, g.report(), nil
	}
	signed, err = g.stamp(signed, nextSerial(content.Serial(), prev.Serial()))
	return signed, g.report(), err
}

func (p *Policy) complete() error {
	if p.Valid == 0 {
		p.Valid = DefaultValid
	}
	if p.Refresh == 0 {
		p.Refresh = p.Valid / refreshPart
	}
	const least = time.Minute
	if p.Valid < least || p.Valid > 10*365*24*time.Hour {
		return fmt.Errorf("signatures valid for %s: want a minute to ten years", p.Valid)
	}
	if most := p.Valid - p.Valid/jitterPart; p.Refresh < 0 || p.Refresh >= most {
		return fmt.Errorf("refresh %s before the end of signatures that hold for %s: they hold at least %s, refresh must be less", p.Refresh, p.Valid, most)
	}
	return nil
}

// nextSerial is what a new version gets (RFC 1982).
func nextSerial(own, prev uint32) uint32 {
	if zone.SerialNewer(own, prev) {
		return own
	}
	return max(prev+1, 1) // 0 means none
}

// signing is one Sign under way.
type signing struct {
	origin zone.Name
	prev   *zone.Snapshot
	policy Policy
	roles  roles

	plain []zone.RRset // goes into the zone without signatures
	jobs  []job
}

// collect lists what goes into the zone: content, keys and denials.
func (g *signing) collect(content *zone.Snapshot, keys *Keys) error {
	var err error
	if g.roles, err = keys.roles(g.policy.Now); err != nil {
		return err
	}
	owners := ownersOf(content)
	if len(owners) == 0 || owners[0].name != g.origin {
		return errors.New("the zone has nothing at its apex")
	}
	apex := &owners[0]
	if soa := apex.set(dns.TypeSOA); soa != nil && g.prev != nil {
		*soa = withSerial(*soa, g.prev.Serial()) // so that it shows whether anything else has changed
	}
	if err := apex.addKeys(keys, g.policy.Now); err != nil {
		return err
	}
	denials, err := g.denials(owners, content)
	if err != nil {
		return err
	}
	for i := range owners {
		g.take(&owners[i])
	}
	for _, set := range denials {
		g.jobs = append(g.jobs, job{set: set, keys: g.roles.zone})
	}
	return nil
}

// take sorts an owner's sets: what the zone has authority over is signed (RFC 4035 2.2).
func (g *signing) take(o *owner) {
	for _, set := range o.sets {
		switch {
		case !o.signs(set.Type):
			g.plain = append(g.plain, set)
		case o.name == g.origin && signedByKSK(set.Type):
			g.jobs = append(g.jobs, job{set: set, keys: g.roles.keys})
		default:
			g.jobs = append(g.jobs, job{set: set, keys: g.roles.zone})
		}
	}
}

// signedByKSK lists what the parent's DS vouches for directly (RFC 4035 2.2, RFC 7344 4.1).
func signedByKSK(typ uint16) bool {
	return typ == dns.TypeDNSKEY || typ == dns.TypeCDS || typ == dns.TypeCDNSKEY
}

// build makes the zone of all that was collected.
func (g *signing) build(content *zone.Snapshot) (*zone.Snapshot, error) {
	b := zone.NewBuilder(g.origin)
	owners := map[zone.Name]bool{}
	for _, set := range g.plain {
		owners[set.Owner] = true
		if err := b.Add(set); err != nil {
			return nil, err
		}
	}
	for i := range g.jobs {
		j := &g.jobs[i]
		owners[j.set.Owner] = true
		if err := b.Add(j.set); err != nil {
			return nil, err
		}
		if err := b.Add(j.rrsig()); err != nil {
			return nil, err
		}
	}
	for name, st := range content.Steerings() {
		if !owners[name] {
			continue // all that it had left were signatures
		}
		if err := b.Steer(name, st); err != nil {
			return nil, err
		}
	}
	return b.Build()
}

// stamp gives the zone its serial, which changes the SOA and its signatures only.
func (g *signing) stamp(s *zone.Snapshot, serial uint32) (*zone.Snapshot, error) {
	for i := range g.jobs {
		j := &g.jobs[i]
		if j.set.Type != dns.TypeSOA {
			continue
		}
		j.set = withSerial(j.set, serial)
		if err := j.run(g, true); err != nil {
			return nil, err
		}
		sigs, _ := s.Get(j.rrsig().Key())
		others := sigs.Rdata[:0:0]
		for _, rd := range sigs.Rdata {
			if covered(rd.Wire) != dns.TypeSOA {
				others = append(others, rd)
			}
		}
		sigs.Rdata = append(others, j.sigs...)
		return s.Apply(zone.Delta{Put: []zone.RRset{j.set, sigs}})
	}
	return nil, errors.New("the zone has no SOA")
}
