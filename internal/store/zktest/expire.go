package zktest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/Shopify/toxiproxy/v2/toxics"
)

// handshake is the server's answer to a new connection, as the proxy saw it: length, protocol, timeout, session, length of the password, password.
type handshake struct {
	bytes [40]byte
	have  int
}

// sessions is a toxic that harms nothing: it remembers the handshakes of the connections that stand.
type sessions struct {
	mu    sync.Mutex
	known map[*handshake]bool
}

const sessionsToxic = "zktest_sessions"

func init() { toxics.Register(sessionsToxic, new(sessions)) }

// NewState implements toxics.StatefulToxic: each connection has a handshake of its own.
func (*sessions) NewState() any { return new(handshake) }

// Pipe implements toxics.Toxic.
func (s *sessions) Pipe(stub *toxics.ToxicStub) {
	own := stub.State.(*handshake)
	for {
		select {
		case <-stub.Interrupt:
			return
		case c := <-stub.Input:
			if c == nil {
				s.forget(own)
				stub.Close()
				return
			}
			s.see(own, c.Data)
			stub.Output <- c
		}
	}
}

func (s *sessions) see(h *handshake, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.have += copy(h.bytes[h.have:], p); h.have == len(h.bytes) {
		if s.known == nil {
			s.known = make(map[*handshake]bool)
		}
		s.known[h] = true
	}
}

func (s *sessions) forget(h *handshake) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, h)
}

// one returns a handshake, nil when no connection stands.
func (s *sessions) one() *handshake {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.known {
		return h
	}
	return nil
}

// ExpireSession ends the session that a client has through the proxy, as the ensemble itself does when it heard nothing for too long: a second
// connection takes the session over by its password and closes it. The client learns of it when it connects again.
func (p *Proxy) ExpireSession() error {
	p.mu.Lock()
	upstream, seen := p.upstream, p.sessions.one()
	p.mu.Unlock()
	if seen == nil {
		return errors.New("expire a session: no client has one through this proxy")
	}
	if err := expire(upstream, seen); err != nil {
		return fmt.Errorf("expire a session: %w", err)
	}
	return nil
}

func expire(addr string, h *handshake) error {
	const closeSession = -11
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	// Length, protocol, last transaction seen (none), timeout; then session and password as they came.
	request := binary.BigEndian.AppendUint32(nil, 44)
	request = append(request, make([]byte, 4+8)...)
	request = append(request, h.bytes[8:12]...)
	request = append(request, h.bytes[12:]...)
	if _, err := c.Write(request); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, make([]byte, 40)); err != nil {
		return err
	}
	closing := binary.BigEndian.AppendUint32(nil, 8)
	closing = binary.BigEndian.AppendUint32(closing, 1)
	closing = binary.BigEndian.AppendUint32(closing, uint32(0x100000000+closeSession))
	if _, err := c.Write(closing); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c) // until the server has closed
	return err
}
