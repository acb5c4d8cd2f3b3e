package zk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gozk "github.com/go-zookeeper/zk"

	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/zk"
	"github.com/popdns/popdns/internal/store/zktest"
)

const patience = 20 * time.Second

// told is one call of a Watch's function.
type told struct {
	node store.Node
	err  error
}

// follow watches path until the test ends.
func follow(t *testing.T, s store.Store, path string) <-chan told {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan told, 10_000)
	var done sync.WaitGroup
	done.Go(func() { _ = s.Watch(ctx, path, func(n store.Node, err error) { ch <- told{n, err} }) })
	t.Cleanup(func() { cancel(); done.Wait() })
	return ch
}

// untilHolds reads what the watch tells until it tells data, and returns how long that took.
func untilHolds(t *testing.T, ch <-chan told, data string) time.Duration {
	t.Helper()
	began := time.Now()
	timeout := time.After(patience)
	for {
		select {
		case w := <-ch:
			if w.err == nil && string(w.node.Data) == data {
				return time.Since(began)
			}
		case <-timeout:
			t.Fatalf("the watch never told %q", data)
		}
	}
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > patience {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

func commit(t *testing.T, s store.Store, ops ...store.Op) {
	t.Helper()
	if err := s.Commit(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, s store.Store) {
	t.Helper()
	if err := store.MkdirAll(t.Context(), s, ""); err != nil {
		t.Fatal(err)
	}
}

func hungServerIsLeftAfterTheHandshakeTimeout(e env) {
	t, srv := e.t, e.srv
	hung, well := zktest.NewProxy(t, srv.Addr()), zktest.NewProxy(t, srv.Addr())
	// Half of all clients try the hung one first; ten of them leave no doubt. With a session of 10 s the library alone would wait for 66 s.
	hung.Freeze()
	o := quick(t)
	o.SessionTimeout = 10 * time.Second
	stores := make([]*zk.Store, 10)
	for i := range stores {
		stores[i] = open(t, o, "/hung", hung.Addr(), well.Addr())
	}
	for _, s := range stores {
		eventually(t, "a session with the other server", func() bool { return s.Status().Connected })
		if took := time.Since(s.Status().Since); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	}
}

func TestStoppedServerIsFollowedAgainSoonAfterItGoesOn(t *testing.T) {
	t.Parallel()
	srv := zktest.Start(t)
	o := quick(t)
	s := open(t, o, "/stopped", srv.Addr())
	mkdir(t, s)
	commit(t, s, store.Create("w", []byte("before")))
	ch := follow(t, s, "w")
	untilHolds(t, ch, "before")
	if err := srv.Stop(); err != nil {
		t.Fatal(err)
	}
	lost := eventually(t, "the loss is noticed", func() bool { return !s.Status().Connected })
	time.Sleep(2 * o.HandshakeTimeout) // into a handshake with the stopped server
	if err := srv.Cont(); err != nil {
		t.Fatal(err)
	}
	back := eventually(t, "a session", func() bool { return s.Status().Connected })
	t.Logf("loss noticed after %v, session back %v after the server went on", lost, back)
	if back > 4*time.Second { // the library alone: up to 10 × 2/3 × 2 s = 13 s
		t.Errorf("session back only after %v", back)
	}
	commit(t, s, store.Set("w", []byte("after"), store.AnyVersion))
	untilHolds(t, ch, "after")
}

func TestWipedServerIsFollowedAgain(t *testing.T) {
	t.Parallel()
	srv := zktest.Start(t)
	o := quick(t)
	o.Watchdog = 3 * time.Second
	s := open(t, o, "/wiped", srv.Addr())
	mkdir(t, s)
	for i := range 20 { // so that the transaction numbers get beyond those of the new life
		commit(t, s, store.Create("n"+strconv.Itoa(i), nil))
	}
	ch := follow(t, s, "n0")
	untilHolds(t, ch, "")

	// What the library does by itself.
	plain, _, err := gozk.Connect([]string{srv.Addr()}, o.SessionTimeout, gozk.WithLogger(discard{}))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, _, err := plain.Get("/wiped"); err != nil {
		t.Fatal(err)
	}

	if err := srv.Wipe(); err != nil {
		t.Fatal(err)
	}
	if err := srv.Restart(); err != nil {
		t.Fatal(err)
	}
	writer := open(t, quick(t), "/wiped", srv.Addr())
	mkdir(t, writer)
	commit(t, writer, store.Create("n0", []byte("new life")))
	t.Logf("followed again after %v", untilHolds(t, ch, "new life"))
	if st := s.Status(); !st.Connected || st.Sessions < 2 {
		t.Errorf("status %+v", st)
	}
	if plain.State() == gozk.StateHasSession {
		t.Error("the plain client has a session: the fault is cured in the library, the watchdog can go")
	}
}

type discard struct{}

func (discard) Printf(string, ...any) {}

func TestRequestsEndInTimeWhenTheServerHangs(t *testing.T) {
	t.Parallel()
	srv := zktest.Start(t)
	o := quick(t)
	o.SessionTimeout, o.RequestTimeout = 20*time.Second, 500*time.Millisecond
	s := open(t, o, "/hangs", srv.Addr())
	mkdir(t, s)
	if err := srv.Stop(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := s.Get(t.Context(), ""); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Get: %v, want ErrUnavailable", err)
	}
	if _, err := s.Children(t.Context(), ""); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Children: %v, want ErrUnavailable", err)
	}
	if err := s.Commit(t.Context(), store.Create("late", nil)); !errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("Commit: %v, want ErrUnknownOutcome", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Get(ctx, ""); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get with a context: %v", err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("four requests of at most 0.5 s took %v", took)
	}
	if err := srv.Cont(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an answer", func() bool { _, err := s.Get(t.Context(), ""); return err == nil })
}

// An image's chunks are asked for all at once. On a slow link the last of them comes long after its request's time.
func TestLongRepliesOverASlowLinkAreNotGivenUp(t *testing.T) {
	t.Parallel()
	const nodes, size, rate = 6, 400_000, 1_000_000
	srv := zktest.Start(t)
	proxy := zktest.NewProxy(t, srv.Addr())
	o := quick(t)
	o.SessionTimeout, o.RequestTimeout = 10*time.Second, 500*time.Millisecond
	s, direct := open(t, o, "/slow", proxy.Addr()), open(t, quick(t), "/slow", srv.Addr())
	mkdir(t, direct)
	for i := range nodes {
		commit(t, direct, store.Create("n"+strconv.Itoa(i), make([]byte, size)))
	}
	proxy.Slow(0, rate)
	began := time.Now()
	var all sync.WaitGroup
	for i := range nodes {
		all.Go(func() {
			if n, err := s.Get(t.Context(), "n"+strconv.Itoa(i)); err != nil || len(n.Data) != size {
				t.Errorf("node %d: %d bytes, %v", i, len(n.Data), err)
			}
		})
	}
	all.Wait()
	if took := time.Since(began); took < 2*o.RequestTimeout {
		t.Errorf("took %v: the link was not slow", took)
	}
	proxy.Freeze() // in the middle of a reply: no more of it comes
	began = time.Now()
	if _, err := s.Get(t.Context(), "n0"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Get over a dead link: %v, want ErrUnavailable", err)
	}
	if took := time.Since(began); took > 10*o.RequestTimeout {
		t.Errorf("Get over a dead link took %v", took)
	}
}

func TestOpenNeedsNoServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	o := quick(t)
	o.RequestTimeout = 300 * time.Millisecond
	s := open(t, o, "/x", addr, "no-such-host.invalid:2181")
	if err := s.Commit(t.Context(), store.Create("", nil)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Commit: %v, want ErrUnavailable, as nothing was sent", err)
	}
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("Close took %v", took)
	}
}

// wrongPeer answers every connection with the same bytes.
func wrongPeer(t *testing.T, answer []byte) string {
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
			_, _ = c.Write(answer)
			_, _ = io.CopyN(io.Discard, c, 1)
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); done.Wait() })
	return l.Addr().String()
}

func TestWrongPeerIsRefused(t *testing.T) {
	// What a real server answers to a handshake, then a reply of two bytes: the library alone panics at it.
	session := append([]byte{0, 0, 0, 37, 0, 0, 0, 0, 0, 0, 7, 208, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 16}, make([]byte, 17)...)
	for name, answer := range map[string][]byte{
		"HTTP":      []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"Huge":      {0x7f, 0xff, 0xff, 0xff, 1},
		"ShortBody": append(session, 0, 0, 0, 2, 1, 1),
	} {
		t.Run(name, func(t *testing.T) {
			o := quick(t)
			o.RequestTimeout = time.Second
			var mu sync.Mutex
			var lines []string
			o.Logf = func(format string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				lines = append(lines, fmt.Sprintf(format, args...))
			}
			s := open(t, o, "/x", wrongPeer(t, answer))
			eventually(t, "a line that says so", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return strings.Contains(strings.Join(lines, "\n"), "not a ZooKeeper packet")
			})
			if _, err := s.Get(t.Context(), ""); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("Get: %v", err)
			}
		})
	}
}

func tooLargeCommitIsNotSent(e env) {
	t, srv := e.t, e.srv
	s := open(t, quick(t), "/large", srv.Addr())
	mkdir(t, s)
	// Within the bounds of data and of operations, and yet too long on the wire because of its paths.
	ops := make([]store.Op, 0, 1000)
	deep := strings.Repeat("0123456789/", 100)
	for i := range cap(ops) {
		ops = append(ops, store.Create(deep+strconv.Itoa(i), nil))
	}
	if err := s.Commit(t.Context(), ops...); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("Commit: %v, want ErrTooLarge", err)
	}
	// The longest that is let through is taken.
	data := bytes.Repeat([]byte("x"), store.MaxNodeBytes)
	commit(t, s, store.Create("largest", data))
	if err := s.Commit(t.Context(), store.Set("largest", append(data, 'x'), 0)); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("Commit: %v, want ErrTooLarge", err)
	}
	commit(t, s, store.CreateEphemeral("largest-of-a-session", data)) // on the first connection
	if st := s.Status(); !st.Connected || st.Sessions != 1 {
		t.Errorf("the connection did not survive: %+v", st)
	}
}

func lostReplyIsAnUnknownOutcome(e env) {
	t, srv := e.t, e.srv
	proxy := zktest.NewProxy(t, srv.Addr())
	o := quick(t)
	o.RequestTimeout = 700 * time.Millisecond
	s := open(t, o, "/lost", proxy.Addr())
	mkdir(t, s)
	commit(t, s, store.Create("n", []byte("0")))
	proxy.Mute()
	if err := s.Commit(t.Context(), store.Set("n", []byte("1"), 0)); !errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("Commit: %v, want ErrUnknownOutcome", err)
	}
	proxy.Heal()
	eventually(t, "an answer", func() bool { _, err := s.Get(t.Context(), "n"); return err == nil })
	if n, err := s.Get(t.Context(), "n"); err != nil || string(n.Data) != "1" {
		t.Errorf("the commit that was sent did not happen: %q, %v", n.Data, err)
	}
	if err := s.Commit(t.Context(), store.Set("n", []byte("1"), 0)); !errors.Is(err, store.ErrVersion) {
		t.Errorf("the repeated commit: %v, want ErrVersion", err)
	}
}

func lockIsFoundHeldWhenTheReplyToItsCommitIsLost(e env) {
	t, srv := e.t, e.srv
	proxy := zktest.NewProxy(t, srv.Addr())
	o := quick(t)
	o.SessionTimeout, o.RequestTimeout = 10*time.Second, 2*time.Second
	s := open(t, o, "/locklost", proxy.Addr())
	if err := store.MkdirAll(t.Context(), s, "lock"); err != nil {
		t.Fatal(err)
	}
	proxy.Mute()
	healed := time.AfterFunc(500*time.Millisecond, proxy.Heal) // cuts the connection with the reply on it
	defer healed.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l, err := store.Acquire(ctx, s, "lock", "me")
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	commit(t, s, l.Fence())
	names, err := s.Children(t.Context(), "lock")
	if err != nil || len(names) != 2 {
		t.Errorf("the lock's nodes are %q, %v", names, err)
	}
}
