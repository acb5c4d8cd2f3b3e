package fastpath

import (
	"slices"
	"time"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/metrics/vars"
	"github.com/coredns/coredns/plugin/pkg/rcode"

	"github.com/miekg/dns"
)

// tallies are what one worker has counted since it last told Prometheus: shared counters would be fought over by all cores for every query.
type tallies struct {
	hits    uint64
	misses  [missReasons]uint64
	batches uint64
	drops   uint64 // misses that the chain had no room for
	unsent  uint64 // replies that the kernel did not take

	zones  map[tallyKey]*tally
	last   *tally // of the last answer, as is its key: neighbours are often of one zone
	lastOf tallyKey
}

type tallyKey struct {
	block *block
	here  edge.ZoneAnswers
}

// tally is the answers from one zone in one server block.
type tally struct {
	kinds    [zone.Unavailable + 1]uint64
	requests [2][len(countedTypes) + 1]uint64 // by family, IPv4 first, and type
	rcodes   [16]uint64
	do       uint64
}

// countedTypes are those that the prometheus plugin counts apart (plugin/metrics/vars); the others are "other".
var countedTypes = [...]uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeCNAME, dns.TypeDNSKEY, dns.TypeDS, dns.TypeMX, dns.TypeNSEC3, dns.TypeNSEC, dns.TypeNS, dns.TypePTR,
	dns.TypeRRSIG, dns.TypeSOA, dns.TypeSRV, dns.TypeTXT, dns.TypeHTTPS, dns.TypeSVCB, dns.TypeANY,
}

// typeIndex maps types to their index in countedTypes. All of them are below 256.
var typeIndex = func() (t [256]uint8) {
	for i := range t {
		t[i] = uint8(len(countedTypes))
	}
	for i, typ := range countedTypes {
		t[typ] = uint8(i)
	}
	return t
}()

func typeLabel(i int) string {
	if i == len(countedTypes) {
		return "other"
	}
	return dns.Type(countedTypes[i]).String()
}

// count books an answer.
func (t *tallies) count(b *block, here edge.ZoneAnswers, q *query, kind zone.Kind, rc int, v6 bool) {
	t.hits++
	n := t.last
	if key := (tallyKey{b, here}); n == nil || key != t.lastOf {
		n = t.of(key)
	}
	n.kinds[kind]++
	n.rcodes[rc&15]++
	if q.do() {
		n.do++
	}
	family, typ := 0, len(countedTypes)
	if v6 {
		family = 1
	}
	if q.Type < 256 {
		typ = int(typeIndex[q.Type])
	}
	n.requests[family][typ]++
}

func (t *tallies) of(key tallyKey) *tally {
	n := t.zones[key]
	if n == nil {
		n = new(tally)
		if t.zones == nil {
			t.zones = map[tallyKey]*tally{}
		}
		t.zones[key] = n
	}
	t.last, t.lastOf = n, key
	return n
}

func (t *tallies) clear() { *t = tallies{} }

// flush tells Prometheus, and forgets zones that nobody asked for since the last time.
func (t *tallies) flush(server string) {
	hits.WithLabelValues(server).Add(float64(t.hits))
	batches.WithLabelValues(server).Add(float64(t.batches))
	drops.WithLabelValues(server).Add(float64(t.drops))
	unsent.WithLabelValues(server).Add(float64(t.unsent))
	for i, n := range t.misses {
		if n > 0 {
			misses.WithLabelValues(server, missReason(i).String()).Add(float64(n))
		}
	}
	t.hits, t.batches, t.drops, t.unsent, t.misses = 0, 0, 0, 0, [missReasons]uint64{}
	for key, n := range t.zones {
		if *n == (tally{}) {
			delete(t.zones, key)
			if t.last == n {
				t.last = nil
			}
			continue
		}
		n.flush(server, key)
		*n = tally{}
	}
}

func (n *tally) flush(server string, of tallyKey) {
	for kind, count := range n.kinds {
		if count > 0 {
			of.here.CountAnswers(server, zone.Kind(kind), count)
		}
	}
	if of.block.stock == nil {
		return
	}
	name := of.stockZone()
	for family := range n.requests {
		for typ, count := range n.requests[family] {
			if count > 0 {
				vars.RequestCount.WithLabelValues(server, name, "", "udp", [...]string{"1", "2"}[family], typeLabel(typ)).Add(float64(count))
			}
		}
	}
	for rc, count := range n.rcodes {
		if count > 0 {
			vars.ResponseRcode.WithLabelValues(server, name, "", rcode.ToString(rc), pluginName).Add(float64(count))
		}
	}
	if n.do > 0 {
		vars.RequestDo.WithLabelValues(server, name, "").Add(float64(n.do))
	}
}

// sample observes one answered query, the last one counted, for all that were since the last sample: the stock histograms take one observation at a
// time, and that costs more than the answer.
func (t *tallies) sample(server string, took time.Duration, query, reply int) {
	if t.last == nil || t.lastOf.block.stock == nil {
		return
	}
	name := t.lastOf.stockZone()
	vars.RequestDuration.WithLabelValues(server, name, "").Observe(took.Seconds())
	vars.RequestSize.WithLabelValues(server, name, "", "udp").Observe(float64(query))
	vars.ResponseSize.WithLabelValues(server, name, "", "udp").Observe(float64(reply))
}

// stockZone is the zone label of the prometheus plugin.
func (k tallyKey) stockZone() string {
	names := k.block.stock.ZoneNames()
	if !slices.Contains(names, k.here.Origin()) { // the common case, and cheaper than Matches
		if z := plugin.Zones(names).Matches(k.here.Origin()); z != "" {
			return z
		}
		return "."
	}
	return k.here.Origin()
}
