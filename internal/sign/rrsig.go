package sign

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
)

// job is a set that gets signatures.
type job struct {
	set  zone.RRset
	keys []*key

	sigs []zone.Rdata // one for each key
	kept int          // of these, were there before
}

// rrsig is the set's signatures. They carry the PoP of the variant that they are over.
func (j *job) rrsig() zone.RRset {
	return zone.RRset{Owner: j.set.Owner, Type: dns.TypeRRSIG, TTL: j.set.TTL, PoP: j.set.PoP, Rdata: j.sigs}
}

// signAll runs all jobs on all processors.
func (g *signing) signAll() error {
	workers := min(runtime.GOMAXPROCS(0), len(g.jobs))
	var next, done atomic.Int64
	errs := make([]error, workers)
	ended := make(chan struct{})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(g.jobs)) && errs[w] == nil; i = next.Add(1) - 1 {
				errs[w] = g.jobs[i].run(g, g.policy.All)
				done.Add(1)
			}
		})
	}
	go func() { wg.Wait(); close(ended) }()
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case <-tick.C:
			if g.policy.Progress != nil {
				g.policy.Progress(int(done.Load()), len(g.jobs))
			}
		case <-ended:
			tick.Stop()
			i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
			if i < 0 {
				return nil
			}
			return errs[i]
		}
	}
}

// run makes the set's signatures, or keeps those that there are.
func (j *job) run(g *signing, fresh bool) error {
	var had []zone.Rdata
	if !fresh {
		had = g.had(j.set)
	}
	j.sigs, j.kept = make([]zone.Rdata, 0, len(j.keys)), 0
	for _, k := range j.keys {
		header := g.header(j.set, k)
		if sig := g.reusable(had, header); sig != nil {
			j.sigs = append(j.sigs, zone.Rdata{Wire: sig})
			j.kept++
			continue
		}
		signature, err := k.sign(j.set.AppendWire(slices.Clone(header)))
		if err != nil {
			return err
		}
		j.sigs = append(j.sigs, zone.Rdata{Wire: append(header, signature...)})
	}
	return nil
}

// had is the signatures over the set in the version before, none if the set is not the same there.
func (g *signing) had(set zone.RRset) []zone.Rdata {
	if g.prev == nil {
		return nil
	}
	was, ok := g.prev.Get(set.Key())
	same := func(a, b zone.Rdata) bool { return bytes.Equal(a.Wire, b.Wire) } // a weight is not signed
	if !ok || was.TTL != set.TTL || !slices.EqualFunc(was.Rdata, set.Rdata, same) {
		return nil
	}
	sigs, _ := g.prev.Get(zone.Key{Owner: set.Owner, Type: dns.TypeRRSIG, PoP: set.PoP})
	return sigs.Rdata
}

// Where the fields of an RRSIG's rdata are (RFC 4034 3.1).
const (
	expirationAt = 8
	inceptionAt  = 12
	keyTagAt     = 16
)

func covered(rrsig []byte) uint16 { return binary.BigEndian.Uint16(rrsig) }

// expiration is when an RRSIG expires, near now (RFC 4034 3.1.5: serial number arithmetic).
func expiration(rrsig []byte, now time.Time) time.Time {
	return now.Add(time.Duration(int32(binary.BigEndian.Uint32(rrsig[expirationAt:])-seconds(now))) * time.Second) //nolint:gosec // RFC 1982
}

func seconds(t time.Time) uint32 { return uint32(t.Unix()) } //nolint:gosec // modulo 2³² as RFC 4034 3.1.5 has it

// reusable is the signature in had that has the header's fields and times that are good for a while; nil if there is none.
func (g *signing) reusable(had []zone.Rdata, header []byte) []byte {
	now := g.policy.Now
	for _, rd := range had {
		sig := rd.Wire
		if len(sig) <= len(header) || !bytes.Equal(sig[:expirationAt], header[:expirationAt]) || !bytes.Equal(sig[keyTagAt:len(header)], header[keyTagAt:]) {
			continue
		}
		begun := int32(binary.BigEndian.Uint32(sig[inceptionAt:])-seconds(now)) <= 0 //nolint:gosec // RFC 1982
		if left := expiration(sig, now).Sub(now); begun && left > g.policy.Refresh {
			return sig
		}
	}
	return nil
}

// header is an RRSIG's rdata without the signature.
func (g *signing) header(set zone.RRset, k *key) []byte {
	labels := set.Owner.Labels()
	if set.Owner.IsWildcard() {
		labels-- // RFC 4034 3.1.3
	}
	now := g.policy.Now
	b := make([]byte, 0, keyTagAt+2+len(g.origin)+signatureOctets)
	b = binary.BigEndian.AppendUint16(b, set.Type)
	b = append(b, k.algorithm, byte(labels)) //nolint:gosec // at most 127
	b = binary.BigEndian.AppendUint32(b, set.TTL)
	b = binary.BigEndian.AppendUint32(b, seconds(now.Add(g.policy.Valid-g.jitter(set))))
	b = binary.BigEndian.AppendUint32(b, seconds(now.Add(-backdate)))
	b = binary.BigEndian.AppendUint16(b, k.tag)
	return append(b, g.origin...)
}

// jitter is how much sooner than others the set's signatures expire. It depends on the set alone: sets that were signed together drift apart for good.
func (g *signing) jitter(set zone.RRset) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(set.Owner))
	_, _ = h.Write([]byte{byte(set.Type >> 8), byte(set.Type)}) //nolint:gosec // its two octets
	_, _ = h.Write([]byte(set.PoP))
	return time.Duration(h.Sum64()%1024) * (g.policy.Valid / jitterPart) / 1024
}

// report counts.
func (g *signing) report() Report {
	var r Report
	for i := range g.jobs {
		j := &g.jobs[i]
		r.Kept += j.kept
		r.Made += len(j.sigs) - j.kept
		for _, sig := range j.sigs {
			if end := expiration(sig.Wire, g.policy.Now); r.Expires.IsZero() || end.Before(r.Expires) {
				r.Expires = end
			}
		}
	}
	r.Expires = r.Expires.Truncate(time.Second).UTC()
	r.Again = r.Expires.Add(-g.policy.Refresh)
	return r
}
