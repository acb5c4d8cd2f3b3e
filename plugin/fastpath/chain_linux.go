package fastpath

import (
	"context"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/coredns/coredns/core/dnsserver"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

const (
	// maxQueued is how many misses wait for the chain. More than it can answer soon are better dropped: their clients ask again.
	maxQueued = 1024
	// maxUnderWay is how many misses the chain may have begun: those that wait for an upstream server cost memory.
	maxUnderWay = 8192
	// turn is how many misses are begun before those may run: so few compete with the workers for a core at a time.
	turn = 32
)

// missed is a datagram for the chain.
type missed struct {
	from *origin
	n    int
	data [maxQuery]byte
}

var missedPool = sync.Pool{New: func() any { return new(missed) }}

func newMissed(s *socket, datagram []byte, name *peerName, nameLen uint32, c *control, controlLen int) *missed {
	m := missedPool.Get().(*missed)
	m.n = copy(m.data[:], datagram)
	m.from = &origin{UDPAddr: name.udpAddr(), sock: s, name: *name, nameLen: nameLen}
	if s.pktinfo {
		m.from.control, m.from.controlLen = *c, controlLen
		m.from.control.answerFrom(controlLen)
	}
	return m
}

// origin is where a datagram came from and how a reply gets there. The chain sees a *net.UDPAddr, as from a stock socket, because plugins look
// for just that: it is the first field, so a pointer to it is one to all.
type origin struct {
	net.UDPAddr
	sock       *socket
	name       peerName
	nameLen    uint32
	control    control
	controlLen int
}

func originOf(a net.Addr) *origin { return (*origin)(unsafe.Pointer(a.(*net.UDPAddr))) }

// reply sends one datagram back.
func (o *origin) reply(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	vec := unix.Iovec{Base: &b[0]}
	vec.SetLen(len(b))
	h := unix.Msghdr{Name: &o.name[0], Namelen: o.nameLen, Iov: &vec, Iovlen: 1}
	if o.controlLen > 0 {
		h.Control = &o.control.buf[0]
		h.SetControllen(o.controlLen)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(o.sock.fd), uintptr(unsafe.Pointer(&h)), 0); errno != 0 {
		return 0, os.NewSyscallError("sendmsg", errno)
	}
	return len(b), nil
}

// chain leads misses into a server's plugin chain by way of a real dns.Server, whose handling of malformed, signed and unwanted messages is so the same
// as ever. It is the dns.Server's net.PacketConn.
type chain struct {
	server   *dns.Server
	queue    chan *missed
	local    net.Addr
	underWay atomic.Int64
	begun    int
	done     chan struct{}
	doneOnce sync.Once
}

var _ net.PacketConn = (*chain)(nil)

// startChain begins to serve the queue.
func startChain(s *dnsserver.Server, queue chan *missed, local net.Addr, updates bool) *chain {
	c := &chain{queue: queue, local: local, done: make(chan struct{})}
	started := make(chan struct{})
	c.server = &dns.Server{
		PacketConn: c,
		Net:        "udp",
		TsigSecret: s.TsigSecret,
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
			c.underWay.Add(1)
			defer c.underWay.Add(-1)
			ctx := context.WithValue(context.Background(), dnsserver.Key{}, s)
			s.ServeDNS(context.WithValue(ctx, dnsserver.LoopKey{}, 0), w, r)
		}),
		NotifyStartedFunc: func() { close(started) },
	}
	if updates {
		c.server.MsgAcceptFunc = acceptUpdates
	}
	go func() { _ = c.server.ActivateAndServe() }() // it ends without an error, by stop
	<-started
	return c
}

// acceptUpdates is Server.acceptMessage for servers of which some block has dynupdate; the server's own ServeDNS refuses those of other blocks.
func acceptUpdates(h dns.Header) dns.MsgAcceptAction {
	action := dns.DefaultMsgAcceptFunc(h)
	if action != dns.MsgRejectNotImplemented || int(h.Bits>>11)&0xf != dns.OpcodeUpdate {
		return action
	}
	if h.Qdcount != 1 {
		return dns.MsgReject
	}
	return dns.MsgAccept
}

// stopGrace is how long queries that the chain has begun may take at the end; a CoreDNS server gives its own as long.
const stopGrace = 5 * time.Second

// stop ends reading the queue and waits for what was begun.
func (c *chain) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	_ = c.server.ShutdownContext(ctx)
}

// ReadFrom implements net.PacketConn: the next datagram from the queue.
func (c *chain) ReadFrom(p []byte) (int, net.Addr, error) {
	if c.begun++; c.begun%turn == 0 {
		runtime.Gosched()
		for c.underWay.Load() >= maxUnderWay && !c.ended() {
			time.Sleep(time.Millisecond)
		}
	}
	select {
	case m := <-c.queue:
		n, from := copy(p, m.data[:m.n]), m.from
		m.from = nil
		missedPool.Put(m)
		return n, &from.UDPAddr, nil
	case <-c.done:
		return 0, nil, net.ErrClosed
	}
}

func (c *chain) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// WriteTo implements net.PacketConn: addr is one that ReadFrom returned.
func (c *chain) WriteTo(p []byte, addr net.Addr) (int, error) { return originOf(addr).reply(p) }

// SetReadDeadline implements net.PacketConn. The dns.Server sets one before each read, which is of no use here, and one in the past when it ends.
func (c *chain) SetReadDeadline(t time.Time) error {
	if time.Until(t) < 0 {
		c.doneOnce.Do(func() { close(c.done) })
	}
	return nil
}

// Close implements net.PacketConn; the sockets are the listener's.
func (c *chain) Close() error { return nil }

// LocalAddr implements net.PacketConn.
func (c *chain) LocalAddr() net.Addr { return c.local }

// SetDeadline implements net.PacketConn.
func (c *chain) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn.
func (c *chain) SetWriteDeadline(time.Time) error { return nil }
