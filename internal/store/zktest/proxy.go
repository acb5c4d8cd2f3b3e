package zktest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy is a TCP proxy in front of a server that makes the network fail. Its methods may be called concurrently.
type Proxy struct {
	listener net.Listener
	upstream string
	done     sync.WaitGroup

	mu     sync.Mutex
	cond   *sync.Cond
	mode   mode
	delay  time.Duration // of every piece, each way
	rate   int           // bytes a second and direction, 0: no limit
	closed bool
	links  map[*link]bool
}

type mode int

const (
	forward mode = iota
	frozen       // connections are accepted and stay, no byte passes
	cut          // connections are closed, new ones too
	mute         // requests pass, replies don't
	deaf         // replies pass, requests don't
)

// link is one proxied connection.
type link struct {
	client, server net.Conn
	greeting       handshake
}

func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// NewProxy starts a proxy to upstream, forwarding, on a free port. It ends with the test.
func NewProxy(tb testing.TB, upstream string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // nothing to cancel
	if err != nil {
		tb.Fatalf("proxy: %v", err)
	}
	p := &Proxy{listener: l, upstream: upstream, links: make(map[*link]bool)}
	p.cond = sync.NewCond(&p.mu)
	p.done.Go(p.accept)
	tb.Cleanup(p.close)
	return p
}

// Addr returns the address to connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut closes all connections, and new ones as they come.
func (p *Proxy) Cut() { p.set(cut) }

// Freeze lets no byte pass any more; connections stay and new ones are accepted. What was sent meanwhile passes after Heal.
func (p *Proxy) Freeze() { p.set(frozen) }

// Mute lets requests pass and swallows the replies: after it, a client can't know what the server did.
func (p *Proxy) Mute() { p.set(mute) }

// Deafen lets replies pass and swallows the requests: watches go on firing for a while, nothing is answered.
func (p *Proxy) Deafen() { p.set(deaf) }

// Slow delays every piece of a stream, each way, by delay, and lets no more than rate bytes a second pass each way; zero values don't. A piece is at
// most 64 KiB.
func (p *Proxy) Slow(delay time.Duration, rate int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay, p.rate = delay, rate
}

// Redirect closes all connections and sends new ones to another server.
func (p *Proxy) Redirect(upstream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.upstream = upstream
	p.cut()
}

// Heal ends Cut, Freeze, Mute, Deafen and Slow; connections that lost bytes are closed.
func (p *Proxy) Heal() {
	p.Slow(0, 0)
	p.set(forward)
}

func (p *Proxy) set(m mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.mode
	p.mode = m
	if m == cut || old == mute || old == deaf { // a stream with bytes swallowed is of no more use
		p.cut()
	}
	p.cond.Broadcast()
}

// cut closes all connections.
func (p *Proxy) cut() {
	for l := range p.links {
		l.close()
	}
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.cut()
	p.cond.Broadcast()
	p.mu.Unlock()
	_ = p.listener.Close()
	p.done.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.done.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	p.mu.Lock()
	upstream := p.upstream
	p.mu.Unlock()
	server, err := net.Dial("tcp", upstream) //nolint:noctx // a local server answers or refuses at once
	if err != nil {
		_ = client.Close()
		return
	}
	l := &link{client: client, server: server}
	p.mu.Lock()
	p.links[l] = true
	if p.closed || p.mode == cut {
		l.close()
	}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(l, server, client, false) })
	both.Go(func() { p.copy(l, client, server, true) })
	both.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// copy passes bytes one way until either side ends.
func (p *Proxy) copy(l *link, dst io.Writer, src io.Reader, replies bool) {
	defer l.close()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if replies {
			p.mu.Lock()
			l.greeting.see(buf[:n])
			p.mu.Unlock()
		}
		if n > 0 && p.mayPass(replies, n) {
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// mayPass waits while the proxy is slow or frozen, and tells whether the n bytes are to be passed on.
func (p *Proxy) mayPass(replies bool, n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := p.delay
	if p.rate > 0 {
		wait += time.Duration(n) * time.Second / time.Duration(p.rate)
	}
	if wait > 0 {
		p.mu.Unlock()
		time.Sleep(wait)
		p.mu.Lock()
	}
	for p.mode == frozen && !p.closed {
		p.cond.Wait()
	}
	switch p.mode {
	case mute:
		return !replies
	case deaf:
		return replies
	}
	return p.mode == forward
}
