package chaos

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const (
	askers   = 4
	askEvery = 2 * time.Millisecond // each: 2,000 queries a second in all
	// patience is what a query may take: not the server's time, but that of a busy machine.
	patience = 5 * time.Second
)

// A load is a client that asks all the time and checks each answer: that it is
// one, that all its records are of one version, and that the version is not
// older than what any earlier answer had.
type load struct {
	addr  string
	began time.Time
	stop  chan struct{}
	done  sync.WaitGroup

	slowest atomic.Int64  // answer, in nanoseconds
	newest  atomic.Uint32 // highest serial in an answer so far
	allowed atomic.Bool   // SERVFAIL is right: the server has no data yet
	asked   atomic.Int64
	refused atomic.Int64 // SERVFAILs while they were allowed

	mu     sync.Mutex
	faults []string
}

// startLoad asks until the test ends or halt is called.
func startLoad(t *testing.T, addr string) *load {
	t.Helper()
	l := &load{addr: addr, began: time.Now(), stop: make(chan struct{})}
	for i := range askers {
		l.done.Go(func() { l.ask(i) })
	}
	t.Cleanup(func() { l.halt(t) })
	return l
}

// halt stops asking and reports what was wrong. Once is enough.
func (l *load) halt(t *testing.T) {
	t.Helper()
	select {
	case <-l.stop:
		return
	default:
		close(l.stop)
	}
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.faults {
		t.Error(f)
	}
	lasted := time.Since(l.began)
	t.Logf("%d queries in %v, %.0f a second, the slowest took %v; %d wrong or without an answer, newest serial %d", l.asked.Load(),
		lasted.Round(time.Millisecond), float64(l.asked.Load())/lasted.Seconds(), time.Duration(l.slowest.Load()).Round(time.Millisecond),
		len(l.faults), l.newest.Load())
}

func (l *load) ask(i int) {
	pace := time.NewTicker(askEvery)
	defer pace.Stop()
	conn, err := dns.Dial("udp", l.addr)
	if err != nil {
		l.fault("dial: %v", err)
		return
	}
	defer func() { _ = conn.Close() }()
	for n := i; ; n++ {
		select {
		case <-l.stop:
			return
		case <-pace.C:
		}
		k := &kinds[n%len(kinds)]
		floor, allowed := l.newest.Load(), l.allowed.Load()
		began := time.Now()
		m, err := exchange(conn, k)
		l.asked.Add(1)
		l.slowest.Store(max(l.slowest.Load(), int64(time.Since(began)))) // a race here loses a figure for people
		if err != nil {
			l.fault("%s: %v", k.name, err)
			continue
		}
		if m.Rcode == dns.RcodeServerFailure && allowed {
			l.refused.Add(1)
			continue
		}
		serial, err := k.serial(m)
		switch {
		case err != nil:
			l.fault("%s: %v\n%s", k.name, err, m)
		case older(serial, floor):
			l.fault("%s: serial %d, after an answer with %d", k.name, serial, floor)
		}
		if err == nil {
			l.saw(serial)
		}
	}
}

// saw notes the serial of an answer.
func (l *load) saw(serial uint32) {
	for high := l.newest.Load(); older(high, serial) && !l.newest.CompareAndSwap(high, serial); high = l.newest.Load() {
	}
}

// older tells whether a comes before b (RFC 1982); 0, no serial at all, comes before any.
func older(a, b uint32) bool { return b != 0 && (a == 0 || a != b && b-a < 1<<31) }

// fault notes something wrong; a few tell the story.
func (l *load) fault(format string, args ...any) {
	const most = 10
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.faults) < most {
		l.faults = append(l.faults, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

// A kind is a question whose answer tells its version more than once, or in the
// authority section.
type kind struct {
	name    string
	qtype   uint16
	rcode   int
	records int // in the answer and authority sections
}

var kinds = []kind{
	{"pair.chaos.test.", dns.TypeTXT, dns.RcodeSuccess, 2},
	{"alias.chaos.test.", dns.TypeTXT, dns.RcodeSuccess, 2},
	{"chaos.test.", dns.TypeSOA, dns.RcodeSuccess, 1},
	{"nope.chaos.test.", dns.TypeA, dns.RcodeNameError, 1},
	{"pair.chaos.test.", dns.TypeAAAA, dns.RcodeSuccess, 1},
}

// exchange asks once; replies to earlier questions are passed over.
func exchange(conn *dns.Conn, k *kind) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(k.name, k.qtype)
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if err := conn.WriteMsg(q); err != nil {
		return nil, err
	}
	for {
		m, err := conn.ReadMsg()
		if err != nil {
			return nil, err
		}
		if !m.Response {
			return nil, errors.New("our own question came back: the socket has the port that nobody listens on yet")
		}
		if m.Id == q.Id {
			return m, nil
		}
	}
}

// serial returns the one version that the answer is of.
func (k *kind) serial(m *dns.Msg) (uint32, error) {
	if m.Rcode != k.rcode {
		return 0, fmt.Errorf("%s, want %s", dns.RcodeToString[m.Rcode], dns.RcodeToString[k.rcode])
	}
	var serial uint32
	n := 0
	for _, rr := range append(m.Answer, m.Ns...) {
		if rr.Header().Rrtype == dns.TypeNS {
			continue
		}
		is, err := serialOf(rr)
		if err != nil {
			return 0, err
		}
		if n > 0 && is != serial {
			return 0, fmt.Errorf("records of versions %d and %d in one answer", serial, is)
		}
		serial, n = is, n+1
	}
	if n != k.records {
		return 0, fmt.Errorf("%d records that tell their version, want %d", n, k.records)
	}
	return serial, nil
}

func serialOf(rr dns.RR) (uint32, error) {
	var text string
	switch rr := rr.(type) {
	case *dns.SOA:
		return rr.Serial, nil
	case *dns.TXT:
		text = strings.TrimRight(rr.Txt[0], "ab")
	case *dns.CNAME:
		text, _, _ = strings.Cut(rr.Target, ".")
	default:
		return 0, errors.New("unexpected record " + rr.String())
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "v"), 10, 32)
	return uint32(n), err
}
