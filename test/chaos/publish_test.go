package chaos

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/zk"
	"github.com/popdns/popdns/internal/zone"

	"github.com/miekg/dns"
)

var (
	origin   = zone.MustParseName("chaos.test")
	zoneRef  = publish.ZoneRef(origin)
	zonePath = zoneRef.Path
)

// filler is how many RRsets the zone has that never change.
const filler = 300

// snapshot returns the zone's version n: wherever a record can tell, it tells n. Of ballast it has so many records of 250 octets that
// can't be compressed.
func snapshot(n uint32, rrsets, ballast int) (*zone.Snapshot, error) {
	b := zone.NewBuilder(origin)
	text := fmt.Sprintf(`chaos.test. 60 IN SOA ns.chaos.test. h.chaos.test. %[1]d 3600 600 86400 60
chaos.test. 60 IN NS ns.chaos.test.
ns.chaos.test. 60 IN A 192.0.2.53
pair.chaos.test. 60 IN TXT "v%[1]da"
pair.chaos.test. 60 IN TXT "v%[1]db"
alias.chaos.test. 60 IN CNAME v%[1]d.chaos.test.
v%[1]d.chaos.test. 60 IN TXT "v%[1]da"
`, n)
	zp := dns.NewZoneParser(strings.NewReader(text), "", "")
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		if err := b.AddRR(rr, "", 0); err != nil {
			return nil, err
		}
	}
	if err := zp.Err(); err != nil {
		return nil, err
	}
	for i := range rrsets {
		rr := &dns.A{
			Hdr: dns.RR_Header{Name: fmt.Sprintf("filler-%d.chaos.test.", i), Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
			A:   []byte{10, byte(i >> 16), byte(i >> 8), byte(i)},
		}
		if err := b.AddRR(rr, "", 0); err != nil {
			return nil, err
		}
	}
	noise := rand.NewChaCha8([32]byte{})
	for i := range ballast {
		octets := make([]byte, 125)
		_, _ = noise.Read(octets) // never fails
		rr := &dns.TXT{
			Hdr: dns.RR_Header{Name: fmt.Sprintf("ballast-%d.chaos.test.", i), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60},
			Txt: []string{hex.EncodeToString(octets)},
		}
		if err := b.AddRR(rr, "", 0); err != nil {
			return nil, err
		}
	}
	return b.Build()
}

// A publisher commits a new version every so often, with a client of its own
// that no proxy harms. Failures are to be expected and are counted.
type publisher struct {
	st     *zk.Store
	writer *dataset.Writer[*zone.Snapshot]

	ballast   atomic.Int32  // see snapshot
	force     bool          // commits override guards, and what can't be loaded
	last      atomic.Uint32 // serial of the newest version that was tried
	committed atomic.Int64
	failed    atomic.Int64

	every atomic.Int64 // pause between two, in nanoseconds

	mu   sync.Mutex // held while a version is committed
	stop chan struct{}
	done sync.WaitGroup
}

const publishEvery = 50 * time.Millisecond

// publishing is what a publisher needs beside the servers.
type publishing struct {
	auth string             // "user:password"
	sign ed25519.PrivateKey // signs heads
	from uint32             // the serial before the first one
}

// newPublisher makes the store and the zone's first version in it.
func newPublisher(t *testing.T, servers []string, with publishing) *publisher {
	t.Helper()
	st, err := zk.Open(servers, "/popdns", zk.Options{SessionTimeout: 4 * time.Second, RequestTimeout: 2 * time.Second, Auth: with.auth})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	if _, _, err := dataset.Init(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	ref := zoneRef
	ref.Keys.Sign = with.sign
	p := &publisher{st: st, writer: dataset.NewWriter(store.Store(st), ref)}
	p.last.Store(with.from)
	p.every.Store(int64(publishEvery))
	p.must(t, filler)
	return p
}

// commit publishes the next version.
func (p *publisher) commit(ctx context.Context, rrsets int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.last.Add(1)
	if n == 0 {
		n = p.last.Add(1) // no version has serial 0
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := p.writer.Commit(ctx, dataset.Commit{By: "chaos", MinSerial: n, Force: p.force}, func(*dataset.Version[*zone.Snapshot]) (*zone.Snapshot, error) {
		return snapshot(n, rrsets, int(p.ballast.Load()))
	})
	return err
}

// must publishes a version, however often that takes.
func (p *publisher) must(t *testing.T, rrsets int) {
	t.Helper()
	eventually(t, "a version is committed", func() error { return p.commit(t.Context(), rrsets) })
}

// start commits every so often until halt or the test's end.
func (p *publisher) start(t *testing.T) {
	t.Helper()
	stop := make(chan struct{})
	p.stop = stop
	ctx := t.Context()
	p.done.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-ctx.Done():
				return
			case <-time.After(time.Duration(p.every.Load())):
			}
			if err := p.commit(ctx, filler); err != nil {
				p.failed.Add(1)
			} else {
				p.committed.Add(1)
			}
		}
	})
	t.Cleanup(p.halt)
}

// halt stops it, after the version that is being committed; start goes on.
func (p *publisher) halt() {
	if p.stop != nil {
		close(p.stop)
		p.stop = nil
		p.done.Wait()
	}
}

// head returns the head node's data.
func (p *publisher) head(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	n, err := p.st.Get(ctx, zonePath+"/head")
	return n.Data, err
}
