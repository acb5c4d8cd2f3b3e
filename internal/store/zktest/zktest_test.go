package zktest_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/popdns/popdns/internal/store/zktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
