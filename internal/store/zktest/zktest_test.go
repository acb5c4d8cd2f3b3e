package zktest_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/popdns/popdns/internal/store/zktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, zktest.Leaks()...) }

func TestServerAnswersAgainAfterKillAndRestart(t *testing.T) {
	began := time.Now()
	s := zktest.Start(t)
	t.Logf("started in %v", time.Since(began))
	if !strings.HasPrefix(s.URL("/x"), "zk://127.0.0.1:") || !strings.HasSuffix(s.URL("x"), "/x") {
		t.Errorf("URL is %q", s.URL("/x"))
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", s.Addr()); err == nil {
		_ = c.Close()
		t.Error("a killed server accepts connections")
	}
	if err := s.Wipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestEnsembleElectsAnotherLeaderAndTakesTheOldOneBack(t *testing.T) {
	began := time.Now()
	e := zktest.StartEnsemble(t, 3)
	t.Logf("three servers started in %v", time.Since(began))
	first := e.Leader()
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	if second := e.Leader(); second == first {
		t.Error("a killed server is the leader")
	}
	t.Logf("another leader after %v", time.Since(began))
	e.Restart()
	if err := e.Follower().Backup(t.TempDir() + "/data"); err != nil {
		t.Fatal(err)
	}
	e.Restart()
	if n := strings.Count(e.URL("/x"), ","); n != 2 {
		t.Errorf("URL is %q", e.URL("/x"))
	}
}

func TestProxySlowsDownAndRedirects(t *testing.T) {
	first, second := echo(t, "1"), echo(t, "2")
	p := zktest.NewProxy(t, first)
	const delay = 60 * time.Millisecond
	p.Slow(delay, 0)
	began := time.Now()
	if got := roundTrip(t, p.Addr()); got != "1" {
		t.Errorf("got %q from the first server", got)
	}
	if took := time.Since(began); took < 2*delay {
		t.Errorf("a round trip with %v each way took %v", delay, took)
	}
	p.Heal()
	p.Redirect(second)
	if got := roundTrip(t, p.Addr()); got != "2" {
		t.Errorf("got %q from the second server", got)
	}
}

// echo answers each connection's first byte with what.
func echo(t *testing.T, what string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := c.Read(make([]byte, 1)); err == nil {
				_, _ = c.Write([]byte(what))
			}
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); done.Wait() })
	return l.Addr().String()
}

func roundTrip(t *testing.T, addr string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
