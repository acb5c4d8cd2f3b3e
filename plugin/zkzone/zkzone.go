// Package zkzone is a CoreDNS plugin that serves zones followed live from a
// popdns store (a ZooKeeper ensemble or a directory). Every query is answered
// from memory; the store is never asked for one.
package zkzone

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/metrics"
	"github.com/coredns/coredns/plugin/pkg/fall"
	"github.com/coredns/coredns/request"

	"github.com/miekg/dns"
)

const pluginName = "zkzone"

// ZkZone serves the zones of one server block. It is the block's
// edge.Provider.
type ZkZone struct {
	Next plugin.Handler
	Fall fall.F

	cfg            edge.Config
	origins        []string // as in the Corefile: absolute, lower case
	catalogued     bool     // not the origins are served, but what the catalog lists at or below them
	zoneMetrics    bool     // catalogued zones have series of their own
	startupTimeout time.Duration
	maxStale       time.Duration // 0: serve for ever

	hold      *hold
	startOnce sync.Once
	startErr  error
	source    *edge.Source
	table     atomic.Pointer[table] // set by EdgeSource, before serving

	catalog *edge.Catalog // set at start, if catalogued
	known   atomic.Bool   // the catalog was read and is in the table
	stock   zoneNamer     // the prometheus plugin; nil if catalogued zones don't go there

	mu  sync.Mutex // one change of the table after the other
	out *outgoing  // nil without the transfer plugin
}

var (
	_ plugin.Handler = (*ZkZone)(nil)
	_ edge.Provider  = (*ZkZone)(nil)
)

// Name implements plugin.Handler.
func (z *ZkZone) Name() string { return pluginName }

// errNoData makes a SERVFAIL explain itself in the errors plugin's log.
var (
	errNoData = errors.New("no data for the zone yet: neither the store nor the disk cache had any")
	errStale  = errors.New("data older than max_stale: the store has been out of reach too long")
)

// results are reused: a Result's slices grow once to the size that answers
// need.
var results = sync.Pool{New: func() any { return new(zone.Result) }}

// ServeDNS implements plugin.Handler.
func (z *ZkZone) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	state := request.Request{W: w, Req: r}
	qname, err := zone.ParseName(state.QName())
	if err != nil {
		return dns.RcodeFormatError, nil
	}
	qtype := state.QType()
	here := z.table.Load().answers(qname, qtype)
	if here == nil {
		if z.Next == nil {
			// Nobody here knows the name. That is REFUSED, as from any authority, not a
			// failure, which would be logged for each stranger's question.
			return dns.RcodeRefused, nil
		}
		return plugin.NextOrFailure(pluginName, z.Next, ctx, w, r)
	}
	if r.Opcode != dns.OpcodeQuery {
		return dns.RcodeNotImplemented, nil
	}
	if qtype == dns.TypeAXFR || qtype == dns.TypeIXFR {
		// The transfer plugin stands above us; a transfer that comes this far
		// was not allowed there.
		return dns.RcodeRefused, nil
	}

	version, err := z.version(here)
	if err != nil {
		return dns.RcodeServerFailure, fmt.Errorf("zone %s: %w", here.origin, err)
	}

	res := results.Get().(*zone.Result)
	defer results.Put(res)
	version.Value.Lookup(zone.Question{Name: qname, Type: qtype, DO: state.Do()}, edge.PickerFrom(ctx), res)
	here.counted.of(metrics.WithServer(ctx), res.Kind).Inc()
	if res.Kind == zone.NXDomain && z.Next != nil && z.Fall.Through(state.Name()) {
		return plugin.NextOrFailure(pluginName, z.Next, ctx, w, r)
	}

	m := new(dns.Msg)
	m.SetReply(r)
	if err := res.Fill(m, qname, state.QName()); err != nil {
		return dns.RcodeServerFailure, fmt.Errorf("zone %s: %s %s: %w", here.origin, state.QName(), state.Type(), err)
	}
	if res.Outside != "" {
		chase(ctx, state, res.Outside.String(), m)
		fit(m, &state)
	} else if !fitsSurely(res, qname, r, &state) {
		fit(m, &state)
	}
	if err := w.WriteMsg(m); err != nil {
		return dns.RcodeServerFailure, err
	}
	return dns.RcodeSuccess, nil
}

// version returns what to answer from: one atomic load, so that an answer
// belongs to exactly one version of the zone.
func (z *ZkZone) version(here *served) (*dataset.Version[*zone.Snapshot], error) {
	v := here.data.Current()
	if v == nil {
		return nil, errNoData
	}
	if z.maxStale > 0 {
		now := time.Now()
		if now.Sub(z.source.Freshness(here.data, v, now).LastContact) > z.maxStale {
			return nil, errStale
		}
	}
	return v, nil
}

// CacheBypassZones keeps the stock cache plugin in front of us from storing
// our answers: it would replay one client's PoP to another. It is found by
// its signature (cache.ZoneBypasser), once, when the Corefile is read: so it is
// all that may come to lie at or below the block's names.
func (z *ZkZone) CacheBypassZones() []string { return z.origins }

// Origins implements edge.Provider.
func (z *ZkZone) Origins() []zone.Name {
	names := make([]zone.Name, 0, len(z.origins))
	for _, o := range z.origins {
		names = append(names, zone.MustParseName(o))
	}
	return names
}

// Match implements edge.Provider.
func (z *ZkZone) Match(name zone.Name) (zone.Name, *edge.Dataset[*zone.Snapshot]) {
	if here := z.table.Load().match(name); here != nil {
		return here.name, here.data
	}
	return "", nil
}

// EdgeSource implements edge.Provider.
func (z *ZkZone) EdgeSource() (*edge.Source, error) {
	z.startOnce.Do(func() {
		src, err := sources.acquire(z.cfg)
		if err != nil {
			z.startErr = err
			return
		}
		z.source = src
		zones := map[zone.Name]*served{}
		if !z.catalogued {
			for _, name := range z.Origins() { // checked by parse
				zones[name] = &served{by: z, name: name, origin: name.String(), label: name.String(), data: src.Zone(name), counted: newAnswerCounters(name.String())}
			}
		}
		z.table.Store(newTable(zones))
		z.startErr = z.hold.keep(z.cfg)
	})
	return z.source, z.startErr
}
