package fastpath

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
)

// supported tells whether this system has what the fast path needs.
const supported = true

// listener is one listening address's sockets and workers. It outlives reloads: the new instance's view takes the old one's place.
type listener struct {
	addr    string
	stock   int // sockets that CoreDNS has at the address
	sockets []*socket
	queue   chan *missed
	view    atomic.Pointer[view]

	stopping atomic.Bool
	workers  sync.WaitGroup
	steered  bool
}

// open opens the sockets and steers to them what comes from now on. Nothing is read yet.
func open(addr string, p *plan) (*listener, error) {
	n := p.workers
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	l := &listener{addr: addr, stock: p.sockets, queue: make(chan *missed, maxQueued)}
	for range n {
		s, err := openSocket(addr)
		if err != nil {
			for _, s := range l.sockets {
				s.close()
			}
			return nil, err
		}
		l.sockets = append(l.sockets, s)
	}
	return l, nil
}

// start makes the listener answer from v.
func (l *listener) start(v *view) {
	l.view.Store(v)
	for _, s := range l.sockets {
		l.workers.Go(newWorker(l, s).run)
	}
	how := "all of its queries"
	if err := l.sockets[0].steerTo(l.stock, len(l.sockets)); err != nil {
		how = "as many of its queries as the kernel's hash gives it, since steering was refused: " + err.Error()
	} else {
		l.steered = true
	}
	log.Infof("Answering at %s with %d workers, %s", v.server, len(l.sockets), how)
}

// renew makes the listener answer from v, in place of the view that it returns. No datagram is lost: the sockets stay as they are, and so
// does the queue.
func (l *listener) renew(v *view, p *plan) (old *view) {
	if p.sockets != l.stock && l.steered {
		// The members of the group are not where the filter takes them to be any more. All give the same answers, so this only costs time.
		l.sockets[0].unsteer()
		l.steered = false
		log.Infof("At %s the number of sockets has changed: the kernel's hash spreads queries over ours and CoreDNS's until the next start", v.server)
	}
	return l.view.Swap(v)
}

// drainFor bounds how long misses that wait are served at the end.
const drainFor = time.Second

// settleFor is longer than the kernel takes to deliver a datagram for which it has chosen a socket already.
const settleFor = 5 * time.Millisecond

// stop gives the address back to CoreDNS's own sockets and answers what has come until then.
func (l *listener) stop() {
	if l.steered {
		_ = l.sockets[0].steerTo(0, l.stock)
		time.Sleep(settleFor)
	}
	l.stopping.Store(true)
	l.workers.Wait()
	for end := time.Now().Add(drainFor); len(l.queue) > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	l.view.Load().chain.stop()
	for i, s := range slices.Backward(l.sockets) { // the last first: the others keep their places in the group
		if i == 0 && l.steered {
			s.unsteer()
		}
		s.close()
	}
}

// registry has the process's listeners.
type registry struct {
	mu     sync.Mutex
	open   map[string]*listener          // by address
	claims map[*instance]map[string]bool // addresses that an instance serves or is about to
}

var listeners = &registry{open: map[string]*listener{}, claims: map[*instance]map[string]bool{}}

// claim keeps the listeners of an instance's addresses open.
func (r *registry) claim(i *instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.claims[i] = map[string]bool{}
	for addr := range i.plans {
		r.claims[i][addr] = true
	}
}

// serve makes the instance's view the one that is answered from at the address. With several sockets of CoreDNS's there it is called for each; their servers
// are alike, and the first will do.
func (r *registry) serve(i *instance, addr string, p *plan, s *dnsserver.Server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.claims[i][addr] {
		return // released already
	}
	l := r.open[addr]
	if l != nil && l.view.Load().owner == i {
		return
	}
	isNew := l == nil
	if isNew {
		var err error
		if l, err = open(addr, p); err != nil {
			log.Warningf("Off at %s: %v; the plugin chain answers", s.Addr, err)
			return
		}
		r.open[addr] = l
	}
	v := &view{server: s.Addr, blocks: p.blocks, owner: i, chain: startChain(s, l.queue, l.sockets[0].local, p.updates)}
	if isNew {
		l.start(v)
		return
	}
	old := l.renew(v, p)
	old.owner.chains.Go(old.chain.stop)
}

// takeOverWithin is how long a listener answers from a view of an instance that is gone, until the next instance's server starts to serve.
const takeOverWithin = 5 * time.Second

// release gives up an instance's claims. Listeners that nobody else claims end; those that another claims wait for it.
func (r *registry) release(i *instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.claims, i)
	for addr, l := range r.open {
		switch {
		case !r.claimed(addr):
			delete(r.open, addr)
			l.stop()
		case l.view.Load().owner == i:
			time.AfterFunc(takeOverWithin, func() { r.abandon(addr, i) })
		}
	}
}

// abandon ends a listener that nobody took over: another plugin has the hook now.
func (r *registry) abandon(addr string, i *instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.open[addr]; l != nil && l.view.Load().owner == i {
		delete(r.open, addr)
		l.stop()
	}
}

func (r *registry) claimed(addr string) bool {
	for _, addrs := range r.claims {
		if addrs[addr] {
			return true
		}
	}
	return false
}

// sweep releases the claims of instances that are not alive.
func (r *registry) sweep(alive map[*instance]bool) {
	r.mu.Lock()
	var dead []*instance
	for i := range r.claims {
		if !alive[i] {
			dead = append(dead, i)
		}
	}
	r.mu.Unlock()
	for _, i := range dead {
		r.release(i)
	}
}
