package zkzone

import (
	"sync"
	"time"
)

const (
	// notifyDelay is how long after the start the first NOTIFY is sent. CoreDNS
	// opens its sockets after the startup callbacks and tells nobody when it
	// has: a secondary that was told before would find the port closed.
	notifyDelay = time.Second
	// notifyGrace bounds how long a stop waits for the NOTIFY under way, which
	// can't be cut short: the transfer plugin tries each secondary three times,
	// two seconds each.
	notifyGrace = 10 * time.Second
)

// A notifier tells the secondaries of a block that zones have a new version
// (RFC 1996). The transfer plugin's Notify blocks, for seconds where a secondary
// is dead, so one goroutine calls it; versions that come while it does are
// told of once.
type notifier struct {
	send func(zone string) error
	wake chan struct{} // has room for one
	quit chan struct{}
	done chan struct{}
	once sync.Once

	mu      sync.Mutex
	queue   []string        // zones to tell of, the longest waiting first
	waiting map[string]bool // those in queue, so that each is in it once
}

// newNotifier starts a notifier. stop ends it.
func newNotifier(send func(zone string) error) *notifier {
	n := &notifier{
		send:    send,
		wake:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
		waiting: map[string]bool{},
	}
	go n.run()
	return n
}

// notify has the secondaries told of a zone's new version. It never blocks.
func (n *notifier) notify(zone string) {
	n.mu.Lock()
	if !n.waiting[zone] {
		n.waiting[zone] = true
		n.queue = append(n.queue, zone)
	}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default: // it is awake, or about to be
	}
}

// stop ends the notifier and waits for it, at most notifyGrace; a NOTIFY that
// takes longer ends by itself and nothing comes after it. More than once is
// harmless.
func (n *notifier) stop() {
	n.once.Do(func() { close(n.quit) })
	grace := time.NewTimer(notifyGrace)
	defer grace.Stop()
	select {
	case <-n.done:
	case <-grace.C:
		log.Warningf("Not waiting any longer for a NOTIFY that secondaries don't answer")
	}
}

func (n *notifier) run() {
	defer close(n.done)
	delay := time.NewTimer(notifyDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-n.quit:
		return
	}
	for {
		for zone := n.next(); zone != ""; zone = n.next() {
			if err := n.send(zone); err != nil {
				notifyErrors.WithLabelValues(series.ofZone(zone)).Inc()
				log.Warningf("NOTIFY of %s: %v", zone, err)
			}
		}
		select {
		case <-n.wake:
		case <-n.quit:
			return
		}
	}
}

// next takes the zone that waits longest, "" when none does or all must end.
func (n *notifier) next() string {
	select {
	case <-n.quit:
		return ""
	default:
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.queue) == 0 {
		return ""
	}
	zone := n.queue[0]
	n.queue = n.queue[1:]
	delete(n.waiting, zone)
	return zone
}
