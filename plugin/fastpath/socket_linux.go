package fastpath

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"github.com/coredns/coredns/plugin/pkg/reuseport"

	"golang.org/x/sys/unix"
)

// socket is one of our sockets of a listening address: a member of the SO_REUSEPORT group that CoreDNS's own socket is in.
type socket struct {
	fd    int
	local net.Addr
	// pktinfo tells that the socket is bound to no one address: then the control messages say which one was asked, and must answer.
	pktinfo bool
}

const (
	// wakeEvery is how long a worker sleeps at most, in microseconds: it looks then whether it is to end, and tells its counts.
	wakeEvery = 100_000
	// receiveBuffer is asked for, not needed: it takes the queries that come while a core does something else. The kernel gives at most net.core.rmem_max.
	receiveBuffer = 4 << 20
)

// openSocket opens a socket as CoreDNS does: same family, same options. The descriptor is a blocking one, outside of Go's poller.
func openSocket(addr string) (*socket, error) {
	pc, err := reuseport.ListenPacket("udp", addr)
	if err != nil {
		return nil, err
	}
	conn := pc.(*net.UDPConn)
	defer conn.Close()
	s := &socket{fd: -1, local: conn.LocalAddr(), pktinfo: conn.LocalAddr().(*net.UDPAddr).IP.IsUnspecified()}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var ctlErr error
	err = raw.Control(func(fd uintptr) {
		if s.fd, ctlErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); ctlErr == nil {
			ctlErr = s.configure()
		}
	})
	if err == nil {
		err = ctlErr
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("socket at %s: %w", addr, err)
	}
	return s, nil
}

func (s *socket) configure() error {
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: wakeEvery}); err != nil {
		return err
	}
	if s.pktinfo {
		domain, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err != nil {
			return err
		}
		level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
		if domain == unix.AF_INET6 { // which says IPv4 addresses in mapped form
			level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
		}
		if err := unix.SetsockoptInt(s.fd, level, option, 1); err != nil {
			return err
		}
	}
	return unix.SetNonblock(s.fd, false)
}

func (s *socket) close() {
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
		s.fd = -1
	}
}

// steerTo makes the kernel deliver to the members first to first+n-1 of the socket's group, which are counted in the order of their opening, each
// datagram to any of them. It needs no privilege.
func (s *socket) steerTo(first, n int) error {
	const adRandom = -0x1000 + 56 // SKF_AD_OFF + SKF_AD_RANDOM
	offset := int32(adRandom)
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(offset)}, //nolint:gosec // negative on purpose
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(n)},     //nolint:gosec // small
		{Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_K, K: uint32(first)}, //nolint:gosec // small
		{Code: unix.BPF_RET | unix.BPF_A},
	}
	return unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{
		Len: uint16(len(program)), Filter: &program[0], //nolint:gosec // four
	})
}

// unsteer leaves it to the kernel's hashing again.
func (s *socket) unsteer() {
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0)
}

// nameSize is the room for a peer's address of either family.
const nameSize = unix.SizeofSockaddrInet6

// peerName is a socket address as the kernel writes it.
type peerName [nameSize]byte

func (n *peerName) family() uint16 { return *(*uint16)(unsafe.Pointer(&n[0])) }

// addr is the IP address; one that was mapped into IPv6 comes out as IPv4.
func (n *peerName) addr() netip.Addr {
	if n.family() == unix.AF_INET {
		return netip.AddrFrom4([4]byte(n[4:8]))
	}
	return netip.AddrFrom16([16]byte(n[8:24])).Unmap()
}

func (n *peerName) port() int { return int(n[2])<<8 | int(n[3]) }

// udpAddr is the address as the net package has it.
func (n *peerName) udpAddr() net.UDPAddr {
	if n.family() == unix.AF_INET {
		return net.UDPAddr{IP: net.IP(append([]byte(nil), n[4:8]...)), Port: n.port()}
	}
	a := net.UDPAddr{IP: net.IP(append([]byte(nil), n[8:24]...)), Port: n.port()}
	if scope := *(*uint32)(unsafe.Pointer(&n[24])); scope != 0 {
		a.Zone = strconv.FormatUint(uint64(scope), 10)
	}
	return a
}

// controlSize is the room for one control message with an IPv6 address in it; the IPv4 one is shorter.
const controlSize = 40

// control is a datagram's control messages: at most the one that says at which of our addresses it came. Sent with the reply it makes that its
// source.
type control struct {
	_   [0]uint64 // aligned as the kernel's headers are
	buf [controlSize]byte
}

// answerFrom makes a received control message of n octets one to be sent: the interface is left open, because the way back may be another one.
func (c *control) answerFrom(n int) {
	if n < unix.SizeofCmsghdr {
		return
	}
	switch h := (*unix.Cmsghdr)(unsafe.Pointer(&c.buf[0])); {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && n >= unix.CmsgLen(unix.SizeofInet4Pktinfo):
		(*unix.Inet4Pktinfo)(unsafe.Pointer(&c.buf[unix.CmsgLen(0)])).Ifindex = 0
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && n >= unix.CmsgLen(unix.SizeofInet6Pktinfo):
		info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&c.buf[unix.CmsgLen(0)]))
		if info.Addr[0] != 0xfe || info.Addr[1]&0xc0 != 0x80 { // a link-local address means something on its link only
			info.Ifindex = 0
		}
	}
}
