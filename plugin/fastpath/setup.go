package fastpath

import (
	"runtime"
	"strconv"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	"github.com/miekg/dns"
)

var log = clog.NewWithPlugin(pluginName)

// maxWorkers bounds what somebody may ask for.
const maxWorkers = 256

func init() { plugin.Register(pluginName, setup) }

// options are one block's.
type options struct {
	workers int // 0 for as many as Go uses cores
}

func setup(c *caddy.Controller) error {
	opts, err := parse(c)
	if err != nil {
		return plugin.Error(pluginName, err)
	}
	if !supported {
		log.Infof("Off: it needs Linux, this is %s; the plugin chain answers", runtime.GOOS)
		return nil
	}
	inst := instanceOf(c)
	inst.marked[c.ServerBlockIndex] = opts
	cfg := dnsserver.GetConfig(c)
	before := cfg.UDPDecorateWriterFunc
	cfg.UDPDecorateWriterFunc = func(s *dnsserver.Server) dns.DecorateWriter {
		inst.serving(s)
		if before != nil {
			return before(s)
		}
		return nil
	}
	c.OnStartup(func() error { return inst.start(c) })
	c.OnShutdown(inst.release)
	c.OnRestartFailed(sweepDeadInstances)
	return nil
}

func parse(c *caddy.Controller) (*options, error) {
	opts := &options{}
	for i := 0; c.Next(); i++ {
		if i > 0 {
			return nil, plugin.ErrOnce
		}
		if len(c.RemainingArgs()) > 0 {
			return nil, c.Errf("fastpath takes no arguments: it serves all zones of its server block")
		}
		for c.NextBlock() {
			property := c.Val()
			args := c.RemainingArgs()
			switch property {
			case "workers":
				if len(args) != 1 || opts.workers != 0 {
					return nil, c.Errf("workers takes exactly one number, once")
				}
				n, err := strconv.Atoi(args[0])
				if err != nil || n < 1 || n > maxWorkers {
					return nil, c.Errf("workers %q is not a number from 1 to %d", args[0], maxWorkers)
				}
				opts.workers = n
			default:
				return nil, c.Errf("unknown property %q: fastpath knows workers", property)
			}
		}
	}
	return opts, nil
}
