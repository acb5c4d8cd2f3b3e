package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store/zktest"

	"github.com/miekg/dns"
)

// deadline bounds every wait for something that must happen; convergence after
// a wipe takes the watchdog's 30 s.
const deadline = 60 * time.Second

// A rig is everything that a case needs: an ensemble, a proxy before each of
// its servers, a publisher, a server that reads through the proxies and keeps a
// disk cache, and the client that asks it.
type rig struct {
	t       *testing.T
	zk      *zktest.Ensemble
	proxies []*zktest.Proxy // in the order of zk.Servers
	pub     *publisher
	cache   string
	addr    string
	pprof   string
	with    setup

	server *server
	load   *load
	before resources
}

// A setup is what a case wants different from the others.
type setup struct {
	member     func(*zktest.Server) // configures a server of the ensemble before its start
	publishing publishing
	zkzone     string // lines for the block in the Corefile
}

// newRig starts it all and waits until versions flow.
func newRig(t *testing.T) *rig { t.Helper(); return setup{}.rig(t) }

// newStore starts all but the server and who asks it.
func newStore(t *testing.T) *rig { t.Helper(); return setup{}.store(t) }

func (with setup) rig(t *testing.T) *rig {
	t.Helper()
	r := with.store(t)
	r.serve()
	r.ready()
	r.ask()
	r.pub.start(t)
	r.served(5, "at the start")
	r.before = r.measure()
	return r
}

func (with setup) store(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, with: with, cache: t.TempDir(), addr: freeAddr(t), pprof: freeAddr(t)}
	r.zk = zktest.StartEnsemble(t, 3, with.member)
	for _, s := range r.zk.Servers {
		addr := s.Addr()
		if strings.Contains(with.zkzone, "tls ") {
			addr = s.SecureAddr()
		}
		r.proxies = append(r.proxies, zktest.NewProxy(t, addr))
	}
	r.pub = newPublisher(t, servers(r.zk), with.publishing)
	return r
}

// each does the same to every proxy.
func (r *rig) each(do func(*zktest.Proxy)) {
	for _, p := range r.proxies {
		do(p)
	}
}

// cut separates the server from the whole ensemble.
func (r *rig) cut() { r.each((*zktest.Proxy).Cut) }

// heal ends every fault of the network.
func (r *rig) heal() { r.each((*zktest.Proxy).Heal) }

// serve starts the server. What it serves first may be as old as its cache.
func (r *rig) serve() {
	r.t.Helper()
	addrs := make([]string, len(r.proxies))
	for i, p := range r.proxies {
		addrs[i] = p.Addr()
	}
	_, port, _ := net.SplitHostPort(r.addr)
	corefile := fmt.Sprintf(`chaos.test:%s {
    bind 127.0.0.1
    pprof %s
    freshness
    zkzone {
        source zk://%s/popdns
        cache %s
        startup_timeout 3s
        %s
    }
    errors
}
`, port, r.pprof, strings.Join(addrs, ","), r.cache, r.with.zkzone)
	r.server = startServer(r.t, corefile, r.addr)
}

// ready waits until the server has data: on a busy machine that may be later than it starts.
func (r *rig) ready() {
	r.t.Helper()
	eventually(r.t, "the server has data", func() error {
		m, err := once(r.addr, &kinds[0])
		if err == nil && m.Rcode != dns.RcodeSuccess {
			err = errors.New(dns.RcodeToString[m.Rcode])
		}
		return err
	})
}

// ask starts the client.
func (r *rig) ask() {
	r.t.Helper()
	r.load = startLoad(r.t, r.addr)
}

// converge waits until the server serves the head that is current now.
func (r *rig) converge(when string) {
	r.t.Helper()
	began := time.Now()
	var head dataset.Head
	eventually(r.t, "the head is readable "+when, func() error {
		raw, err := r.pub.head(r.t.Context())
		if err == nil {
			head, err = dataset.ParseHead(raw)
		}
		return err
	})
	r.served(head.Serial, when)
	r.t.Logf("%s: serial %d is served after %v", when, head.Serial, time.Since(began).Round(time.Millisecond))
}

// served waits until the serial, or a newer one, is in an answer.
func (r *rig) served(serial uint32, when string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("serial %d is served %s", serial, when), func() error {
		if got := r.load.newest.Load(); older(got, serial) {
			return fmt.Errorf("%d is", got)
		}
		return nil
	})
}

// frozen checks that a good while, full of queries, changes nothing of what is
// served: it is the last good version.
func (r *rig) frozen(serial uint32) {
	r.t.Helper()
	from := r.load.asked.Load()
	eventually(r.t, "more queries are answered", func() error {
		if n := r.load.asked.Load() - from; n < 250 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	if got := r.load.newest.Load(); got != serial {
		r.t.Errorf("serial %d is served, want the last good one, %d", got, serial)
	}
}

// finish checks what must hold after every case: the server converges, and has
// no more goroutines, descriptors and memory than at the start.
func (r *rig) finish() {
	r.t.Helper()
	r.converge("when all is well again")
	r.pub.must(r.t, filler)
	r.converge("after one more commit")
	eventually(r.t, "nothing has grown", func() error {
		now := r.measure()
		if err := now.grownSince(r.before); err != nil {
			return err
		}
		r.t.Logf("%v; at the start %v", now, r.before)
		return nil
	})
	r.load.halt(r.t)
	r.pub.halt()
	r.t.Logf("%d versions committed, %d commits failed", r.pub.committed.Load(), r.pub.failed.Load())
}

// A server is a running coredns.
type server struct {
	cmd  *exec.Cmd
	log  *logBuffer
	done chan struct{}
}

func startServer(t *testing.T, corefile, addr string) *server {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "Corefile")
	if err := os.WriteFile(path, []byte(corefile), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{cmd: exec.Command(coredns, "-conf", path), log: &logBuffer{}, done: make(chan struct{})}
	s.cmd.Dir = dir
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait() // how it ended is in the log
		close(s.done)
	}()
	t.Cleanup(func() {
		s.signal(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("end of coredns's log:\n%s", s.log.tail())
		}
	})
	eventually(t, "coredns answers", func() error {
		select {
		case <-s.done:
			t.Fatalf("coredns ended:\n%s", s.log.tail())
		default:
		}
		_, err := once(addr, &kinds[0])
		return err
	})
	return s
}

// signal sends a signal that ends the process, and waits for that.
func (s *server) signal(sig syscall.Signal) {
	_ = s.cmd.Process.Signal(sig)
	select {
	case <-s.done:
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// once asks a question over a new socket.
func once(addr string, k *kind) (*dns.Msg, error) {
	conn, err := dns.Dial("udp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return exchange(conn, k)
}

// logBuffer collects a process's output; it may be read meanwhile.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// lines returns the lines that contain what.
func (b *logBuffer) lines(what string) []string {
	var found []string
	for line := range strings.Lines(b.String()) {
		if strings.Contains(line, what) {
			found = append(found, line)
		}
	}
	return found
}

// tail returns the last lines without those of every version switch.
func (b *logBuffer) tail() string {
	var kept []string
	for line := range strings.Lines(b.String()) {
		if !strings.Contains(line, "Serving ") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept[max(0, len(kept)-30):], "")
}

// eventually asks until ok returns nil, at most for deadline.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("%s: not within %v: %v", what, deadline, err)
}

// freeAddr returns a loopback address that was free for UDP and TCP a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		pc, err := net.ListenPacket("udp", l.Addr().String())
		_ = l.Close()
		if err == nil {
			_ = pc.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free for both UDP and TCP")
	return ""
}
