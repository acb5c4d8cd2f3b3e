package zonefile

import (
	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/zone"
)

// signatures collects RRSIG records until the end of the file. Each has the TTL of what it covers (RFC 4034 3), so those of
// one owner differ in theirs, which is no fault (RFC 2181 5.2 speaks of RRsets, and an RRSIG belongs to the one it covers).
// A zone holds one TTL for all of them and serves each with that of what it covers. The least one is held, so that the
// order of the file does not matter.
type signatures map[signed]*signatureSet

type signed struct {
	owner zone.Name
	pop   string
}

type signatureSet struct {
	ttl   uint32
	rdata []zone.Rdata
	at    finding.Position
}

// add takes in an RRSIG, unless a zone cannot hold it: then it fails as a Builder would.
func (s *signatures) add(at finding.Position, origin zone.Name, rr dns.RR, set *settings) error {
	h := rr.Header()
	owner, err := zone.ParseName(h.Name)
	if err != nil {
		return err
	}
	_, wire, err := zone.RdataOf(rr)
	if err != nil {
		return err
	}
	rdata := zone.Rdata{Wire: wire, Weight: set.weight}
	if _, err := zone.NewRRset(owner, dns.TypeRRSIG, h.Ttl, set.pop, rdata); err != nil {
		return err
	}
	if !owner.IsSubdomainOf(origin) {
		return &zone.Error{Owner: owner, Type: dns.TypeRRSIG, Msg: "is not in the zone"}
	}
	if *s == nil {
		*s = signatures{}
	}
	key := signed{owner, set.pop}
	all := (*s)[key]
	if all == nil {
		all = &signatureSet{ttl: h.Ttl, at: at}
		(*s)[key] = all
	}
	all.ttl = min(all.ttl, h.Ttl)
	all.rdata = append(all.rdata, rdata)
	return nil
}

func (s signatures) addTo(b *zone.Builder, errs *finding.List) {
	for key, all := range s {
		set, err := zone.NewRRset(key.owner, dns.TypeRRSIG, all.ttl, key.pop, all.rdata...)
		if err == nil {
			err = b.Add(set)
		}
		if err != nil {
			errs.AddAt(all.at, "%w%s", err, zoneRemedy(err.Error()))
		}
	}
}
