// Package freshness is a CoreDNS plugin that proves how old the served data
// are: a TXT record, made anew for every query, whose first string is the time
// at which the pipeline's writing end last stamped the data.
package freshness

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/ecs"
	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/request"

	"github.com/miekg/dns"
)

const pluginName = "freshness"

// defaultLabel is the record's name below each zone.
const defaultLabel = "_freshness"

// Freshness answers for the freshness names of one server block.
type Freshness struct {
	Next plugin.Handler

	label  string   // as configured: relative, or absolute with a trailing dot
	bypass []string // names that no cache may hold

	source *edge.Source  // set at start, as are zones and text
	zones  edge.Provider // the block's zkzone
	wire   zone.Name     // label
	text   string        // label as questions have it: what a relative one's names begin with, or all of an absolute one
	now    func() time.Time
}

var (
	_ plugin.Handler = (*Freshness)(nil)
	_ edge.Claimant  = (*Freshness)(nil)
)

// Name implements plugin.Handler.
func (f *Freshness) Name() string { return pluginName }

// ServeDNS implements plugin.Handler.
func (f *Freshness) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	state := request.Request{W: w, Req: r}
	origin, data := f.zoneOf(state.QName())
	if data == nil || r.Opcode != dns.OpcodeQuery {
		return plugin.NextOrFailure(pluginName, f.Next, ctx, w, r)
	}
	version := data.Current()
	if version == nil {
		return dns.RcodeServerFailure, fmt.Errorf("zone %s has no data yet", origin)
	}

	m := new(dns.Msg)
	m.SetReply(r)
	m.Authoritative = true
	switch state.QType() {
	case dns.TypeTXT, dns.TypeANY:
		m.Answer = []dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: state.QName(), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 0},
			Txt: f.strings(data, version),
		}}
	default:
		soa, err := noData(version.Value)
		if err != nil {
			return dns.RcodeServerFailure, err
		}
		m.Ns = soa
	}
	// We stand in front of popmap, so we owe the ECS echo ourselves.
	if opt, present, err := ecs.FromMsg(r); err == nil && present {
		opt.AddTo(m, 0)
	}
	if err := w.WriteMsg(m); err != nil {
		return dns.RcodeServerFailure, err
	}
	return dns.RcodeSuccess, nil
}

// Claims implements edge.Claimant.
func (f *Freshness) Claims(name zone.Name) bool {
	if dns.IsFqdn(f.label) {
		return name == f.wire
	}
	return strings.HasPrefix(string(name), string(f.wire[:len(f.wire)-1]))
}

// zoneOf returns the zone that qname is the freshness name of, nil if it is none:
// a relative name answers in every zone of the block, an absolute one for the zone
// that it lies in. Zones of the catalog come and go, so each query asks anew.
func (f *Freshness) zoneOf(qname string) (origin zone.Name, data *edge.Dataset[*zone.Snapshot]) {
	absolute := dns.IsFqdn(f.label)
	if len(qname) < len(f.text) || !strings.EqualFold(qname[:len(f.text)], f.text) || absolute && len(qname) > len(f.text) {
		return "", nil // nearly all questions, without reading the name
	}
	name, err := zone.ParseName(qname)
	if err != nil {
		return "", nil
	}
	if absolute {
		return f.zones.Match(name)
	}
	below := name
	for range dns.CountLabel(f.text) {
		below = below.Parent()
	}
	if origin, data = f.zones.Match(below); origin != below {
		return "", nil
	}
	return origin, data
}

// noData returns the authority section of a negative answer; its TTL is 0,
// like the record's own.
func noData(s *zone.Snapshot) ([]dns.RR, error) {
	set, _ := s.Get(zone.Key{Owner: s.Origin(), Type: dns.TypeSOA})
	rrs, err := set.RRs()
	for _, rr := range rrs {
		rr.Header().Ttl = 0
	}
	return rrs, err
}

// strings are the record's: the source time first and alone, so that a
// one-line script can subtract it, then key=value, then a line for each map
// and the PoP table.
func (f *Freshness) strings(d *edge.Dataset[*zone.Snapshot], v *dataset.Version[*zone.Snapshot]) []string {
	now := f.now()
	fresh := f.source.Freshness(d, v, now)
	clock := "commit"
	if fresh.Pulse {
		clock = "heartbeat"
	}
	txt := []string{
		strconv.FormatInt(fresh.SourceTime.Unix(), 10),
		fmt.Sprintf("age=%d", int64(now.Sub(fresh.SourceTime)/time.Second)),
		fmt.Sprintf("serial=%d", v.Head.Serial),
		fmt.Sprintf("published=%d", v.Head.Published.Unix()),
		"state=" + string(fresh.State),
		"source=" + clock,
	}
	followed := f.source.Maps()
	names := slices.Sorted(maps.Keys(followed))
	for _, name := range names[:min(len(names), maxMapLines)] {
		if mv := followed[name].Current(); mv != nil {
			txt = append(txt, fmt.Sprintf("map=%s serial=%d published=%d%s", name, mv.Head.Serial, mv.Head.Published.Unix(), staged(followed[name])))
		}
	}
	if pv := f.source.PoPs().Current(); pv != nil {
		txt = append(txt, fmt.Sprintf("pops serial=%d published=%d", pv.Head.Serial, pv.Head.Published.Unix()))
	}
	return txt
}

// staged tells the serial of what stands beside the map as a canary, if
// something does.
func staged(m *edge.Map) string {
	if c := m.Canary(); c != nil {
		return fmt.Sprintf(" canary=%d", c.Head.Serial)
	}
	return ""
}

// maxMapLines keeps the record small enough for one datagram.
const maxMapLines = 8

// CacheBypassZones keeps the stock cache plugin from storing the record
// (cache.ZoneBypasser). It is asked before the zones are known, so it goes by
// the server block's.
func (f *Freshness) CacheBypassZones() []string { return f.bypass }
