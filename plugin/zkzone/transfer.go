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

// outgoing is what a block with the transfer plugin has.
type outgoing struct {
	notifier *notifier
}

// feed begins to keep a zone's differences and to tell secondaries of its new
// versions, and of the one that is there.
func (out *outgoing) feed(src *edge.Source, here *served) {
	here.feed = src.Feed(here.name, func() { out.notifier.notify(here.origin) })
	if here.data.Current() != nil {
		out.notifier.notify(here.origin)
	}
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
	z.mu.Lock()
	defer z.mu.Unlock()
	z.out = &outgoing{newNotifier(notify)}
	zones := map[zone.Name]*served{}
	for name, here := range z.table.Load().zones {
		with := *here // the table is read by queries
		z.out.feed(z.source, &with)
		zones[name] = &with
	}
	z.table.Store(newTable(zones))
}

// stopTransfers returns when no NOTIFY is under way any more, see
// notifier.stop. The last version can still be transferred.
func (z *ZkZone) stopTransfers() {
	z.mu.Lock()
	out := z.out
	z.mu.Unlock()
	if out == nil {
		return
	}
	for _, here := range z.table.Load().zones {
		here.feed.Close()
	}
	out.notifier.stop()
}

// Transfer implements transfer.Transferer: an AXFR for serial 0, otherwise an
// IXFR (RFC 1995) if the differences since then are kept and smaller than the
// zone. What it sends is fixed when it returns. The channel is closed after the
// last record; without the closing SOA if a record can't be made, so that the
// secondary takes nothing. The caller must drain it.
func (z *ZkZone) Transfer(name string, serial uint32) (<-chan []dns.RR, error) {
	origin, err := zone.ParseName(name)
	if err != nil {
		return nil, transfer.ErrNotAuthoritative
	}
	here := z.table.Load().zones[origin]
	if here == nil {
		return nil, transfer.ErrNotAuthoritative
	}
	version, err := z.version(here)
	if err != nil {
		return nil, fmt.Errorf("transfer of %s: %w", name, err)
	}
	x := xfr.Whole(version.Value)
	if here.feed != nil {
		// The journal may be a moment behind; its NOTIFY comes after it.
		var ok bool
		if x, ok = here.feed.Journal().Transfer(serial); !ok {
			return nil, fmt.Errorf("transfer of %s: %w", name, errNoData)
		}
	}
	transfers.WithLabelValues(here.label, x.Kind.String()).Inc()
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
