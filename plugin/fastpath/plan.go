package fastpath

import (
	"fmt"
	"net"
	"slices"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/metrics"
	"github.com/coredns/coredns/plugin/pkg/edns"
	"github.com/coredns/coredns/plugin/pkg/transport"

	"github.com/miekg/dns"
)

// A plan is what is known of one listening address: the zones of all server blocks there, and which of them are answered here.
type plan struct {
	blocks  []zoneBlock // the longest origin first
	sockets int         // that CoreDNS opens itself
	workers int         // 0 for one for each core
	updates bool        // some block takes dynamic updates (RFC 2136)
}

// zoneBlock is a zone of a server block; block is nil if the plugin chain answers for it.
type zoneBlock struct {
	origin zone.Name
	block  *block
}

// block is a server block that is answered here, by way of its plugins.
type block struct {
	authority edge.Authority
	steerer   edge.Steerer // nil without popmap
	claimants []edge.Claimant
	stock     *metrics.Metrics // nil without prometheus
}

// leavesAlone are the plugins that stand above zkzone and neither change an answer nor need to see one. Those that only count, prometheus and our own,
// are counted for here.
var leavesAlone = []string{"cache", "errors", "freshness", "geoip", "metadata", "popmap", "prometheus", "transfer"}

// newBlock makes a block of a configuration, or says what keeps it off.
func newBlock(cfg *dnsserver.Config) (b *block, obstacle string) {
	b = &block{}
	for _, h := range cfg.Handlers() { // in the order of the chain
		if a, ok := h.(edge.Authority); ok {
			b.authority = a
			break // what stands below answers only what it passes on
		}
		if !slices.Contains(leavesAlone, h.Name()) {
			return nil, "the plugin " + h.Name() + " may see or change its answers"
		}
		if s, ok := h.(edge.Steerer); ok {
			b.steerer = s
		}
		if c, ok := h.(edge.Claimant); ok {
			b.claimants = append(b.claimants, c)
		}
		if m, ok := h.(*metrics.Metrics); ok {
			b.stock = m
		}
	}
	switch {
	case b.authority == nil:
		return nil, "it has no zkzone"
	case cfg.ViewName != "" || len(cfg.FilterFuncs) > 0:
		return nil, "it is for some clients only (view)"
	case cfg.ProxyProtoConnPolicy != nil:
		return nil, "it speaks the PROXY protocol"
	case edns.SupportedOption(dns.EDNS0COOKIE) || edns.SupportedOption(dns.EDNS0PADDING):
		return nil, "some plugin answers EDNS cookies or padding"
	}
	return b, ""
}

// find returns the block that answers for a question as CoreDNS's server chooses it, nil if it is not ours. A DS goes to the block of the parent
// where that is here too, and is left to the server then.
func (v *view) find(name zone.Name, qtype uint16) *block {
	for i := range v.blocks {
		if !name.IsSubdomainOf(v.blocks[i].origin) {
			continue
		}
		if qtype != dns.TypeDS {
			return v.blocks[i].block
		}
		for _, other := range v.blocks[i+1:] {
			if name.IsSubdomainOf(other.origin) {
				return nil
			}
		}
		return v.blocks[i].block
	}
	return nil
}

// has tells whether a name lies in any block of the server.
func (v *view) has(name zone.Name) bool {
	return slices.ContainsFunc(v.blocks, func(z zoneBlock) bool { return name.IsSubdomainOf(z.origin) })
}

// makePlans finds out about every address of a Corefile at which some block has fastpath. It is called once all plugins are set up. keptOff is told
// of each block with fastpath that can't have it.
func makePlans(c *caddy.Controller, marked map[int]*options, keptOff func(key, obstacle string)) (map[string]*plan, error) {
	plans := map[string]*plan{}
	for index := 0; ; index++ {
		configs := configsOf(c, index)
		if len(configs) == 0 {
			break
		}
		var b *block
		opts := marked[index]
		if opts != nil {
			var obstacle string
			if b, obstacle = newBlock(configs[0]); b == nil {
				keptOff(configs[0].Zone, obstacle)
			}
		}
		for _, cfg := range configs {
			if cfg.Transport != transport.DNS {
				continue
			}
			for _, host := range cfg.ListenHosts {
				addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, cfg.Port)) // as CoreDNS groups blocks
				if err != nil {
					return nil, fmt.Errorf("listen address of %s: %w", cfg.Zone, err)
				}
				p := plans[addr.String()]
				if p == nil {
					p = &plan{sockets: max(cfg.NumSockets, 1)} // the first block's count (dnsserver.makeServersForGroup)
					plans[addr.String()] = p
				}
				if err := p.add(cfg, b, opts); err != nil {
					return nil, err
				}
			}
		}
	}
	for addr, p := range plans {
		if !slices.ContainsFunc(p.blocks, func(z zoneBlock) bool { return z.block != nil }) {
			delete(plans, addr)
			continue
		}
		slices.SortStableFunc(p.blocks, func(a, b zoneBlock) int { return b.origin.Labels() - a.origin.Labels() })
	}
	return plans, nil
}

// configsOf are those of one server block, one for each of its keys. CoreDNS has no list of them: they are asked for by number until there is none, which makes an
// empty one, harmless once the servers are made.
func configsOf(c *caddy.Controller, index int) (all []*dnsserver.Config) {
	at := *c
	at.ServerBlockIndex = index
	for at.ServerBlockKeyIndex = 0; ; at.ServerBlockKeyIndex++ {
		cfg := dnsserver.GetConfig(&at)
		if cfg.Zone == "" {
			return all
		}
		all = append(all, cfg)
	}
}

func (p *plan) add(cfg *dnsserver.Config, b *block, opts *options) error {
	origin, err := zone.ParseName(cfg.Zone)
	if err != nil {
		return fmt.Errorf("zone %s: %w", cfg.Zone, err)
	}
	if opts != nil {
		p.workers = max(p.workers, opts.workers)
	}
	p.updates = p.updates || cfg.Handler("dynupdate") != nil
	for i := range p.blocks {
		if p.blocks[i].origin == origin { // two views of one zone
			p.blocks[i].block = nil
			return nil
		}
	}
	p.blocks = append(p.blocks, zoneBlock{origin, b})
	return nil
}

// view is what a listener answers from: it is immutable, and replaced as a whole at a reload.
type view struct {
	server string // its address in metrics, like dns://:53
	blocks []zoneBlock
	owner  *instance
	chain  chainServer
}

// chainServer is the plugin chain of a view.
type chainServer interface{ stop() }
