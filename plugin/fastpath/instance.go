package fastpath

import (
	"fmt"
	"strings"
	"sync"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/transport"
)

// instance is one reading of the Corefile. The old and the new one overlap during a reload.
type instance struct {
	marked map[int]*options // server blocks that have fastpath
	once   sync.Once
	plans  map[string]*plan // by listening address, as in Server.Addr without the transport
	err    error

	chains sync.WaitGroup // of views that were replaced, until what they began has been answered
}

type instanceKey struct{}

// instanceOf returns the instance's own, which lies in its storage: so one that can still be found there is alive.
func instanceOf(c *caddy.Controller) *instance {
	if i, ok := c.Get(instanceKey{}).(*instance); ok {
		return i
	}
	i := &instance{marked: map[int]*options{}}
	c.Set(instanceKey{}, i)
	return i
}

// start plans, once for all blocks, and claims the listeners: those of the instance before stay open for this one.
func (i *instance) start(c *caddy.Controller) error {
	i.once.Do(func() {
		i.plans, i.err = makePlans(c, i.marked, func(key, obstacle string) {
			log.Infof("Off for the server block of %s: %s; the plugin chain answers", key, obstacle)
		})
		for addr := range i.plans {
			if strings.HasSuffix(addr, ":0") {
				log.Infof("Off at %s: any port will do there, and it is not known which", addr)
				delete(i.plans, addr)
			}
		}
		if i.err == nil {
			listeners.claim(i)
		}
	})
	if i.err != nil {
		return plugin.Error(pluginName, fmt.Errorf("plan: %w", i.err))
	}
	return nil
}

// serving is called when a server begins to read its UDP socket, once for each socket: from then on it answers misses.
func (i *instance) serving(s *dnsserver.Server) {
	addr, isDNS := strings.CutPrefix(s.Addr, transport.DNS+"://")
	if p := i.plans[addr]; isDNS && p != nil {
		listeners.serve(i, addr, p, s)
	}
}

// release gives the listeners up; those that no other instance has claimed end.
func (i *instance) release() error {
	listeners.release(i)
	i.chains.Wait() // a server's own Stop waits likewise for what it has begun
	return nil
}

// sweepDeadInstances releases what instances hold whose start failed: CoreDNS runs no callback of theirs.
func sweepDeadInstances() error {
	alive := map[*instance]bool{}
	for _, inst := range caddy.Instances() {
		if i, ok := inst.Storage[instanceKey{}].(*instance); ok {
			alive[i] = true
		}
	}
	listeners.sweep(alive)
	return nil
}
