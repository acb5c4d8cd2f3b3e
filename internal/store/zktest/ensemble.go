package zktest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Ensemble is a number of servers that elect a leader. Its methods, and those of its Servers, may be called from one goroutine at a time.
type Ensemble struct {
	Servers []*Server
	tb      testing.TB
}

// member is what a server of an ensemble knows of it.
type member struct {
	id     int
	config string // the other lines of its configuration
}

// ensembleConfig follows config; the first value of a key that occurs twice does not count. Two seconds of silence end a follower, or a leader without
// followers: enough for a busy machine, and short beside the session timeouts of those who are served.
const ensembleConfig = `tickTime=400
minSessionTimeout=800
initLimit=25
syncLimit=5
`

// StartEnsemble runs n servers for the test and ends them with SIGKILL when the test is over. It returns when all serve. Each of setup, where it is not
// nil, is called with every server before it starts, to Configure or Secure it.
func StartEnsemble(tb testing.TB, n int, setup ...func(*Server)) *Ensemble {
	tb.Helper()
	if os.Getenv(SkipVariable) == "1" {
		tb.Skip("needs a real ZooKeeper, and " + SkipVariable + "=1 is set")
	}
	if err := installed(); err != nil {
		tb.Fatalf("start an ensemble (%s=1 skips this test): %v", SkipVariable, err)
	}
	e := &Ensemble{tb: tb, Servers: make([]*Server, n)}
	for i := range e.Servers {
		e.Servers[i] = &Server{}
	}
	var err error
	for range startTries {
		if err = e.start(tb.TempDir(), setup); err == nil {
			break
		}
		for _, s := range e.Servers {
			_ = s.Kill()
		}
	}
	for _, s := range e.Servers {
		s.endWith(tb)
	}
	if err != nil {
		tb.Fatalf("start an ensemble of %d: %v", n, err)
	}
	return e
}

// start gives every server its directory and ports, and starts them.
func (e *Ensemble) start(dir string, setup []func(*Server)) error {
	config := strings.Builder{}
	config.WriteString(ensembleConfig)
	for i, s := range e.Servers {
		s.dir = filepath.Join(dir, fmt.Sprint("server", i+1))
		if err := os.MkdirAll(filepath.Join(s.dir, "data"), 0o750); err != nil {
			return err
		}
		ports, err := freePorts(3)
		if err != nil {
			return err
		}
		s.port = ports[0]
		fmt.Fprintf(&config, "server.%d=127.0.0.1:%d:%d\n", i+1, ports[1], ports[2])
	}
	for i, s := range e.Servers {
		s.member = member{id: i + 1, config: config.String()}
		for _, do := range setup {
			if do != nil {
				do(s)
			}
		}
	}
	return e.run()
}

// run starts the servers that don't run and waits until all serve.
func (e *Ensemble) run() error {
	for _, s := range e.Servers {
		if s.proc != nil {
			continue
		}
		if err := s.launch(); err != nil {
			return err
		}
	}
	failed := make([]error, len(e.Servers))
	var all sync.WaitGroup
	for i, s := range e.Servers {
		all.Go(func() { failed[i] = s.await(context.Background()) })
	}
	all.Wait()
	return errors.Join(failed...)
}

// Restart starts the servers that don't run, with their data, and returns when all serve.
func (e *Ensemble) Restart() {
	e.tb.Helper()
	if err := e.run(); err != nil {
		e.tb.Errorf("restart the ensemble: %v", err)
	}
}

// Kill ends all servers with SIGKILL.
func (e *Ensemble) Kill() {
	for _, s := range e.Servers {
		_ = s.Kill()
	}
}

// Leader returns the leader. It waits for an election to end, and fails the test when none does.
func (e *Ensemble) Leader() *Server {
	e.tb.Helper()
	return e.find("leader")
}

// Follower returns one of the followers, like Leader.
func (e *Ensemble) Follower() *Server {
	e.tb.Helper()
	return e.find("follower")
}

func (e *Ensemble) find(mode string) *Server {
	e.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	for ctx.Err() == nil {
		for _, s := range e.Servers {
			if s.proc != nil && s.mode(ctx) == mode {
				return s
			}
		}
	}
	e.tb.Fatalf("the ensemble has no %s", mode)
	return nil
}

// URL returns the store URL that names all servers, with the given root.
func (e *Ensemble) URL(root string) string {
	addrs := make([]string, len(e.Servers))
	for i, s := range e.Servers {
		addrs[i] = s.Addr()
	}
	return "zk://" + strings.Join(addrs, ",") + "/" + strings.TrimPrefix(root, "/")
}
