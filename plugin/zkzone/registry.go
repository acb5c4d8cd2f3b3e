package zkzone

import (
	"errors"
	"sync"

	"github.com/popdns/popdns/internal/edge"

	"github.com/coredns/caddy"
)

// sources are the process's open Sources. Blocks with the same store and cache
// share one, and so do the old and the new instance during a reload: the new
// one acquires before the old one releases, so that a reload neither opens a
// second session nor reads the zones again.
var sources = &registry{open: map[edge.Config]*shared{}}

type registry struct {
	mu   sync.Mutex
	open map[edge.Config]*shared
}

type shared struct {
	source *edge.Source
	refs   int
}

// acquire returns the Source for cfg, opening it for its first holder.
func (r *registry) acquire(cfg edge.Config) (*edge.Source, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.open[cfg]; s != nil {
		s.refs++
		return s.source, nil
	}
	src, err := edge.Open(cfg, observer{})
	if err != nil {
		return nil, err
	}
	r.open[cfg] = &shared{source: src, refs: 1}
	return src, nil
}

// release gives one acquire back and closes the Source after the last.
func (r *registry) release(cfg edge.Config) error {
	r.mu.Lock()
	s := r.open[cfg]
	if s == nil {
		r.mu.Unlock()
		return nil
	}
	s.refs--
	if s.refs > 0 {
		r.mu.Unlock()
		return nil
	}
	delete(r.open, cfg)
	r.mu.Unlock()
	return s.source.Close()
}

// A hold is one server block's claim on its Source. CoreDNS runs OnShutdown
// for an instance that served, but nothing at all for one whose start failed
// half way. Holds of such instances are known by their instance's absence, and
// swept when a surviving instance hears of the failed reload, or at the next
// acquire.
type hold struct {
	owner *ZkZone
	token *instanceToken // nil in tests without an instance: never swept

	mu    sync.Mutex
	cfg   edge.Config
	taken bool
}

// instanceToken stands for a caddy instance: it lies in the instance's own
// storage, so a token that can still be found there belongs to a live one.
type instanceToken struct{ _ byte }

type tokenKey struct{}

var (
	holdsMu sync.Mutex
	holds   = map[*hold]struct{}{}
)

func newHold(c *caddy.Controller, owner *ZkZone) *hold {
	token, ok := c.Get(tokenKey{}).(*instanceToken)
	if !ok {
		token = new(instanceToken)
		c.Set(tokenKey{}, token)
	}
	return &hold{owner: owner, token: token}
}

// keep records the claim on cfg's Source, which the owner has acquired and
// readied for queries, until release.
func (h *hold) keep(cfg edge.Config) error {
	h.mu.Lock()
	h.cfg, h.taken = cfg, true
	h.mu.Unlock()
	holdsMu.Lock()
	holds[h] = struct{}{}
	holdsMu.Unlock()
	return sweepDeadHolds()
}

// release ends the owner's transfers and gives the claim back; more than once
// is harmless.
func (h *hold) release() error {
	holdsMu.Lock()
	delete(holds, h)
	holdsMu.Unlock()
	h.mu.Lock()
	taken := h.taken
	h.taken = false
	h.mu.Unlock()
	if !taken {
		return nil
	}
	h.owner.stopCatalog()
	h.owner.stopTransfers()
	h.owner.releaseCatalog()
	return sources.release(h.cfg)
}

// sweepDeadHolds releases the claims of instances that are no more.
func sweepDeadHolds() error {
	live := map[*instanceToken]bool{nil: true}
	for _, inst := range caddy.Instances() {
		if token, ok := inst.Storage[tokenKey{}].(*instanceToken); ok {
			live[token] = true
		}
	}
	holdsMu.Lock()
	var dead []*hold
	for h := range holds {
		if !live[h.token] {
			dead = append(dead, h)
		}
	}
	holdsMu.Unlock()
	var err error
	for _, h := range dead {
		err = errors.Join(err, h.release())
	}
	return err
}
