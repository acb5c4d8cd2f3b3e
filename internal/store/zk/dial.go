package zk

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

const (
	keepAlive = 15 * time.Second
	// jitterMin and jitterMax bound the pause before every connection but a Conn's first, so that a fleet does not come back all at once.
	jitterMin, jitterMax = 20 * time.Millisecond, 250 * time.Millisecond
	// maxHandshake bounds the server's answer to the handshake; it is 40 bytes or so. The library would allocate what any port's answer claims.
	maxHandshake = 1 << 10
	// longReply is a length above those of pings' replies and of watch events, which say nothing of the replies behind them.
	longReply = 4 << 10
	// minReply is a reply's header; the library panics at a shorter one.
	minReply = 16
)

// errFrame means that what answers is no ZooKeeper server.
var errFrame = errors.New("not a ZooKeeper packet")

// dialer makes the TCP connections of one Conn.
type dialer struct {
	ctx      context.Context
	o        Options
	progress func() // told when a piece of a long reply comes in; nil: nobody

	mu      sync.Mutex
	current net.Conn
	dialed  bool
	closed  bool
}

func newDialer(ctx context.Context, o Options) *dialer { return &dialer{ctx: ctx, o: o} }

// dial is a gozk.Dialer; the library's timeout, always one second, is ignored.
func (d *dialer) dial(network, address string, _ time.Duration) (net.Conn, error) {
	d.mu.Lock()
	again := d.dialed
	d.dialed = true
	d.mu.Unlock()
	if again {
		sleep(d.ctx, jitterMin+rand.N(jitterMax-jitterMin)) //nolint:gosec // a jitter
	}
	ctx, cancel := context.WithTimeout(d.ctx, d.o.DialTimeout)
	defer cancel()
	nd := net.Dialer{KeepAlive: keepAlive}
	raw, err := nd.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if d.o.TLS != nil {
		if raw, err = d.secure(ctx, raw, address); err != nil {
			return nil, err
		}
	}
	return d.keep(raw)
}

// secure does the TLS handshake. It closes raw when it fails.
func (d *dialer) secure(ctx context.Context, raw net.Conn, address string) (net.Conn, error) {
	c, err := handshake(ctx, raw, address, d.o.TLS)
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return c, nil
}

func handshake(ctx context.Context, raw net.Conn, address string, configure func() (*tls.Config, error)) (net.Conn, error) {
	config, err := configure()
	if err != nil {
		return nil, err
	}
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		config = config.Clone()
		config.ServerName = host
	}
	c := tls.Client(raw, config)
	return c, c.HandshakeContext(ctx)
}

func (d *dialer) keep(raw net.Conn) (net.Conn, error) {
	c := &cappedConn{Conn: raw, progress: d.progress, deadline: time.Now().Add(d.o.HandshakeTimeout)}
	// Before the library sets its own, which the cap then shortens: it sets none at all for the second half of the answer.
	if err := raw.SetDeadline(c.deadline); err != nil {
		_ = raw.Close()
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = raw.Close()
		return nil, net.ErrClosed
	}
	d.current = raw
	return c, nil
}

// Close cuts the present connection, so that a Conn that was closed ends at once, whatever it waits for.
func (d *dialer) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.current == nil {
		return nil
	}
	return d.current.Close()
}

// cappedConn cures two faults of the library (go-zookeeper/zk v1.0.4). It waits for the handshake's answer ten times the receive timeout, 66 s with a
// session of 10 s, so a server that hangs after accept (stopped, paging, half dead) holds every client beyond its session: the cap ends that
// after HandshakeTimeout. And it trusts lengths: a reply under 16 bytes panics.
type cappedConn struct {
	net.Conn
	progress func() // see dialer

	mu       sync.Mutex
	deadline time.Time // of the handshake
	settled  bool      // the handshake is over

	header [4]byte // the length of the packet that is being read; only the reading goroutine uses these
	have   int     // bytes of header read
	left   int     // bytes of the packet's body that are to come
	long   bool    // the packet is longer than pings and events are
}

// SetReadDeadline implements net.Conn; during the handshake the cap rules.
func (c *cappedConn) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.capped(t)) }

// SetWriteDeadline implements net.Conn; during the handshake the cap rules.
func (c *cappedConn) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(c.capped(t)) }

func (c *cappedConn) capped(t time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.settled && (t.IsZero() || t.After(c.deadline)) {
		return c.deadline
	}
	return t
}

// Read implements net.Conn. It never returns bytes of two packets, nor of a header and a body, at once.
func (c *cappedConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.left > 0 {
		n, err := c.Conn.Read(p[:min(len(p), c.left)])
		if n > 0 && c.long && c.progress != nil {
			c.progress()
		}
		if c.left -= n; c.left == 0 && err == nil {
			err = c.settle()
		}
		return n, err
	}
	n, err := c.Conn.Read(p[:min(len(p), len(c.header)-c.have)])
	copy(c.header[c.have:], p[:n])
	if c.have += n; c.have < len(c.header) || err != nil {
		return n, err
	}
	c.have = 0
	if c.left, err = c.bodyLength(); err != nil {
		return 0, err // withheld, or io.ReadFull would have its four bytes and drop the error
	}
	c.long = c.left >= longReply
	return n, nil
}

func (c *cappedConn) bodyLength() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	length, most := binary.BigEndian.Uint32(c.header[:]), uint32(maxPacket)
	if !c.settled {
		most = maxHandshake
	}
	if length < minReply || length > most {
		return 0, fmt.Errorf("length %d: %w", length, errFrame)
	}
	return int(length), nil
}

// settle ends the handshake's cap after its answer was read; later deadlines are the library's own.
func (c *cappedConn) settle() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.settled {
		return nil
	}
	c.settled = true
	return c.SetDeadline(time.Time{})
}
