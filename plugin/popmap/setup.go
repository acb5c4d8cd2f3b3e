package popmap

import (
	"fmt"
	"os"
	"strings"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/steer"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
)

func init() { plugin.Register(pluginName, setup) }

func setup(c *caddy.Controller) error {
	p, err := parse(c)
	if err != nil {
		return plugin.Error(pluginName, err)
	}
	cfg := dnsserver.GetConfig(c)
	cfg.AddPlugin(func(next plugin.Handler) plugin.Handler {
		p.Next = next
		return p
	})
	where := fmt.Sprintf("%s:%d", c.File(), c.Line())
	c.OnStartup(func() error {
		provider, ok := cfg.Handler("zkzone").(edge.Provider)
		if !ok {
			return plugin.Error(pluginName, fmt.Errorf("%s: there is no zkzone in this server block, and popmap reads its maps from zkzone's source: add one", where))
		}
		src, err := provider.EdgeSource()
		if err != nil {
			return plugin.Error(pluginName, err)
		}
		p.source = src
		p.rewrite = cfg.Handler("rewrite") != nil
		if p.mapName != "" {
			src.FollowMap(p.mapName)
		}
		return nil
	})
	return nil
}

func parse(c *caddy.Controller) (*PopMap, error) {
	p := &PopMap{}
	for i := 0; c.Next(); i++ {
		if i > 0 {
			return nil, plugin.ErrOnce
		}
		p.zones = plugin.OriginsFromArgsOrServerBlock(c.RemainingArgs(), c.ServerBlockKeys)
		seen := map[string]bool{}
		for c.NextBlock() {
			property := c.Val()
			if seen[property] {
				return nil, c.Errf("%s is given twice", property)
			}
			seen[property] = true
			args := c.RemainingArgs()
			switch property {
			case "map":
				if len(args) != 1 {
					return nil, c.Errf("map takes exactly one name")
				}
				if err := steer.CheckName(args[0]); err != nil {
					return nil, c.Errf("map: %v", err)
				}
				p.mapName = args[0]
			case "default":
				if len(args) == 0 {
					return nil, c.Errf("default takes the names of one or more PoPs, nearest first")
				}
				if err := steer.CheckList(args); err != nil {
					return nil, c.Errf("default: %v", err)
				}
				p.fallback = args
			case "edge":
				if len(args) != 1 {
					return nil, c.Errf("edge takes exactly one name")
				}
				if err := steer.CheckEdgeName(args[0]); err != nil {
					return nil, c.Errf("edge: %v", err)
				}
				p.edge = args[0]
			default:
				return nil, c.Errf("unknown property %q: popmap knows map, default and edge", property)
			}
		}
		if p.edge == "" {
			p.edge = hostName()
		}
	}
	return p, nil
}

// hostName is the machine's, "" if it has none that an edge could have: such a server is in no canary by name.
func hostName() string {
	name, err := os.Hostname()
	name = strings.ToLower(name)
	if err != nil || steer.CheckEdgeName(name) != nil {
		return ""
	}
	return name
}
