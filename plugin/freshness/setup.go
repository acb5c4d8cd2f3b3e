package freshness

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnsutil"

	"github.com/miekg/dns"
)

func init() { plugin.Register(pluginName, setup) }

func setup(c *caddy.Controller) error {
	f, err := parse(c)
	if err != nil {
		return plugin.Error(pluginName, err)
	}
	cfg := dnsserver.GetConfig(c)
	cfg.AddPlugin(func(next plugin.Handler) plugin.Handler {
		f.Next = next
		return f
	})
	where := fmt.Sprintf("%s:%d", c.File(), c.Line())
	c.OnStartup(func() error {
		provider, ok := cfg.Handler("zkzone").(edge.Provider)
		if !ok {
			return plugin.Error(pluginName, fmt.Errorf("%s: there is no zkzone in this server block, and freshness speaks of its zones: add one", where))
		}
		src, err := provider.EdgeSource()
		if err != nil {
			return plugin.Error(pluginName, err)
		}
		f.source = src
		if err := f.bind(provider); err != nil {
			return plugin.Error(pluginName, err)
		}
		return nil
	})
	return nil
}

func parse(c *caddy.Controller) (*Freshness, error) {
	f := &Freshness{label: defaultLabel, now: time.Now}
	for i := 0; c.Next(); i++ {
		if i > 0 {
			return nil, plugin.ErrOnce
		}
		args := c.RemainingArgs()
		if len(args) > 1 {
			return nil, c.Errf("freshness takes at most one name, got %d", len(args))
		}
		if len(args) == 1 {
			if _, ok := dns.IsDomainName(args[0]); !ok || args[0] == "." {
				return nil, c.Errf("%q is not a domain name", args[0])
			}
			f.label = strings.ToLower(args[0])
		}
		for _, o := range plugin.OriginsFromArgsOrServerBlock(nil, c.ServerBlockKeys) {
			f.bypass = append(f.bypass, dnsutil.Join(f.label, o))
		}
		if c.NextBlock() {
			return nil, c.Errf("unknown property %q: freshness has no block", c.Val())
		}
	}
	return f, nil
}

// bind makes f answer for the provider's zones. It fails when an absolute name
// lies where the provider has none and never will.
func (f *Freshness) bind(provider edge.Provider) error {
	f.zones = provider
	name, err := zone.ParseName(f.label)
	if err != nil {
		return err
	}
	f.wire, f.text = name, name.String()
	if !dns.IsFqdn(f.label) {
		return nil
	}
	if !slices.ContainsFunc(provider.Origins(), name.IsSubdomainOf) {
		return fmt.Errorf("%s lies in none of the block's zkzone zones", f.label)
	}
	return nil
}
