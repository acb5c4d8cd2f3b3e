package zk_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gozk "github.com/go-zookeeper/zk"

	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/zk"
	"github.com/popdns/popdns/internal/store/zktest"
)

// tell sends a four-letter command to the server.
func tell(t *testing.T, addr, command string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, command); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(bufio.NewReader(c))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func changeDuringALostSessionIsDelivered(e env) {
	t, srv := e.t, e.srv
	proxy := zktest.NewProxy(t, srv.Addr())
	o := quick(t)
	o.SessionTimeout = 600 * time.Millisecond
	s := open(t, o, "/expired", proxy.Addr())
	mkdir(t, s)
	commit(t, s, store.Create("w", []byte("before")), store.CreateEphemeral("mine", nil))
	ch := follow(t, s, "w")
	untilHolds(t, ch, "before")
	proxy.Cut()
	writer := open(t, quick(t), "/expired", srv.Addr())
	eventually(t, "the session expires", func() bool {
		_, err := writer.Get(t.Context(), "mine")
		return errors.Is(err, store.ErrNoNode)
	})
	commit(t, writer, store.Set("w", []byte("meanwhile"), 0))
	proxy.Heal()
	t.Logf("delivered %v after the network was back", untilHolds(t, ch, "meanwhile"))
	if st := s.Status(); st.Sessions != 2 {
		t.Errorf("status %+v, want a second session", st)
	}
	commit(t, writer, store.Set("w", []byte("later"), 1))
	untilHolds(t, ch, "later")
}

func everyNewSessionIsToldToTheWatchEvenWithoutAChange(e env) {
	t, srv := e.t, e.srv
	proxy := zktest.NewProxy(t, srv.Addr())
	s := open(t, quick(t), "/again", proxy.Addr())
	mkdir(t, s)
	commit(t, s, store.Create("w", []byte("same")))
	ch := follow(t, s, "w")
	for range 3 {
		untilHolds(t, ch, "same")
		proxy.Cut()
		eventually(t, "the loss is noticed", func() bool { return !s.Status().Connected })
		proxy.Heal()
	}
	untilHolds(t, ch, "same")
}

func flappingConnectionLosesNothing(e env) {
	t, srv := e.t, e.srv
	proxy := zktest.NewProxy(t, srv.Addr())
	s := open(t, quick(t), "/flap", proxy.Addr())
	writer := open(t, quick(t), "/flap", srv.Addr())
	mkdir(t, writer)
	const nodes = 20 // one state change makes more events than the library's channel holds
	chans := make([]<-chan told, nodes)
	for i := range nodes {
		commit(t, writer, store.Create("w"+strconv.Itoa(i), []byte("0")))
		chans[i] = follow(t, s, "w"+strconv.Itoa(i))
	}
	for _, ch := range chans {
		untilHolds(t, ch, "0")
	}
	for round := 1; round <= 5; round++ {
		proxy.Cut()
		for i := range nodes {
			commit(t, writer, store.Set("w"+strconv.Itoa(i), []byte(strconv.Itoa(round)), store.AnyVersion))
		}
		proxy.Heal()
		for _, ch := range chans {
			untilHolds(t, ch, strconv.Itoa(round))
		}
	}
}

func flappingConnectionLeavesOneWatchPerPath(e env) {
	t, srv := e.t, e.srv
	proxy := zktest.NewProxy(t, srv.Addr())
	s := open(t, quick(t), "/one", proxy.Addr())
	mkdir(t, s)
	commit(t, s, store.Create("w", []byte("x")))
	chans := []<-chan told{follow(t, s, "w"), follow(t, s, "w")}
	for range 4 {
		for _, ch := range chans {
			untilHolds(t, ch, "x")
		}
		proxy.Cut()
		eventually(t, "the loss is noticed", func() bool { return !s.Status().Connected })
		proxy.Heal()
	}
	for _, ch := range chans {
		untilHolds(t, ch, "x")
	}
	// At most one for each Watch call that came before there was one to share, and again when the library said that it lost its watches.
	lost := zk.LostWatches(s)
	if n := zk.ArmedChannels(s, "w"); n > len(chans)*(1+lost) {
		t.Errorf("%d channels wait in the library after 4 reconnections of %d watches, which it lost %d times", n, len(chans), lost)
	}
}

func watchIsSetAgainWhenTheLibraryLostIt(e env) {
	t, srv := e.t, e.srv
	s := open(t, quick(t), "/silent", srv.Addr())
	mkdir(t, s)
	commit(t, s, store.Create("w", []byte("0")))
	ch := follow(t, s, "w")
	untilHolds(t, ch, "0")
	zk.SilenceWatches(s)
	if n := zk.ArmedChannels(s, "w"); n != 0 {
		t.Fatalf("%d channels are left", n)
	}
	zk.LogLostWatches(s)
	eventually(t, "the watch is set again", func() bool { return zk.ArmedChannels(s, "w") == 1 })
	commit(t, s, store.Set("w", []byte("1"), 0))
	untilHolds(t, ch, "1")
}

func oldHoldersCommitFailsAfterItsSessionDied(e env) {
	t, srv := e.t, e.srv
	proxy := zktest.NewProxy(t, srv.Addr())
	o := quick(t)
	o.SessionTimeout = 600 * time.Millisecond
	old := open(t, o, "/fence", proxy.Addr())
	mkdir(t, old)
	commit(t, old, store.Create("value", nil))
	held, err := store.Acquire(t.Context(), old, "lock", "old")
	if err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	fresh := open(t, quick(t), "/fence", srv.Addr())
	taken, err := store.Acquire(t.Context(), fresh, "lock", "new") // waits for the expiry
	if err != nil {
		t.Fatal(err)
	}
	proxy.Heal()
	eventually(t, "the old holder is back", func() bool { return old.Status().Connected })
	err = old.Commit(t.Context(), held.Fence(), store.Set("value", []byte("stale"), 0))
	var oe *store.OpError
	if !errors.Is(err, store.ErrNoNode) || !errors.As(err, &oe) || oe.Index != 0 {
		t.Errorf("the old holder's commit: %v, want ErrNoNode for its fence", err)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Errorf("the old holder's release: %v", err)
	}
	commit(t, fresh, taken.Fence(), store.Set("value", []byte("fresh"), 0))
}

func TestLargeCommitsUseAConnectionOfTheirOwnThatIsGivenUp(t *testing.T) {
	srv := zktest.Start(t)
	sessions := func() int {
		_, rest, _ := strings.Cut(tell(t, srv.Addr(), "mntr"), "zk_global_sessions\t")
		n, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]))
		if err != nil {
			t.Fatalf("mntr: %v", err)
		}
		return n
	}
	o := quick(t)
	o.BulkIdle = 200 * time.Millisecond
	s := open(t, o, "/bulk", srv.Addr())
	mkdir(t, s)
	if n := sessions(); n != 1 {
		t.Fatalf("%d sessions at first", n)
	}
	big := make([]byte, 500_000)
	for i := range 3 {
		commit(t, s, store.Create("chunk"+strconv.Itoa(i), big))
		if n, err := s.Get(t.Context(), "chunk"+strconv.Itoa(i)); err != nil || len(n.Data) != len(big) {
			t.Errorf("read right after: %d bytes, %v", len(n.Data), err)
		}
	}
	if n := sessions(); n != 2 {
		t.Errorf("%d sessions after large commits, want 2", n)
	}
	eventually(t, "the second is given up", func() bool { return sessions() == 1 })
	commit(t, s, store.Create("again", big))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := sessions(); n != 0 {
		t.Errorf("%d sessions are left behind after Close", n)
	}
}

func credentialsProtectWhatTheyCreated(e env) {
	t, srv := e.t, e.srv
	proxy := zktest.NewProxy(t, srv.Addr())
	o := quick(t)
	var lines []string
	o.Auth, o.Logf = "publisher:hunter2", func(format string, _ ...any) { lines = append(lines, format) }
	s := open(t, o, "/a/acl", proxy.Addr())
	mkdir(t, s)
	commit(t, s, store.Create("n", []byte("x")), store.Create("n/below", nil))
	for name, auth := range map[string]string{"none": "", "wrong": "publisher:guess"} {
		o := quick(t)
		o.Auth = auth
		other := open(t, o, "/a/acl", srv.Addr())
		if n, err := other.Get(t.Context(), "n"); err != nil || string(n.Data) != "x" {
			t.Errorf("%s: a reader got %q, %v", name, n.Data, err)
		}
		for _, op := range []store.Op{
			store.Set("n", nil, 0), store.Delete("n/below", 0), store.Create("new", nil), store.Create("n/new", nil), store.Delete("n", 0),
		} {
			if err := other.Commit(t.Context(), op); !errors.Is(err, store.ErrNoAuth) && !errors.Is(err, store.ErrNotEmpty) {
				t.Errorf("%s: %s %s: %v, want ErrNoAuth", name, op.Kind, op.Path, err)
			}
		}
	}
	// They hold after a reconnection too.
	proxy.Cut()
	eventually(t, "the loss is noticed", func() bool { return !s.Status().Connected })
	proxy.Heal()
	commit(t, s, store.Set("n", []byte("y"), 0), store.Create("made-later", nil))

	plain, _, err := gozk.Connect([]string{srv.Addr()}, 2*time.Second, gozk.WithLogger(discard{}))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for _, path := range []string{"/a", "/a/acl", "/a/acl/n", "/a/acl/n/below", "/a/acl/made-later"} {
		acl, _, err := plain.GetACL(path)
		if err != nil {
			t.Fatal(err)
		}
		world := slices.IndexFunc(acl, func(a gozk.ACL) bool { return a.Scheme == "world" })
		digest := slices.IndexFunc(acl, func(a gozk.ACL) bool { return a.Scheme == "digest" })
		if len(acl) != 2 || world < 0 || digest < 0 || acl[world].Perms != gozk.PermRead || acl[digest].Perms != gozk.PermAll {
			t.Errorf("%s has the access list %+v", path, acl)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, l := range lines {
		if strings.Contains(l, "hunter2") {
			t.Errorf("the log has the password: %s", l)
		}
	}
}
