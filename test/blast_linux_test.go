package test

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// blaster asks as fast as a server answers: a few sockets, each with a window of queries under way, sent and read many at a time. It spins on one core,
// so that it and not the client's sleep is waited for.
type blaster struct {
	queries [][]byte
	next    int
	socks   []blastSock

	out, in       [blastBatch]blastMsg
	outVec, inVec [blastBatch]unix.Iovec
	replies       [blastBatch][4096]byte
}

const (
	blastBatch   = 32
	blastSockets = 16
	blastWindow  = 32 // queries under way from each
)

type blastSock struct {
	fd       int
	underWay int
	lastSeen time.Time
}

// blastMsg is the kernel's struct mmsghdr.
type blastMsg struct {
	hdr unix.Msghdr
	n   uint32
	_   [unsafe.Sizeof(uintptr(0)) - 4]byte
}

// newBlaster makes one for a server on loopback.
func newBlaster(tb testing.TB, addr string, queries [][]byte) *blaster {
	tb.Helper()
	to := netip.MustParseAddrPort(addr)
	b := &blaster{queries: queries}
	for range blastSockets {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = unix.Close(fd) })
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
			tb.Fatal(err)
		}
		b.socks = append(b.socks, blastSock{fd: fd})
	}
	for i := range blastBatch {
		b.out[i].hdr = unix.Msghdr{Iov: &b.outVec[i], Iovlen: 1}
		b.inVec[i].Base = &b.replies[i][0]
		b.inVec[i].SetLen(len(b.replies[i]))
		b.in[i].hdr = unix.Msghdr{Iov: &b.inVec[i], Iovlen: 1}
	}
	return b
}

// run asks for so long and returns the answers by rcode; lost counts windows that had to be opened again.
func (b *blaster) run(took time.Duration) (answers [16]int, lost int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := time.Now()
	for i := range b.socks {
		b.socks[i].underWay, b.socks[i].lastSeen = 0, began
	}
	for now := began; now.Sub(began) < took; now = time.Now() {
		for i := range b.socks {
			s := &b.socks[i]
			n := b.receive(s, &answers)
			switch {
			case n > 0:
				s.lastSeen = now
			case s.underWay > 0 && now.Sub(s.lastSeen) > 200*time.Millisecond:
				lost += s.underWay
				s.underWay, s.lastSeen = 0, now
			}
			for s.underWay < blastWindow && b.send(s) > 0 {
			}
		}
	}
	end := time.Now().Add(100 * time.Millisecond) // what is under way must not be taken for the next run's
	for time.Now().Before(end) {
		var late [16]int
		for i := range b.socks {
			b.receive(&b.socks[i], &late)
		}
	}
	return answers, lost
}

func (b *blaster) send(s *blastSock) int {
	n := min(blastBatch, blastWindow-s.underWay)
	for i := range n {
		q := b.queries[b.next]
		if b.next++; b.next == len(b.queries) {
			b.next = 0
		}
		binary.BigEndian.PutUint16(q, uint16(b.next))
		b.outVec[i].Base = &q[0]
		b.outVec[i].SetLen(len(q))
	}
	k, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&b.out[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0
	}
	s.underWay += int(k)
	return int(k)
}

func (b *blaster) receive(s *blastSock, answers *[16]int) int {
	k, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&b.in[0])), blastBatch, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0
	}
	for i := range int(k) {
		if b.in[i].n >= 12 {
			answers[b.replies[i][3]&15]++
		}
	}
	s.underWay = max(0, s.underWay-int(k))
	return int(k)
}
