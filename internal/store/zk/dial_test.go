package zk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/iotest"
	"time"
)

// fakeConn is a net.Conn of which only reading and the deadlines work.
type fakeConn struct {
	net.Conn

	r             io.Reader
	read, written time.Time // the deadlines set last
}

func (f *fakeConn) Read(p []byte) (int, error)         { return f.r.Read(p) }
func (f *fakeConn) SetReadDeadline(t time.Time) error  { f.read = t; return nil }
func (f *fakeConn) SetWriteDeadline(t time.Time) error { f.written = t; return nil }
func (f *fakeConn) SetDeadline(t time.Time) error      { f.read, f.written = t, t; return nil }

// packet is a body with its length.
func packet(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// readPacket reads as the library does: four bytes, then as many as they say.
func readPacket(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(length[:]))
	_, err := io.ReadFull(r, body)
	return body, err
}

func TestDeadlinesAreCappedUntilTheHandshakeIsAnswered(t *testing.T) {
	answer := bytes.Repeat([]byte{1}, 37)
	f := &fakeConn{r: bytes.NewReader(append(packet(answer), packet(make([]byte, 100))...))}
	deadline := time.Now().Add(time.Second)
	c := &cappedConn{Conn: f, deadline: deadline}
	late, soon := deadline.Add(time.Hour), deadline.Add(-time.Millisecond)
	check := func(what string, set, want time.Time) {
		t.Helper()
		if err := errors.Join(c.SetReadDeadline(set), c.SetWriteDeadline(set)); err != nil {
			t.Fatal(err)
		}
		if !f.read.Equal(want) || !f.written.Equal(want) {
			t.Errorf("%s: asked for %v, got %v and %v", what, set, f.read, f.written)
		}
	}
	check("later than the cap", late, deadline)
	check("none", time.Time{}, deadline) // what the library asks for between the length and the rest
	check("sooner than the cap", soon, soon)
	if _, err := io.ReadFull(c, make([]byte, 20)); err != nil {
		t.Fatal(err)
	}
	check("in the middle of the answer", late, deadline)
	if _, err := io.ReadFull(c, make([]byte, 21)); err != nil {
		t.Fatal(err)
	}
	if !f.read.IsZero() || !f.written.IsZero() {
		t.Errorf("after the answer the deadlines %v and %v are left", f.read, f.written)
	}
	check("after the answer", late, late)
	check("after the answer, none", time.Time{}, time.Time{})
	if body, err := readPacket(c); err != nil || len(body) != 100 {
		t.Errorf("the next packet: %d bytes, %v", len(body), err)
	}
}

func FuzzConnReadsOnlySoundFrames(f *testing.F) {
	f.Add(append(packet(make([]byte, 37)), packet(make([]byte, 16))...))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Add(append(packet(make([]byte, 37)), 0, 0, 0, 2, 1, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := &cappedConn{Conn: &fakeConn{r: bytes.NewReader(b)}}
		slow := &cappedConn{Conn: &fakeConn{r: iotest.OneByteReader(bytes.NewReader(b))}}
		for i := 0; ; i++ {
			body, err := readPacket(whole)
			again, err2 := readPacket(slow)
			if (err == nil) != (err2 == nil) || !bytes.Equal(body, again) {
				t.Fatalf("packet %d of %x: %x, %v at once and %x, %v byte by byte", i, b, body, err, again, err2)
			}
			if err != nil {
				return
			}
			if len(body) < minReply || len(body) > maxPacket || i == 0 && len(body) > maxHandshake {
				t.Fatalf("packet %d of %x has %d bytes", i, b, len(body))
			}
		}
	})
}

func TestHostsTakeAWholeRoundBeforeThePause(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5} {
		h := &hosts{}
		servers := make([]string, n)
		for i := range servers {
			servers[i] = string(rune('a' + i))
		}
		if err := h.Init(servers); err != nil || h.Len() != n {
			t.Fatal(err, h.Len())
		}
		round := max(2, n)
		for range 3 { // after a success, a whole round without a pause
			seen := make(map[string]bool)
			for i := range round {
				s, pause := h.Next()
				seen[s] = true
				if pause {
					t.Errorf("%d servers: pause before try %d", n, i)
				}
			}
			if len(seen) != n {
				t.Errorf("%d servers: a round tries %d of them", n, len(seen))
			}
			for range 2 { // then one pause for each round
				for i := range round {
					if _, pause := h.Next(); pause != (i == 0) {
						t.Errorf("%d servers: try %d of a later round: pause %v", n, i, pause)
					}
				}
			}
			h.Connected()
		}
	}
}
