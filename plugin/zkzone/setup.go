package zkzone

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/store/storeurl"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"
)

var log = clog.NewWithPlugin(pluginName)

// defaultStartupTimeout is how long a start waits for zones that the disk
// cache does not have; the kubernetes plugin waits as long.
const defaultStartupTimeout = 5 * time.Second

func init() { plugin.Register(pluginName, setup) }

func setup(c *caddy.Controller) error {
	z, err := parse(c)
	if err != nil {
		return plugin.Error(pluginName, err)
	}
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		z.Next = next
		return z
	})
	z.hold = newHold(c, z)
	c.OnStartup(func() error {
		if err := z.start(); err != nil {
			return err
		}
		if notify := notifyOf(c); notify != nil {
			z.startTransfers(notify)
		}
		return nil
	})
	c.OnShutdown(z.hold.release)
	c.OnRestartFailed(sweepDeadHolds)
	return nil
}

// start begins to follow the zones and waits, bounded by startup_timeout, for
// those without data and for what steers them. A server that has none yet starts all the same: it
// answers SERVFAIL and is not ready until they come.
func (z *ZkZone) start() error {
	if _, err := z.EdgeSource(); err != nil {
		return plugin.Error(pluginName, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), z.startupTimeout)
	defer cancel()
	live := false
	for _, o := range z.origins {
		err := z.zones[o].Settle(ctx)
		v := z.zones[o].Current()
		switch {
		case v != nil:
			live = live || v.Source == dataset.Live
		case err != nil:
			log.Warningf("Zone %s could not be read from %s within %s, starting without it: answering SERVFAIL until it can", o, z.cfg.URL, z.startupTimeout)
		default:
			log.Warningf("Zone %s is not published in %s yet: answering SERVFAIL until it is (popctl zone publish %[1]s FILE)", o, z.cfg.URL)
		}
	}
	if !live {
		return nil // all from the disk cache, as are the maps: serve them at once
	}
	if err := z.source.Settle(ctx); err != nil {
		log.Warningf("Starting without having read all maps and the PoP table: %v", err)
	}
	return nil
}

func parse(c *caddy.Controller) (*ZkZone, error) {
	z := &ZkZone{startupTimeout: defaultStartupTimeout}
	for i := 0; c.Next(); i++ {
		if i > 0 {
			return nil, plugin.ErrOnce
		}
		z.origins = plugin.OriginsFromArgsOrServerBlock(c.RemainingArgs(), c.ServerBlockKeys)
		for _, o := range z.origins {
			if _, err := zone.ParseName(o); err != nil {
				return nil, c.Errf("zone %q: %v", o, err)
			}
		}
		seen := map[string]bool{}
		for c.NextBlock() {
			property := c.Val()
			if seen[property] {
				return nil, c.Errf("%s is given twice", property)
			}
			seen[property] = true
			if err := z.parseProperty(c, property); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(z.origins)
	z.origins = slices.Compact(z.origins)
	if z.cfg.URL == "" {
		return nil, c.Errf("source is missing: say where the zones are, e.g. 'source zk://10.0.0.1:2181,10.0.0.2:2181/popdns' or 'source dir:///var/lib/popdns'")
	}
	return z, claimCache(c, z.cfg)
}

func (z *ZkZone) parseProperty(c *caddy.Controller, property string) error {
	args := c.RemainingArgs()
	if property == "fallthrough" {
		z.Fall.SetZonesFromArgs(args)
		return nil
	}
	if property == "tls" {
		return z.parseTLS(c, args)
	}
	if !slices.Contains([]string{"source", "tls_servername", "cache", "startup_timeout", "max_stale", "shrink_guard", "verify"}, property) {
		return c.Errf("unknown property %q: zkzone knows source, tls, tls_servername, cache, startup_timeout, max_stale, shrink_guard, verify and fallthrough", property)
	}
	if len(args) != 1 || args[0] == "" {
		return c.Errf("%s takes exactly one argument", property)
	}
	value := args[0]
	switch property {
	case "source":
		loc, err := storeurl.Parse(value)
		if err != nil {
			return c.Errf("source: %v", err)
		}
		if len(loc.Servers) == 0 {
			value = "dir:" + rooted(c, loc.Path)
		}
		z.cfg.URL = value
	case "tls_servername":
		z.cfg.TLS.ServerName = value
	case "cache":
		if value == "off" {
			return nil
		}
		z.cfg.CacheDir = rooted(c, value)
	case "startup_timeout":
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return c.Errf("startup_timeout %q is not a duration such as 5s", value)
		}
		z.startupTimeout = d
	case "max_stale":
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return c.Errf("max_stale %q is not a positive duration such as 168h; leave it out to serve for ever", value)
		}
		z.maxStale = d
	case "shrink_guard":
		percent, err := parseShrinkGuard(value)
		if err != nil {
			return c.Errf("shrink_guard %v", err)
		}
		z.cfg.ShrinkGuard = percent
	case "verify":
		path := rooted(c, value)
		data, err := os.ReadFile(path)
		if err != nil {
			return c.Errf("verify: %v", err)
		}
		if z.cfg.Verify, err = dataset.ParsePublicKeys(data); err != nil {
			return c.Errf("verify: %s: %v", path, err)
		}
	}
	return nil
}

// parseTLS reads the files that TLS to the ensemble needs, in the order of other
// plugins' tls: CA, CERT KEY or CERT KEY CA.
func (z *ZkZone) parseTLS(c *caddy.Controller, args []string) error {
	for i, path := range args {
		args[i] = rooted(c, path)
	}
	switch len(args) {
	case 1:
		z.cfg.TLS.CA = args[0]
	case 2, 3:
		z.cfg.TLS.Cert, z.cfg.TLS.Key = args[0], args[1]
		if len(args) == 3 {
			z.cfg.TLS.CA = args[2]
		}
	default:
		return c.Errf("tls takes CA, CERT KEY or CERT KEY CA")
	}
	if _, err := z.cfg.TLS.Option(); err != nil {
		return c.Errf("tls: %v", err)
	}
	return nil
}

// parseShrinkGuard reads the share of RRsets that may go unforced: "50%", or
// "off", which is all of them.
func parseShrinkGuard(value string) (percent int, err error) {
	if value == "off" {
		return 100, nil
	}
	digits, ok := strings.CutSuffix(value, "%")
	percent, err = strconv.Atoi(digits)
	if !ok || err != nil || percent < 1 || percent > 100 {
		return 0, fmt.Errorf("%q is not a share from 1%% to 100%%, or off", value)
	}
	return percent, nil
}

type cachesKey struct{}

// claimCache refuses a cache directory that another block of this Corefile
// gives to another source: each would overwrite what the other keeps. It is
// another source too if it verifies or guards otherwise: one would start
// with what the other alone accepted.
func claimCache(c *caddy.Controller, cfg edge.Config) error {
	if cfg.CacheDir == "" {
		return nil
	}
	claimed, ok := c.Get(cachesKey{}).(map[string]edge.Config)
	if !ok {
		claimed = map[string]edge.Config{}
		c.Set(cachesKey{}, claimed)
	}
	other, ok := claimed[cfg.CacheDir]
	switch {
	case ok && other.URL != cfg.URL:
		return c.Errf("cache %s belongs to source %s already: give each source a cache of its own", cfg.CacheDir, other.URL)
	case ok && other != cfg:
		return c.Errf("cache %s is shared with a block that has another shrink_guard or verify: give both the same, or each a cache of its own", cfg.CacheDir)
	}
	claimed[cfg.CacheDir] = cfg
	return nil
}

// rooted returns the path of a folder, below the root plugin's directory if it
// is relative.
func rooted(c *caddy.Controller, path string) string {
	if root := dnsserver.GetConfig(c).Root; !filepath.IsAbs(path) && root != "" {
		path = filepath.Join(root, path)
	}
	return filepath.Clean(path)
}
