package zkzone

import (
	"fmt"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/xfr"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/transfer"

	"github.com/miekg/dns"
)

var _ transfer.Transferer = (*ZkZone)(nil)

// outgoing is what a block with the transfer plugin keeps for its zones.
type outgoing struct {
	feeds    map[string]*edge.Feed // by origin
	notifier *notifier
}

// notifyOf returns what sends NOTIFY for the block, nil when the block has no
// transfer plugin. All handlers are known once startup callbacks run.
func notifyOf(c *caddy.Controller) func(zone string) error {
	if t, ok := dnsserver.GetConfig(c).Handler("transfer").(*transfer.Transfer); ok {
		return t.Notify
	}
	return nil
}

// startTransfers begins to keep the zones' differences and to tell secondaries
// of new versions through notify, and of those that came before the start.
// stopTransfers ends both.
func (z *ZkZone) startTransfers(notify func(zone string) error) {
	out := &outgoing{feeds: make(map[string]*edge.Feed, len(z.origins)), notifier: newNotifier(notify)}
	for _, o := range z.origins {
		out.feeds[o] = z.source.Feed(zone.MustParseName(o), func() { out.notifier.notify(o) })
		if z.zones[o].Current() != nil {
			out.notifier.notify(o)
		}
	}
	z.out = out
}

// stopTransfers returns when no NOTIFY is under way any more, see
// notifier.stop. The last version can still be transferred.
func (z *ZkZone) stopTransfers() {
	if z.out == nil {
		return
	}
	for _, f := range z.out.feeds {
		f.Close()
	}
	z.out.notifier.stop()
}

// Transfer implements transfer.Transferer: an AXFR for serial 0, otherwise an
// IXFR (RFC 1995) if the differences since then are kept and smaller than the
// zone. What it sends is fixed when it returns. The channel is closed after the
// last record; without the closing SOA if a record can't be made, so that the
// secondary takes nothing. The caller must drain it.
func (z *ZkZone) Transfer(name string, serial uint32) (<-chan []dns.RR, error) {
	if z.zones[name] == nil {
		return nil, transfer.ErrNotAuthoritative
	}
	version, err := z.version(name)
	if err != nil {
		return nil, fmt.Errorf("transfer of %s: %w", name, err)
	}
	x := xfr.Whole(version.Value)
	if z.out != nil {
		// The journal may be a moment behind; its NOTIFY comes after it.
		var ok bool
		if x, ok = z.out.feeds[name].Journal().Transfer(serial); !ok {
			return nil, fmt.Errorf("transfer of %s: %w", name, errNoData)
		}
	}
	transfers.WithLabelValues(name, x.Kind.String()).Inc()
	ch := make(chan []dns.RR)
	go func() { // ends with the caller, which drains the channel
		defer close(ch)
		for batch, err := range x.Batches() {
			if err != nil {
				log.Errorf("Transfer broken off: %v", err)
				return
			}
			ch <- batch
		}
	}()
	return ch, nil
}
