package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
)

// signatureOctets is the length of a signature of either algorithm (RFC 6605 4, RFC 8080 4).
const signatureOctets = 64

// key is a key pair of a zone.
type key struct {
	file      string // without .key or .private
	rdata     []byte // of the DNSKEY
	flags     uint16
	algorithm uint8
	tag       uint16
	private   crypto.PrivateKey
	times     times
}

// times is when a key is in use, as dnssec-keygen and dnssec-settime write it. The zero time is never.
type times struct {
	managed                                       bool // the file has times at all
	publish, activate, inactive, deleted, revoked time.Time
}

// published tells whether the key is one of the zone's.
func (k *key) published(now time.Time) bool {
	t := &k.times
	if !t.managed {
		return true
	}
	return (begun(t.publish, now) || begun(t.activate, now)) && !begun(t.deleted, now)
}

// active tells whether the key signs.
func (k *key) active(now time.Time) bool {
	t := &k.times
	if !t.managed {
		return true
	}
	return k.published(now) && begun(t.activate, now) && !begun(t.inactive, now)
}

func begun(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

// isKSK tells whether the key is meant to be a trust anchor (RFC 4034 2.1.1).
func (k *key) isKSK() bool { return k.flags&dns.SEP != 0 }

// sign signs the octets (RFC 6605 4, RFC 8080 4).
func (k *key) sign(data []byte) ([]byte, error) {
	switch private := k.private.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(private, data), nil
	case *ecdsa.PrivateKey:
		digest := sha256.Sum256(data)
		r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
		if err != nil {
			return nil, fmt.Errorf("sign with %s: %w", k.file, err)
		}
		out := make([]byte, signatureOctets)
		r.FillBytes(out[:signatureOctets/2])
		s.FillBytes(out[signatureOctets/2:])
		return out, nil
	}
	return nil, fmt.Errorf("sign with %s: %T signs nothing", k.file, k.private)
}

// matches tells whether both halves belong together, by a signature of the one that the other verifies.
func (k *key) matches(public *dns.DNSKEY) bool {
	zoneName, err := zone.ParseName(public.Hdr.Name)
	if err != nil {
		return false
	}
	g := &signing{origin: zoneName, policy: Policy{Now: time.Now(), Valid: DefaultValid}}
	set, err := zone.NewRRset(zoneName, dns.TypeTXT, 0, "", zone.Rdata{Wire: []byte("\x05probe")})
	if err != nil {
		return false
	}
	j := job{set: set, keys: []*key{k}}
	if j.run(g, true) != nil {
		return false
	}
	sigs, err := j.rrsig().RRs()
	if err != nil {
		return false
	}
	rrs, err := set.RRs()
	return err == nil && sigs[0].(*dns.RRSIG).Verify(public, rrs) == nil
}

// roles is who signs what at one time.
type roles struct {
	keys []*key // sign the DNSKEY set
	zone []*key // sign all else
}

// roles divides the work: keys with the SEP flag (KSK) sign the keys, the others (ZSK) the zone. Of an algorithm that has only one sort active, these keys
// do both, because every algorithm in the DNSKEY set must sign everything (RFC 4035 2.2).
func (ks *Keys) roles(now time.Time) (roles, error) {
	var r roles
	for _, algorithm := range []uint8{dns.ECDSAP256SHA256, dns.ED25519} {
		var ksk, zsk []*key
		for _, k := range ks.list {
			switch {
			case k.algorithm != algorithm || !k.active(now):
			case k.isKSK():
				ksk = append(ksk, k)
			default:
				zsk = append(zsk, k)
			}
		}
		r.zone = append(r.zone, firstOf(zsk, ksk)...)
		r.keys = append(r.keys, firstOf(ksk, zsk)...)
	}
	switch {
	case len(r.keys) == 0:
		return roles{}, errors.New("none of the keys is active now: see dnssec-settime -p all, or make one with dnssec-keygen -f KSK")
	case !hasKSK(r.keys):
		return roles{}, errors.New("no active key has the SEP flag (257), so no DS of the parent's could stand for one: make one with dnssec-keygen -f KSK")
	}
	return r, nil
}

func firstOf(a, b []*key) []*key {
	if len(a) > 0 {
		return a
	}
	return b
}

func hasKSK(keys []*key) bool {
	for _, k := range keys {
		if k.isKSK() {
			return true
		}
	}
	return false
}
