package test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store/storeurl"
	"github.com/popdns/popdns/internal/store/zktest"
	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/test/benchzone"

	"github.com/miekg/dns"
)

const (
	singleChanges = 200 // in quietPhase, one by one
	quietPhase    = 10 * time.Second
	burstPhase    = time.Minute
	burstRate     = 1000 // changed records a second
	burstGroup    = 20   // of them in one commit
	askRate       = 2000 // queries a second of the client whose answers are timed
)

// BenchmarkChange changes a zone of a million records that a server follows from a real ZooKeeper, while a client asks askRate queries a second
// and times each answer. Each kind of change is made twice: to the zone that the server follows, and to a control, the same zone below another root
// of the same ZooKeeper. Writer, ZooKeeper and client then do the same work on the same processors, and what differs is the server's.
func BenchmarkChange(b *testing.B) {
	in := benchZone(b, million)
	zk := zktest.Start(b)
	served, control := newChanger(b, zk.URL("/popdns"), in), newChanger(b, zk.URL("/control"), in)
	port := freePort(b)
	addr := loopback(port)
	d, _ := launch(b, fmt.Sprintf("example.org:%d {\n bind 127.0.0.1\n zkzone {\n source %s\n cache %s\n startup_timeout 60s\n }\n}\n",
		port, served.url, b.TempDir()), addr, in)
	loaded := settled(b, d)
	served.watch = startSequenceWatch(b, addr)

	for done := false; b.Loop(); done = true {
		if done {
			continue // it lasts minutes: once is enough, however many times the others run
		}
		load := startTimedLoad(b, addr, in)
		time.Sleep(time.Second)
		load.take()
		time.Sleep(quietPhase)
		report("1M records: answers while nothing changes anywhere", "", "%s", spread(load.take()))

		var seen []time.Duration
		answersBeside(load, "single records change", func() { control.paced(b, quietPhase, singleChanges, 1) },
			func() { seen = served.paced(b, quietPhase, singleChanges, 1) })
		report("1M records: a changed record is served after its commit's return", "5 ms (p50)", "%s", spread(seen))
		b.ReportMetric(float64(quantile(seen, 0.5))/float64(time.Millisecond), "ms-visible-p50")

		burst := func(c *changer) []time.Duration {
			began := time.Now()
			seen := c.paced(b, burstPhase, int(burstPhase.Seconds())*burstRate/burstGroup, burstGroup)
			report(fmt.Sprintf("1M records: changes a second for a minute, %d in a commit", burstGroup), "1000", "%.0f (%s)",
				float64(len(seen)*burstGroup)/time.Since(began).Seconds(), c.url)
			return seen
		}
		forgetPeak(b, d)
		answersBeside(load, "a thousand records a second change", func() { burst(control) }, func() { seen = burst(served) })
		for i, part := range slices.Collect(slices.Chunk(seen, (len(seen)+5)/6)) {
			report(fmt.Sprintf("  served after the commit's return, seconds %d to %d", 10*i, 10*i+10), "does not grow", "%s", spread(part))
		}
		report("  resident at most, of what the loaded zone takes", "", "%.2f x", float64(peak(b, d))/float64(loaded))

		after := settled(b, d)
		forgetPeak(b, d)
		answersBeside(load, "a wholly different zone is taken in", func() { control.publishWhole(b, in) }, func() {
			served.publishWhole(b, in)
			awaitWhole(b, addr, in)
			time.Sleep(3 * time.Second) // the disk cache is written behind it
		})
		report("1M records: resident at most while a wholly different zone is taken in", "1.5 x the loaded",
			"%.2f x (%.0f bytes a record; %.2f x what was taken just before)", float64(peak(b, d))/float64(loaded), float64(peak(b, d))/million, float64(peak(b, d))/float64(after))
		b.ReportMetric(float64(peak(b, d))/float64(loaded), "x-memory-swap")
		load.halt()
	}
}

// answersBeside reports the client's answers while the control changes, and while the served zone does.
func answersBeside(load *timedLoad, what string, control, served func()) {
	load.take()
	control()
	without := load.take()
	served()
	with := load.take()
	report("1M records: answers while "+what+" elsewhere", "", "%s", spread(without))
	report("  and in the zone that is served", "+1 ms at most", "%s", spread(with))
}

// changer commits changes: records of random names, and the number of the commit in the TXT record that sequenceWatch asks for.
type changer struct {
	url    string
	watch  *sequenceWatch // nil for the control
	writer *dataset.Writer[*zone.Snapshot]
	names  []string
	rnd    *rand.Rand
	seq    uint32
}

// newChanger publishes the zone in a new store.
func newChanger(b *testing.B, url string, in benchInput) *changer {
	b.Helper()
	popctl(b, url, 0, "init")
	popctl(b, url, 0, "zone", "publish", "example.org", in.path)
	st, err := storeurl.Open(url, storeurl.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = st.Close() })
	c := &changer{
		url: url, names: in.Addressed, rnd: rand.New(rand.NewPCG(1, 2)),
		writer: dataset.NewWriter(st, publish.ZoneRef(zone.MustParseName(benchzone.Origin))),
	}
	c.commit(b, 1) // loads the zone into the writer
	return c
}

func (c *changer) commit(b *testing.B, records int) {
	b.Helper()
	c.seq++
	put := []zone.RRset{address(b, sequenceName, c.seq)}
	taken := map[string]bool{}
	for len(put) < records {
		name := c.names[c.rnd.IntN(len(c.names))]
		if !taken[name] {
			taken[name] = true
			put = append(put, address(b, name, c.rnd.Uint32()))
		}
	}
	_, err := c.writer.Commit(b.Context(), dataset.Commit{By: "bench"}, func(cur *dataset.Version[*zone.Snapshot]) (*zone.Snapshot, error) {
		return cur.Value.Apply(zone.Delta{Put: put})
	})
	if err != nil {
		b.Fatal(err)
	}
}

func address(b *testing.B, owner string, ip uint32) zone.RRset {
	b.Helper()
	set, err := zone.NewRRset(zone.MustParseName(owner), dns.TypeA, 60, "", zone.Rdata{Wire: binary.BigEndian.AppendUint32(nil, ip)})
	if err != nil {
		b.Fatal(err)
	}
	return set
}

// paced makes commits at equal distances and returns, for each, how long after its return the server's answers had it; 0 if they had it before, and
// for the control.
func (c *changer) paced(b *testing.B, phase time.Duration, commits, records int) []time.Duration {
	b.Helper()
	returned := make([]time.Time, commits)
	first := c.seq + 1
	began := time.Now()
	for i := range commits {
		time.Sleep(time.Until(began.Add(time.Duration(i) * phase / time.Duration(commits))))
		c.commit(b, records)
		returned[i] = time.Now()
	}
	seen := make([]time.Duration, commits)
	if c.watch == nil {
		return seen
	}
	eventually(b, "the last change is served", func() error {
		if c.watch.newest.Load() < c.seq {
			return fmt.Errorf("%d of %d", c.watch.newest.Load(), c.seq)
		}
		return nil
	})
	for i := range seen {
		seen[i] = max(0, c.watch.at(first+uint32(i)).Sub(returned[i]))
	}
	return seen
}

const sequenceName = "popdns-bench-sequence.example.org."

// sequenceWatch asks one name all the time and notes when each number was first seen in it.
type sequenceWatch struct {
	newest atomic.Uint32
	mu     sync.Mutex
	first  []struct {
		seq uint32
		at  time.Time
	}
}

func startSequenceWatch(b *testing.B, addr string) *sequenceWatch {
	b.Helper()
	w := &sequenceWatch{}
	conn, err := dns.Dial("udp", addr)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(200 * time.Microsecond) {
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			if conn.WriteMsg(question(sequenceName, dns.TypeA)) != nil {
				continue
			}
			r, err := conn.ReadMsg()
			if err != nil || len(r.Answer) != 1 {
				continue
			}
			if a, ok := r.Answer[0].(*dns.A); ok {
				w.saw(binary.BigEndian.Uint32(a.A.To4()), time.Now())
			}
		}
	})
	b.Cleanup(func() {
		cancel()
		wg.Wait()
		_ = conn.Close()
	})
	return w
}

func (w *sequenceWatch) saw(seq uint32, at time.Time) {
	if seq <= w.newest.Load() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.newest.Store(seq)
	w.first = append(w.first, struct {
		seq uint32
		at  time.Time
	}{seq, at})
}

// at is when the number or a later one was first seen.
func (w *sequenceWatch) at(seq uint32) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.first {
		if s.seq >= seq {
			return s.at
		}
	}
	return time.Time{}
}

// publishWhole publishes the zone with another TTL everywhere.
func (c *changer) publishWhole(b *testing.B, in benchInput) {
	b.Helper()
	text, err := os.ReadFile(in.path)
	if err != nil {
		b.Fatal(err)
	}
	path := writeFile(b, "other.zone", strings.Replace(string(text), "$TTL 300", "$TTL 301", 1))
	popctl(b, c.url, 0, "zone", "publish", "example.org", path, "--force")
}

func awaitWhole(b *testing.B, addr string, in benchInput) {
	b.Helper()
	eventually(b, "the other zone is served", func() error {
		r, err := exchange(addr, question(in.Probe, dns.TypeA))
		if err == nil && (len(r.Answer) != 1 || r.Answer[0].Header().Ttl != 301) {
			err = fmt.Errorf("%v", r.Answer)
		}
		return err
	})
}

// timedLoad asks at a fixed rate and notes how long each answer takes, from the time at which the query was due: an answer that is held up holds up those
// behind it too.
type timedLoad struct {
	stop chan struct{}
	wg   sync.WaitGroup
	mu   sync.Mutex
	took []time.Duration
}

func startTimedLoad(b *testing.B, addr string, in benchInput) *timedLoad {
	b.Helper()
	const askers = 4
	l := &timedLoad{stop: make(chan struct{})}
	for i := range askers {
		conn, err := net.Dial("udp", addr)
		if err != nil {
			b.Fatal(err)
		}
		l.wg.Go(func() {
			defer conn.Close()
			reply := make([]byte, 4096)
			due := time.Now()
			for n := i; ; n++ {
				due = due.Add(askers * time.Second / askRate)
				select {
				case <-l.stop:
					return
				case <-time.After(time.Until(due)):
				}
				wire, err := question(in.Questions[n%len(in.Questions)].Name, dns.TypeA).Pack()
				if err != nil {
					continue
				}
				_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
				if _, err = conn.Write(wire); err == nil {
					_, err = conn.Read(reply)
				}
				if err == nil {
					l.mu.Lock()
					l.took = append(l.took, time.Since(due))
					l.mu.Unlock()
				}
			}
		})
	}
	return l
}

// take returns what was noted since the last call.
func (l *timedLoad) take() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	took := l.took
	l.took = nil
	return took
}

func (l *timedLoad) halt() {
	close(l.stop)
	l.wg.Wait()
}

// spread says how a number of times are spread.
func spread(d []time.Duration) string {
	s := slices.Sorted(slices.Values(d))
	at := func(q float64) string { return ms(s[min(len(s)-1, int(q*float64(len(s))))]) }
	return fmt.Sprintf("p50 %s  p99 %s  p99.9 %s  most %s  (%d)", at(0.5), at(0.99), at(0.999), ms(s[len(s)-1]), len(s))
}
