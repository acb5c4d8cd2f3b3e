// Package zktest runs a real ZooKeeper server from Debian's packages in a directory of its own, for tests and for trying popdns, and makes it fail
// in the ways that servers and networks do.
package zktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// SkipVariable is the environment variable that, set to 1, lets tests which need ZooKeeper be skipped. Without it a missing server fails them.
const SkipVariable = "POPDNS_SKIP_ZK"

// Install is the command that installs what a server needs on Debian.
const Install = "apt-get install --no-install-recommends zookeeper libslf4j-java liblog4j1.2-java default-jre-headless"

const (
	readyTimeout = 60 * time.Second // an empty server takes 0.5 s, on a busy machine ten times that
	startTries   = 3                // the free port may be taken by another before the server has it
)

// ErrNotInstalled means that Java or ZooKeeper's jars are missing.
var ErrNotInstalled = errors.New("ZooKeeper is not installed: " + Install)

// Server is one ZooKeeper server, alone or a member of an Ensemble. Its methods may be called from one goroutine at a time.
type Server struct {
	t    testing.TB // nil when started by StartIn
	dir  string
	log  io.Writer
	port int
	proc *process // nil while it does not run

	securePort int    // of TLS, 0: none
	member     member // of an ensemble; the zero value of a server alone
}

// Start runs a server for the test and ends it, with SIGKILL, when the test is over. It returns when the server answers.
func Start(tb testing.TB) *Server {
	tb.Helper()
	if os.Getenv(SkipVariable) == "1" {
		tb.Skip("needs a real ZooKeeper, and " + SkipVariable + "=1 is set")
	}
	dir := tb.TempDir()
	s, err := StartIn(dir, nil)
	if err != nil {
		tb.Fatalf("start ZooKeeper (%s=1 skips this test): %v", SkipVariable, err)
	}
	s.endWith(tb)
	return s
}

// endWith ties the server to a test.
func (s *Server) endWith(tb testing.TB) {
	tb.Helper()
	s.t = tb
	tb.Cleanup(func() {
		_ = s.Kill()
		if tb.Failed() {
			tb.Logf("end of the log of ZooKeeper at %s:\n%s", s.Addr(), s.logTail())
		}
	})
}

// StartIn runs a server with its configuration, data and log in dir, which is created when missing; data that is there is used. log, when not nil,
// gets the server's output too. The caller ends it with Kill. The error wraps ErrNotInstalled when the server is not installed. On Linux the server
// dies with the process that started it.
func StartIn(dir string, log io.Writer) (*Server, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := installed(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o750); err != nil {
		return nil, err
	}
	s := &Server{dir: dir, log: log}
	for range startTries {
		if s.port, err = freePort(); err != nil {
			return nil, err
		}
		if err = s.run(); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w; end of its log:\n%s", err, s.logTail())
}

func installed() error {
	if _, err := exec.LookPath("java"); err != nil {
		return fmt.Errorf("%w (no java in PATH)", ErrNotInstalled)
	}
	for jar := range strings.SplitSeq(jars, ":") {
		if _, err := os.Stat(jar); err != nil {
			return fmt.Errorf("%w (no %s)", ErrNotInstalled, jar)
		}
	}
	return nil
}

// Addr returns the server's address, "127.0.0.1:port". It stays the same over restarts.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// URL returns the store URL of the server with the given root, "zk://127.0.0.1:port/root".
func (s *Server) URL(root string) string {
	return "zk://" + s.Addr() + "/" + strings.TrimPrefix(root, "/")
}

// Kill ends the server with SIGKILL and waits for its end. Nothing happens when it does not run.
func (s *Server) Kill() error {
	if s.proc == nil {
		return nil
	}
	s.proc.kill()
	s.proc = nil
	return nil
}

// Stop freezes the server with SIGSTOP: the kernel goes on accepting connections for it, nobody answers. It returns when every thread stands.
func (s *Server) Stop() error {
	if err := s.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return s.check("stop", s.proc.awaitStopped())
}

// Cont wakes a frozen server.
func (s *Server) Cont() error { return s.signal(syscall.SIGCONT) }

// Restart starts the server again on the same port with its data, after killing it if it runs. It returns when the server answers: a member of an
// ensemble does so only with a majority, so after the loss of that use Ensemble.Restart.
func (s *Server) Restart() error {
	_ = s.Kill()
	return s.check("restart", s.run())
}

// Wipe kills the server if it runs and deletes its data, transaction numbers included. Restart starts it empty.
func (s *Server) Wipe() error {
	_ = s.Kill()
	return s.check("wipe", os.RemoveAll(s.dataDir()))
}

// Backup kills the server if it runs and copies its data into dir, a new directory. Restart starts it again.
func (s *Server) Backup(dir string) error {
	_ = s.Kill()
	return s.check("back up", os.CopyFS(dir, os.DirFS(s.dataDir())))
}

// Restore kills the server if it runs and puts the data of a Backup in the place of its own. Restart starts it with them.
func (s *Server) Restore(dir string) error {
	if err := s.Wipe(); err != nil {
		return err
	}
	return s.check("restore", os.CopyFS(s.dataDir(), os.DirFS(dir)))
}

// dataDir holds the server's snapshots and transaction logs.
func (s *Server) dataDir() string { return filepath.Join(s.dir, "data", "version-2") }

func (s *Server) signal(sig syscall.Signal) error {
	if s.proc == nil {
		return s.check("signal", errors.New("the server does not run"))
	}
	return s.check("signal", s.proc.cmd.Process.Signal(sig))
}

// check fails the test, if there is one, and returns err.
func (s *Server) check(what string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s ZooKeeper at %s: %w", what, s.Addr(), err)
	if s.t != nil {
		s.t.Helper()
		s.t.Error(err)
	}
	return err
}

// run starts the process and waits until it serves.
func (s *Server) run() error {
	if err := s.launch(); err != nil {
		return err
	}
	if err := s.await(context.Background()); err != nil {
		_ = s.Kill()
		return err
	}
	return nil
}

// Launch starts a server that does not run, and does not wait until it serves: one that is to join an ensemble does so only then.
func (s *Server) Launch() error { return s.launch() }

// launch starts the process.
func (s *Server) launch() error {
	if err := s.configure(); err != nil {
		return err
	}
	proc, err := startProcess(s.dir, s.log)
	if err != nil {
		return err
	}
	s.proc = proc
	return nil
}

// await waits until the launched server tells its mode.
func (s *Server) await(ctx context.Context) error {
	const every = 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if s.mode(ctx) != "" {
			return nil
		}
		select {
		case <-time.After(every):
		case <-s.proc.done:
			return errors.New("the server ended at once")
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", ctx.Err())
		}
	}
}

// mode asks "srvr" and returns "standalone", "leader" or "follower", "" when the server does not serve. ("ruok" says imok before the data is loaded,
// and without a majority.)
func (s *Server) mode(ctx context.Context) string {
	answer, err := ask(ctx, s.Addr(), "srvr")
	if err != nil {
		return ""
	}
	_, rest, _ := bytes.Cut(answer, []byte("Mode: "))
	mode, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(mode)
}

// ask sends one of the server's four-letter commands.
func ask(ctx context.Context, addr, command string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, command); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(c, 1<<20))
}

func freePort() (int, error) {
	ports, err := freePorts(1)
	if err != nil {
		return 0, err
	}
	return ports[0], nil
}

// freePorts returns ports that were free, all at once, a moment ago.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // nothing to cancel
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

func (s *Server) logTail() string {
	const lines = 25
	b, err := os.ReadFile(filepath.Join(s.dir, logName))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
