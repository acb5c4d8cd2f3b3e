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

	"github.com/popdns/popdns/internal/ecs"
	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/steer"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/metrics"
	"github.com/coredns/coredns/request"

	"github.com/miekg/dns"
)

const pluginName = "popmap"

// PopMap steers the queries of one server block.
type PopMap struct {
	Next plugin.Handler

	zones    []string // absolute, lower case
	mapName  string   // for names that name none themselves; "" for none
	fallback []string // PoP order where no map has data
	edge     string   // this server's name, for canaries that go by edge

	source  *edge.Source // set at start, before the first query
	rewrite bool         // the rewrite plugin stands above us; set at start
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

	pick := &picker{popmap: p, client: steer.Client{Resolver: sourceAddr(w)}}
	if present && opt.Usable() {
		pick.client.ECS, pick.client.HasECS = opt.Prefix(), true
	}
	ctx = edge.WithPicker(ctx, pick)
	if !present {
		rcode, err := plugin.NextOrFailure(pluginName, p.Next, ctx, w, r)
		pick.count(ctx)
		return rcode, err
	}

	ew := &ecsWriter{ResponseWriter: w, option: opt, pick: pick}
	rcode, err := plugin.NextOrFailure(pluginName, p.Next, ctx, ew, r)
	pick.count(ctx)
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
