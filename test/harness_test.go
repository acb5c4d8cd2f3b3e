package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// deadline bounds every wait of a test for something that must happen.
const deadline = 20 * time.Second

// popctl runs one popctl command against a store and returns its standard
// output and error. It fails the test unless the exit status is want.
func popctl(tb testing.TB, store string, want int, args ...string) (stdout, stderr string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "popctl"), args...)
	cmd.Env = append(os.Environ(), "POPDNS_STORE="+store, "POPDNS_AUTH=")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tb.Fatalf("popctl %s: %v", strings.Join(args, " "), err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		tb.Fatalf("popctl %s: exit status %d, want %d\nstdout: %sstderr: %s", strings.Join(args, " "), got, want, &out, &errOut)
	}
	return out.String(), errOut.String()
}

// daemon is a process that runs until it is stopped.
type daemon struct {
	cmd  *exec.Cmd
	log  *logBuffer
	done chan struct{}
}

// logBuffer collects a process's output; String may be called meanwhile.
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

// startDaemon starts a binary under test in dir and stops it at the test's end.
func startDaemon(tb testing.TB, dir, name string, env []string, args ...string) *daemon {
	tb.Helper()
	return startProcess(tb, exec.Command(filepath.Join(bin, name), args...), dir, env)
}

func startProcess(tb testing.TB, cmd *exec.Cmd, dir string, env []string) *daemon {
	tb.Helper()
	name := filepath.Base(cmd.Path)
	d := &daemon{cmd: cmd, log: &logBuffer{}, done: make(chan struct{})}
	d.cmd.Dir = dir
	d.cmd.Env = append(os.Environ(), env...)
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	// A child in a group of its own can be stopped with everything that it started.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", name, err)
	}
	go func() {
		_ = d.cmd.Wait() // how it ended is in the log
		close(d.done)
	}()
	tb.Cleanup(func() {
		d.stop()
		if tb.Failed() {
			tb.Logf("log of %s:\n%s", name, d.log)
		}
	})
	return d
}

// stop ends the process as an operator would, and the hard way if that fails.
func (d *daemon) stop() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.done:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
		<-d.done
	}
}

// startCoreDNS starts the coredns binary with the Corefile, in a new folder,
// and returns once probe answers anything on addr.
func startCoreDNS(tb testing.TB, corefile, addr string) *daemon {
	tb.Helper()
	return startCoreDNSIn(tb, tb.TempDir(), corefile, addr)
}

func startCoreDNSIn(tb testing.TB, dir, corefile, addr string) *daemon {
	tb.Helper()
	path := filepath.Join(dir, "Corefile")
	if err := os.WriteFile(path, []byte(corefile), 0o600); err != nil {
		tb.Fatal(err)
	}
	d := startDaemon(tb, dir, "coredns", nil, "-conf", path)
	eventually(tb, "CoreDNS answers on "+addr, func() error {
		select {
		case <-d.done:
			tb.Fatalf("coredns ended:\n%s", d.log)
		default:
		}
		_, err := exchange(addr, question("probe.invalid.", dns.TypeA))
		return err
	})
	return d
}

// eventually asks until ok returns nil, at most for deadline.
func eventually(tb testing.TB, what string, ok func() error) {
	tb.Helper()
	var err error
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	tb.Fatalf("%s: not within %s: %v", what, deadline, err)
}

// freePort returns a port that was free for both UDP and TCP a moment ago.
func freePort(tb testing.TB) int {
	tb.Helper()
	for range 50 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		port := ln.Addr().(*net.TCPAddr).Port
		pc, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		_ = ln.Close()
		if err == nil {
			_ = pc.Close()
			return port
		}
	}
	tb.Fatal("no port is free for both UDP and TCP")
	return 0
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// question makes a query with EDNS, as dig sends it.
func question(name string, qtype uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), qtype)
	m.RecursionDesired = false
	m.SetEdns0(1232, false)
	return m
}

// withECS adds a Client Subnet option for the prefix's address and length.
func withECS(m *dns.Msg, subnet string) *dns.Msg {
	ip, network, err := net.ParseCIDR(subnet)
	if err != nil {
		panic(err)
	}
	bits, size := network.Mask.Size()
	family := uint16(1)
	if size == 128 {
		family = 2
	}
	opt := m.IsEdns0()
	opt.Option = append(opt.Option, &dns.EDNS0_SUBNET{
		Code: dns.EDNS0SUBNET, Family: family, SourceNetmask: uint8(bits), Address: ip.Mask(network.Mask),
	})
	return m
}

// ecsScope returns the scope of the reply's Client Subnet option, -1 without.
func ecsScope(m *dns.Msg) int {
	opt := m.IsEdns0()
	if opt == nil {
		return -1
	}
	for _, o := range opt.Option {
		if e, ok := o.(*dns.EDNS0_SUBNET); ok {
			return int(e.SourceScope)
		}
	}
	return -1
}

// exchange asks over UDP, and over TCP when the answer was truncated.
func exchange(addr string, m *dns.Msg) (*dns.Msg, error) {
	udp := &dns.Client{Timeout: 2 * time.Second, UDPSize: 4096}
	r, _, err := udp.Exchange(m, addr)
	if err != nil || !r.Truncated {
		return r, err
	}
	tcp := &dns.Client{Net: "tcp", Timeout: 5 * time.Second}
	r, _, err = tcp.Exchange(m, addr)
	return r, err
}

// ask is exchange for a test that needs the answer.
func ask(tb testing.TB, addr string, m *dns.Msg) *dns.Msg {
	tb.Helper()
	r, err := exchange(addr, m)
	if err != nil {
		tb.Fatalf("query %s: %v", m.Question[0].String(), err)
	}
	return r
}

// values are the rdata of the answer's records of the question's type.
func values(m *dns.Msg) string {
	var out []string
	for _, rr := range m.Answer {
		if rr.Header().Rrtype == m.Question[0].Qtype {
			out = append(out, strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
	}
	return strings.Join(out, " ")
}

// writeFile writes a file below a new folder and returns its path.
func writeFile(tb testing.TB, name, text string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// sharedData returns the path of a file of the real-input folder that may lie
// beside the checkout; the test is skipped without it.
func sharedData(tb testing.TB, name string) string {
	tb.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "shared", "data", name))
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		tb.Skipf("real input is not here, its comparison is left out: %v", err)
	}
	return path
}

// metricsText is what the server's prometheus plugin shows.
func metricsText(tb testing.TB, port int) string {
	tb.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	r, err := client.Get("http://" + loopback(port) + "/metrics")
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Body.Close()
	return readAll(r.Body)
}

// readAll reads a response body of a bounded size.
func readAll(r io.Reader) string {
	b, _ := io.ReadAll(io.LimitReader(r, 1<<20))
	return string(b)
}
