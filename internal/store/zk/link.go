package zk

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	gozk "github.com/go-zookeeper/zk"

	"github.com/popdns/popdns/internal/store"
)

const (
	// maxPacket bounds a packet that is received. Only lists of children come near it: 1.9 MB for 100,000 of them.
	maxPacket = 4 << 20
	// sendBuffer holds the longest packet that a server takes. The library's default is 1.5 MiB.
	sendBuffer = serverLimit + 1
	// maxInFlight bounds the requests of one link that wait for their replies, and with them its goroutines.
	maxInFlight = 128
)

// A link keeps a session with the ensemble: it owns the library's Conn, replaces it when it is stuck, and publishes its state.
type link struct {
	servers []string
	o       Options
	log     *logger
	slots   chan struct{} // one for each request in flight

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	now   state
	since time.Time // of the last change of now.ready

	progress atomic.Int64 // when a piece of a long reply came last, in Unix nanoseconds
}

// lastProgress is when a piece of a long reply came in.
func (l *link) lastProgress() time.Time { return time.Unix(0, l.progress.Load()) }

// state is what a link's users see. A copy is consistent in itself; changed is closed when there is a newer one.
type state struct {
	conn *gozk.Conn
	gen  int // counts the Conns

	session  bool // the Conn has a session
	ready    bool // … and its credentials are known to the server: requests may be sent
	sessions int  // how often the link became ready
	lost     int  // how often the library failed to set its watches again: those set before may be dead
	changed  chan struct{}
}

func newLink(servers []string, o Options) *link {
	l := &link{servers: servers, o: o, slots: make(chan struct{}, maxInFlight), since: time.Now()}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.log = newLogger(o.Logf, l.watchesLost)
	l.now.changed = make(chan struct{})
	l.done.Go(l.run)
	return l
}

// close ends the session and waits for all goroutines of the link.
func (l *link) close() {
	l.mu.Lock()
	l.cancel()
	l.mu.Unlock()
	l.done.Wait()
}

// spawn runs f in a goroutine that close waits for. It reports false when the link is closed.
func (l *link) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return false
	}
	l.done.Go(f)
	return true
}

func (l *link) state() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *link) status() store.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return store.Status{Connected: l.now.ready, Since: l.since, Sessions: l.now.sessions}
}

// update changes the state and wakes whoever waits for a change. It never blocks and calls nothing of the library: it is called from within the library's
// event callback, which runs in the goroutine that receives, at times with the library's locks held.
func (l *link) update(change func(*state)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.now.ready
	change(&l.now)
	if l.now.ready != before {
		l.since = time.Now()
		if l.now.ready {
			l.now.sessions++
		}
	}
	close(l.now.changed)
	l.now.changed = make(chan struct{})
}

func (l *link) watchesLost() { l.update(func(s *state) { s.lost++ }) }

// run makes one Conn after another until close.
func (l *link) run() {
	for gen := 1; l.ctx.Err() == nil; gen++ {
		l.serve(gen)
	}
}

// serve keeps one Conn until the link is closed or the watchdog finds that the Conn gets no session any more.
//
// The library never gives up a session by itself: after the ensemble was wiped or restored, every server closes the connection because the client has
// seen a later transaction than the server has (go-zookeeper issues 36 and 117), and the library goes on for ever. Only a new Conn forgets it.
func (l *link) serve(gen int) {
	d := newDialer(l.ctx, l.o)
	d.progress = func() { l.progress.Store(time.Now().UnixNano()) }
	conn, events, err := gozk.Connect(l.servers, l.o.SessionTimeout,
		gozk.WithHostProvider(&hosts{}), gozk.WithDialer(d.dial), gozk.WithLogger(l.log), gozk.WithLogInfo(false),
		gozk.WithMaxBufferSize(maxPacket), gozk.WithMaxConnBufferSize(sendBuffer),
		gozk.WithEventCallback(func(e gozk.Event) { l.event(gen, e) }))
	if err != nil { // our host provider accepts everything, so it can't happen; if it does, no hot loop
		l.log.Printf("connect: %v", err)
		sleep(l.ctx, time.Second)
		return
	}
	l.update(func(s *state) { s.conn, s.gen = conn, gen })
	l.attend(conn)
	l.update(func(s *state) { s.conn, s.gen, s.session, s.ready = nil, gen+1, false, false }) // its last events count no more
	conn.Close()                                                                              // up to three seconds without a server, a round trip with one
	_ = d.Close()
	for range events { // closed when the Conn's goroutine has ended
	}
}

// event takes the library's events of the Conn gen. Those of an earlier one come too late to matter.
func (l *link) event(gen int, e gozk.Event) {
	if e.Type != gozk.EventSession {
		return // watches have channels of their own
	}
	has := e.State == gozk.StateHasSession
	if !has && e.State != gozk.StateDisconnected && e.State != gozk.StateExpired {
		return
	}
	l.update(func(s *state) {
		if s.gen > gen {
			return
		}
		s.session = has
		s.ready = false // attend decides
	})
}

// attend watches over a Conn: gives it its credentials when it has its first session, declares it ready, and returns when the link is closed or the
// Conn has had no session for the watchdog's time.
func (l *link) attend(conn *gozk.Conn) {
	authenticated := l.o.Auth == ""
	had := false
	watchdog := time.NewTimer(l.o.Watchdog)
	defer watchdog.Stop()
	for {
		now := l.state()
		if now.session && !authenticated {
			authenticated = l.authenticate(conn)
			continue
		}
		if now.session && !now.ready {
			l.update(func(s *state) { s.ready = s.session })
			l.log.now("session 0x%x at %s", conn.SessionID(), conn.Server())
			continue
		}
		if had && !now.session {
			watchdog.Reset(l.o.Watchdog)
			l.log.now("connection lost")
		}
		had = now.session
		expired := watchdog.C
		if now.session {
			expired = nil
		}
		select {
		case <-now.changed:
		case <-expired:
			l.log.now("no session for %v, starting a new client", l.o.Watchdog)
			return
		case <-l.ctx.Done():
			return
		}
	}
}

// authenticate sends the credentials. Once it succeeded the library sends them itself, first of all, after each reconnection. It reports success; after
// a failure it has waited until the next try is due.
func (l *link) authenticate(conn *gozk.Conn) bool {
	ctx, cancel := context.WithTimeout(l.ctx, l.o.RequestTimeout)
	defer cancel()
	_, err := within(ctx, l, func() (struct{}, error) {
		return struct{}{}, conn.AddAuth("digest", []byte(l.o.Auth))
	})
	if err != nil {
		l.log.Printf("authenticate: %v", err)
		sleep(l.ctx, 100*time.Millisecond)
	}
	return err == nil
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
