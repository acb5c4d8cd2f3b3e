package fastpath

import (
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"github.com/coredns/coredns/plugin/metrics/vars"

	"golang.org/x/sys/unix"
)

const (
	// batchSize is how many datagrams one system call takes in at most.
	batchSize = 64
	// flushEvery is how often counts go to Prometheus.
	flushEvery = time.Second
	// sampleEvery is how many answers one observation in the stock histograms stands for.
	sampleEvery = 64
)

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [unsafe.Sizeof(uintptr(0)) - 4]byte
}

// worker reads one socket and answers. All it needs is allocated once.
type worker struct {
	*listener
	sock *socket
	r    responder

	in, out   [batchSize]mmsghdr
	inVec     [batchSize]unix.Iovec
	outVec    [batchSize]unix.Iovec
	names     [batchSize]peerName
	controls  [batchSize]control
	queries   [batchSize][maxQuery]byte
	replies   [batchSize][maxReply]byte
	used      int  // slots of in that the kernel has written to
	handed    bool // misses were handed on, and the chain may not have had the processor since
	busy      bool // the last batch had more than one datagram: more will be there
	flushed   time.Time
	unsampled uint64
}

func newWorker(l *listener, s *socket) *worker {
	w := &worker{listener: l, sock: s, used: batchSize, flushed: time.Now()}
	for i := range batchSize {
		w.inVec[i].Base, w.outVec[i].Base = &w.queries[i][0], &w.replies[i][0]
		w.inVec[i].SetLen(maxQuery)
		w.in[i].hdr = unix.Msghdr{Name: &w.names[i][0], Iov: &w.inVec[i], Iovlen: 1}
		w.out[i].hdr = unix.Msghdr{Iov: &w.outVec[i], Iovlen: 1}
	}
	return w
}

// run serves until the listener stops, and then what the kernel still has.
func (w *worker) run() {
	for {
		stopping := w.stopping.Load()
		n := w.receive(!stopping)
		now := time.Now()
		if n > 0 {
			w.serve(n, now)
		}
		if n == 0 || now.Sub(w.flushed) >= flushEvery {
			w.flush(now)
		}
		if n == 0 && stopping {
			return
		}
	}
}

// receive reads a batch. If it must wait it does so in a system call that Go knows of, which costs it its processor; where more is to be expected it
// asks first without.
func (w *worker) receive(wait bool) int {
	for i := range w.used {
		w.in[i].hdr.Namelen = nameSize
		if w.sock.pktinfo {
			w.in[i].hdr.Control = &w.controls[i].buf[0]
			w.in[i].hdr.SetControllen(controlSize)
		}
	}
	w.used = 0
	if w.busy || w.handed || !wait {
		if w.poll() || !wait {
			return w.used
		}
	}
	for w.handed { // before it sleeps in the kernel, which Go notices late: let those run that answer what was handed on
		w.handed = len(w.queue) > 0
		runtime.Gosched()
		if w.poll() {
			return w.used
		}
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(w.sock.fd), uintptr(unsafe.Pointer(&w.in[0])), batchSize, unix.MSG_WAITFORONE, 0, 0)
	if errno != 0 {
		w.busy = false
		if errno != unix.EAGAIN && errno != unix.EINTR {
			time.Sleep(time.Millisecond) // an error of the network, say; what it was about is not ours
		}
		return 0
	}
	w.used, w.busy = int(n), n > 1
	return w.used
}

// poll reads what is there already.
func (w *worker) poll() bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(w.sock.fd), uintptr(unsafe.Pointer(&w.in[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return false
	}
	w.used, w.busy = int(n), n > 1
	return n > 0
}

// serve answers the first n datagrams: the hits with one system call, and then the misses are handed on.
func (w *worker) serve(n int, began time.Time) {
	v := w.view.Load()
	if w.r.view != v {
		w.flush(began)
		w.r.use(v)
	}
	w.r.tallies.batches++
	var missed [batchSize]uint8
	misses, replies := 0, 0
	lastQuery := 0
	for i := range n {
		datagram := w.queries[i][:w.in[i].n]
		from := w.names[i].addr()
		reply, reason := w.answer(datagram, from, w.replies[replies][:0])
		if reason != 0 {
			w.r.tallies.misses[reason]++
			missed[misses] = uint8(i)
			misses++
			continue
		}
		out := &w.out[replies].hdr
		out.Name, out.Namelen = &w.names[i][0], w.in[i].hdr.Namelen
		if w.sock.pktinfo {
			length := int(w.in[i].hdr.Controllen) //nolint:gosec // at most controlSize
			w.controls[i].answerFrom(length)
			out.Control = &w.controls[i].buf[0]
			out.SetControllen(length)
		}
		w.outVec[replies].SetLen(len(reply))
		lastQuery = len(datagram)
		replies++
	}
	if replies > 0 {
		w.send(replies)
		if w.unsampled += uint64(replies); w.unsampled >= sampleEvery {
			w.unsampled = 0
			w.r.tallies.sample(v.server, time.Since(began), lastQuery, int(w.outVec[replies-1].Len)) //nolint:gosec // at most maxReply
		}
	}
	if misses == 0 {
		return
	}
	for _, i := range missed[:misses] {
		w.hand(int(i))
	}
	w.handed = true
	runtime.Gosched() // a flood of hits would keep the processor from the chain for as long as Go lets it
}

// answer is the responder's; should that panic, the datagram is a miss like others, as CoreDNS's server survives a plugin's panic.
func (w *worker) answer(datagram []byte, from netip.Addr, out []byte) (reply []byte, reason missReason) {
	defer func() {
		if fault := recover(); fault != nil {
			log.Errorf("Recovered from panic, left % x to the plugin chain: %v", datagram, fault)
			vars.Panic.Inc()
			reply, reason = nil, missFault
		}
	}()
	return w.r.answer(datagram, from, out)
}

// hand gives a datagram to the chain, if it has room.
func (w *worker) hand(i int) {
	m := newMissed(w.sock, w.queries[i][:w.in[i].n], &w.names[i], w.in[i].hdr.Namelen, &w.controls[i], int(w.in[i].hdr.Controllen)) //nolint:gosec // at most controlSize
	select {
	case w.queue <- m:
	default:
		w.r.tallies.drops++
	}
}

// send sends the first n replies.
func (w *worker) send(n int) {
	for sent := 0; sent < n; {
		k, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(w.sock.fd), uintptr(unsafe.Pointer(&w.out[sent])), uintptr(n-sent), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EAGAIN { // the send buffer is full: wait, as a system call that Go knows of
			k, _, errno = unix.Syscall6(unix.SYS_SENDMMSG, uintptr(w.sock.fd), uintptr(unsafe.Pointer(&w.out[sent])), uintptr(n-sent), 0, 0, 0)
		}
		switch {
		case errno == 0:
			sent += int(k)
		case errno != unix.EINTR: // the first one can't be sent: no route to it, say
			w.r.tallies.unsent++
			sent++
		}
	}
}

// flush tells what was counted.
func (w *worker) flush(now time.Time) {
	w.flushed = now
	if v := w.r.view; v != nil {
		w.r.tallies.flush(v.server)
		queueLength.WithLabelValues(v.server).Set(float64(len(w.queue)))
	}
}
