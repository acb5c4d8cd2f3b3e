package zk

import (
	"math/rand/v2"
	"sync"
)

// hosts is a gozk.HostProvider that leaves names to be looked up at each connection (the library's looks them up once and fails when it can't), and
// that lets a whole round of servers, at least two tries, pass before the library takes its pause of a second. The dialer's jitter keeps the pace.
type hosts struct {
	mu      sync.Mutex
	servers []string
	next    int
	tried   int // since the last success or pause
}

// Init implements gozk.HostProvider.
func (h *hosts) Init(servers []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.servers = append([]string(nil), servers...)
	rand.Shuffle(len(h.servers), func(i, j int) { h.servers[i], h.servers[j] = h.servers[j], h.servers[i] }) //nolint:gosec // spreads load
	return nil
}

// Len implements gozk.HostProvider.
func (h *hosts) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.servers)
}

// Next implements gozk.HostProvider.
func (h *hosts) Next() (server string, retryStart bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	server = h.servers[h.next]
	h.next = (h.next + 1) % len(h.servers)
	if h.tried == max(2, len(h.servers)) {
		h.tried, retryStart = 0, true
	}
	h.tried++
	return server, retryStart
}

// Connected implements gozk.HostProvider.
func (h *hosts) Connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried = 0
}
