// Package popmap is a CoreDNS plugin that steers clients to PoPs. It looks at
// nothing but the query's network, puts a picker into the context for zkzone
// to ask when a name is steered, and answers for EDNS Client Subnet (RFC 7871)
// on the way back: so a name that isn't steered costs no lookup and carries
// scope 0.
package popmap

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/popdns/popdns/internal/ecs"
	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/metrics"
	"github.com/coredns/coredns/request"

	"github.com/miekg/dns"
)

const pluginName = "popmap"

// PopMap steers the queries of one server block.
type PopMap struct {
	Next plugin.Handler

	zones    []string    // absolute, lower case
	names    []zone.Name // the same
	mapName  string      // for names that name none themselves; "" for none
	fallback []string    // PoP order where no map has data
	geo      *geoMap     // what steers where no map of the store does, nil without
	edge     string      // this server's name, for canaries that go by edge

	explainer *explainer // nil if nothing is to be explained
	explained []string   // the explainer's names in wire form, without the first length octet

	// Set at start, before the first query.
	source   *edge.Source
	origins  []zone.Name // of the block's zones, the longest first
	rewrite  bool        // the rewrite plugin stands above us
	metadata bool        // the metadata plugin stands above us

	counted atomic.Pointer[[]*tallies]
}

var _ plugin.Handler = (*PopMap)(nil)

// Name implements plugin.Handler.
func (p *PopMap) Name() string { return pluginName }

// ServeDNS implements plugin.Handler.
func (p *PopMap) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	state := request.Request{W: w, Req: r}
	if plugin.Zones(p.zones).Matches(state.Name()) == "" {
		return plugin.NextOrFailure(pluginName, p.Next, ctx, w, r)
	}
	if o := r.IsEdns0(); o != nil && p.rewrite {
		// It may have edited the options, so their length on the wire tells
		// nothing any more; 0 says so. Packing sets it anew.
		o.Hdr.Rdlength = 0
	}
	opt, present, err := ecs.FromMsg(r)
	if err != nil {
		formErrs.WithLabelValues(metrics.WithServer(ctx)).Inc()
		m := new(dns.Msg)
		m.SetRcode(r, dns.RcodeFormatError) // RFC 7871 6: "SHOULD return FORMERR"
		return dns.RcodeSuccess, w.WriteMsg(m)
	}

	if !present {
		pick := &picker{popmap: p, client: steer.Client{Resolver: sourceAddr(w)}}
		rcode, err := p.next(ctx, pick, state.Name(), w, r)
		pick.count(ctx)
		return rcode, err
	}

	ew := &ecsWriter{ResponseWriter: w, option: opt, pick: picker{popmap: p, client: steer.Client{Resolver: sourceAddr(w)}}, scope: -1}
	if opt.Usable() {
		ew.pick.client.ECS, ew.pick.client.HasECS = opt.Prefix(), true
	}
	rcode, err := p.next(ctx, &ew.pick, state.Name(), ew, r)
	ew.count(ctx)
	if !plugin.ClientWrite(rcode) {
		// The server would answer such an rcode below us, without the option
		// that RFC 7871 7.2.1 demands in every response.
		m := new(dns.Msg)
		m.SetRcode(r, rcode)
		if werr := ew.WriteMsg(m); werr != nil {
			return rcode, werr
		}
		return dns.RcodeSuccess, err
	}
	return rcode, err
}

// next has the query answered: by the explainer, if it is for that, or by the
// plugins below.
func (p *PopMap) next(ctx context.Context, pick *picker, qname string, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if p.explainer != nil && r.Opcode == dns.OpcodeQuery {
		if subject, ok := p.explainer.subject(qname); ok {
			return p.explainer.serve(pick, subject, w, r)
		}
	}
	p.tell(ctx, pick)
	return plugin.NextOrFailure(pluginName, p.Next, edge.WithPicker(ctx, pick), w, r)
}

// pops is the table of PoPs, nil while there is none.
func (p *PopMap) pops() *steer.PoPs {
	if v := p.source.PoPs().Current(); v != nil {
		return v.Value
	}
	return nil
}

// CacheBypassZones keeps the stock cache plugin, which knows no ECS, from
// replaying one client's PoP to another (cache.ZoneBypasser).
func (p *PopMap) CacheBypassZones() []string { return p.zones }

// sourceAddr is the address that the query came from, without its zone.
func sourceAddr(w dns.ResponseWriter) netip.Addr {
	switch a := w.RemoteAddr().(type) {
	case *net.UDPAddr:
		ip, _ := netip.AddrFromSlice(a.IP)
		return ip.Unmap()
	case *net.TCPAddr:
		ip, _ := netip.AddrFromSlice(a.IP)
		return ip.Unmap()
	default:
		ap, _ := netip.ParseAddrPort(a.String())
		return ap.Addr().Unmap().WithZone("")
	}
}
