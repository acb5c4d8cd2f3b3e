package popmap

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/popdns/popdns/internal/ecs"
	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"

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
		p.origins = longestFirst(provider.Origins())
		p.rewrite = cfg.Handler("rewrite") != nil
		p.metadata = cfg.Handler("metadata") != nil
		if p.mapName != "" {
			src.FollowMap(p.mapName)
		}
		if p.geo == nil {
			return nil
		}
		if err := p.geo.start(src); err != nil {
			return plugin.Error(pluginName, fmt.Errorf("%s: %w", where, err))
		}
		return nil
	})
	c.OnShutdown(func() error {
		if p.geo != nil {
			p.geo.stop()
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
			case "geoip", "near":
				if p.geo == nil {
					p.geo = newGeoMap()
				}
				if err := p.geo.parse(property, args, dnsserver.GetConfig(c).Root); err != nil {
					return nil, c.Err(err.Error())
				}
			case "explain":
				e, err := parseExplain(args, p.zones)
				if err != nil {
					return nil, c.Errf("explain: %v", err)
				}
				p.explainer = e
			case "edge":
				if len(args) != 1 {
					return nil, c.Errf("edge takes exactly one name")
				}
				if err := steer.CheckEdgeName(args[0]); err != nil {
					return nil, c.Errf("edge: %v", err)
				}
				p.edge = args[0]
			default:
				return nil, c.Errf("unknown property %q: popmap knows map, default, edge, explain, geoip and near", property)
			}
		}
		if p.edge == "" {
			p.edge = hostName()
		}
		if err := p.readNames(); err != nil {
			return nil, c.Err(err.Error())
		}
	}
	if p.geo != nil && len(p.geo.files) == 0 {
		return nil, c.Errf("near is of use with geoip only: add geoip and a database")
	}
	if p.geo != nil {
		p.geo.fallback = p.fallback
	}
	return p, nil
}

// readNames makes wire forms of what is compared with questions on the fast path.
func (p *PopMap) readNames() error {
	for _, z := range p.zones {
		name, err := zone.ParseName(z)
		if err != nil {
			return err
		}
		p.names = append(p.names, name)
	}
	if p.explainer == nil {
		return nil
	}
	for _, n := range p.explainer.names {
		p.explained = append(p.explained, string(zone.MustParseName(n)[1:])) // checked by parseExplain
	}
	return nil
}

// parseExplain reads a name, relative to each zone unless it ends in a dot, and who may ask.
func parseExplain(args, zones []string) (*explainer, error) {
	if len(args) < 2 {
		return nil, errors.New("takes a name and the networks that may ask, like _explain 10.0.0.0/8 2001:db8::/32")
	}
	e := &explainer{}
	name := strings.ToLower(args[0])
	if strings.HasSuffix(name, ".") {
		if plugin.Zones(zones).Matches(name) == "" {
			return nil, fmt.Errorf("name %s is in none of the zones %s: without the dot at its end it is below each", name, strings.Join(zones, " "))
		}
		e.names = []string{name}
	} else {
		for _, z := range zones {
			e.names = append(e.names, name+"."+strings.TrimPrefix(z, "."))
		}
	}
	for _, n := range e.names {
		if _, err := zone.ParseName(n); err != nil {
			return nil, fmt.Errorf("name %q: %w", args[0], err)
		}
	}
	for _, arg := range args[1:] {
		prefix, err := ecs.ParseSubnet(arg)
		if err != nil {
			return nil, fmt.Errorf("network %q is neither a prefix nor an address", arg)
		}
		e.allow = append(e.allow, prefix)
	}
	return e, nil
}

// longestFirst sorts origins so that the first one above a name is its zone.
func longestFirst(origins []zone.Name) []zone.Name {
	slices.SortStableFunc(origins, func(a, b zone.Name) int { return b.Labels() - a.Labels() })
	return origins
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
