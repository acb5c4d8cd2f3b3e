package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/zktest"

	gozk "github.com/go-zookeeper/zk"
	"github.com/miekg/dns"
)

// TestWipedEnsembleFreezesTheZone deletes all data of all servers, and then
// lets an operator start anew: what is served stays until the new store adopts
// the old one.
func TestWipedEnsembleFreezesTheZone(t *testing.T) {
	long(t)
	r := newRig(t)
	r.pub.halt()
	old := r.pub.cluster(t)
	r.converge("before the wipe")
	newest := r.load.newest.Load()
	for _, s := range r.zk.Servers {
		_ = s.Wipe()
	}
	r.zk.Restart()
	r.refusal("head")
	r.frozen(newest)
	r.state("frozen")

	next := newPublisher(t, servers(r.zk))
	next.last.Store(newest)
	next.must(t, filler)
	r.refusal("cluster")
	r.frozen(newest)
	r.state("frozen")

	next.adopt(t, old)
	r.pub = next
	r.converge("after the adoption")
	r.pub.start(t)
	r.finish()
	r.state("live")
}

// TestRestoredOlderSnapshotFreezesTheZoneUntilItIsOvertaken puts a backup of
// all servers in the place of newer data.
func TestRestoredOlderSnapshotFreezesTheZoneUntilItIsOvertaken(t *testing.T) {
	long(t)
	r := newRig(t)
	r.pub.halt()
	backups := t.TempDir()
	for i, s := range r.zk.Servers {
		_ = s.Backup(filepath.Join(backups, fmt.Sprint(i)))
	}
	r.zk.Restart()
	for range 20 {
		r.pub.must(t, filler)
	}
	r.converge("before the restoration")
	newest := r.load.newest.Load()
	for i, s := range r.zk.Servers {
		_ = s.Restore(filepath.Join(backups, fmt.Sprint(i)))
	}
	r.zk.Restart()
	r.refusal("serial")
	r.frozen(newest)
	r.state("frozen")
	r.pub.start(t) // with serials above the served one
	r.finish()
}

// TestAnotherEnsembleOnTheSamePortsFreezesTheZone redirects the links to an
// ensemble that serves a zone of the same name, and its pulse.
func TestAnotherEnsembleOnTheSamePortsFreezesTheZone(t *testing.T) {
	long(t) // the watchdog's 30 s
	r := newRig(t)
	r.pub.halt()
	r.converge("before the change")
	newest := r.load.newest.Load()
	other := zktest.Start(t)
	foreign := newPublisher(t, []string{other.Addr()})
	foreign.last.Store(newest + 100)
	foreign.must(t, filler)
	if err := dataset.Stamp(t.Context(), foreign.st, time.Now(), "foreign"); err != nil {
		t.Fatal(err)
	}
	r.each(func(p *zktest.Proxy) { p.Redirect(other.Addr()) })
	r.refusal("cluster")
	r.frozen(newest)
	r.state("frozen")
	for i, p := range r.proxies {
		p.Redirect(r.zk.Servers[i].Addr())
	}
	r.pub.must(t, filler)
	r.converge("back at the first ensemble")

	// And now for good: with a server that starts from its disk cache.
	old := r.pub.cluster(t)
	foreign.last.Store(r.load.newest.Load() + 100)
	r.stop(syscall.SIGTERM)
	r.each(func(p *zktest.Proxy) { p.Redirect(other.Addr()) })
	foreign.must(t, filler)
	foreign.adopt(t, old)
	r.serve()
	r.ask()
	r.pub = foreign
	r.converge("at the other ensemble")
	r.before = r.measure()
	r.pub.start(t)
	r.finish()
}

// cluster is the store's id.
func (p *publisher) cluster(t *testing.T) string {
	t.Helper()
	c, err := dataset.ReadCluster(t.Context(), p.st)
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}

// adopt lets the store succeed another one.
func (p *publisher) adopt(t *testing.T, id string) {
	t.Helper()
	_, _, _, err := dataset.AmendCluster(t.Context(), p.st, dataset.Keys{}, func(c *dataset.Cluster) error { return c.Adopt(id, "chaos") })
	if err != nil {
		t.Fatal(err)
	}
}

// TestGarbageIsRefusedAndTheLastGoodVersionStays writes what no publisher
// would, under load, and mends it each time.
func TestGarbageIsRefusedAndTheLastGoodVersionStays(t *testing.T) {
	r := newRig(t)
	r.pub.halt()
	for _, g := range garbage {
		r.pub.must(t, filler)
		r.converge("before " + g.name)
		newest := r.load.newest.Load()
		good, err := r.pub.head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		already := len(r.server.log.lines("Refused "))
		g.publish(t, r.pub, good)
		eventually(t, g.name+" is refused", func() error {
			lines := r.server.log.lines("Refused ")
			if len(lines) == already || !strings.Contains(lines[len(lines)-1], "("+g.reason+")") {
				return fmt.Errorf("want (%s), have %q", g.reason, lines[already:])
			}
			return nil
		})
		r.frozen(newest)
		r.pub.set(t, "head", good)
	}
	r.pub.start(t)
	r.finish()
}

// garbage is what may be published that must never be served.
var garbage = []struct {
	name, reason string
	publish      func(t *testing.T, p *publisher, good []byte)
}{
	{"an empty head", "head", func(t *testing.T, p *publisher, _ []byte) { t.Helper(); p.set(t, "head", nil) }},
	{"octets", "head", func(t *testing.T, p *publisher, _ []byte) { t.Helper(); p.set(t, "head", []byte("\x00\xff\xfe")) }},
	{"half a head", "head", func(t *testing.T, p *publisher, good []byte) { t.Helper(); p.set(t, "head", good[:len(good)/2]) }},
	{"deep nesting", "head", func(t *testing.T, p *publisher, _ []byte) {
		t.Helper()
		p.set(t, "head", bytes.Repeat([]byte(`{"v":`), 10_000))
	}},
	{"a head of another zone", "name", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.edit(t, good, func(h *dataset.Head) { h.Name = "zones/other.test" })
	}},
	{"a head of the future", "head", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.edit(t, good, func(h *dataset.Head) { h.V = 2 })
	}},
	{"an oversize head", "size", func(t *testing.T, p *publisher, _ []byte) {
		t.Helper()
		p.set(t, "head", bytes.Repeat([]byte("x"), store.MaxNodeBytes))
	}},
	{"other content under the same serial", "serial", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.edit(t, good, func(h *dataset.Head) { h.Commit = "another" })
	}},
	{"an epoch that is over", "cluster", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.edit(t, good, func(h *dataset.Head) { h.Epoch-- })
	}},
	{"a delta of garbage", "delta", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.next(t, good, func(h *dataset.Head) {
			h.Inline = []dataset.Inline{{From: h.Serial - 1, To: h.Serial, Delta: []byte("garbage")}}
		})
	}},
	{"a delta that is not there", "delta", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.next(t, good, func(h *dataset.Head) { h.Inline = nil })
	}},
	{"a base that is not there", "base", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.next(t, good, func(h *dataset.Head) {
			h.Gen, h.Base.Serial, h.Log, h.Inline = h.Gen+1000, h.Serial, nil, nil
		})
	}},
}

// set writes a node of the zone.
func (p *publisher) set(t *testing.T, node string, data []byte) {
	t.Helper()
	if err := p.st.Commit(t.Context(), store.Set(zonePath+"/"+node, data, store.AnyVersion)); err != nil {
		t.Fatal(err)
	}
}

// edit publishes a changed head.
func (p *publisher) edit(t *testing.T, good []byte, change func(*dataset.Head)) {
	t.Helper()
	h, err := dataset.ParseHead(good)
	if err != nil {
		t.Fatal(err)
	}
	change(&h)
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	p.set(t, "head", b)
}

// next publishes a head that claims another version.
func (p *publisher) next(t *testing.T, good []byte, change func(*dataset.Head)) {
	t.Helper()
	p.edit(t, good, func(h *dataset.Head) {
		from := h.Serial
		h.Serial++
		h.Commit = "next"
		if n := len(h.Log); n > 0 && h.Log[n-1].Last == from {
			h.Log[n-1].Last++
		} else {
			h.Log = append(h.Log, dataset.Run{From: from, First: h.Serial, Last: h.Serial})
		}
		change(h)
	})
}

// TestBaseDeletedWhileItIsLoaded starts a server without a cache whose manifest
// is there and whose chunks are gone, as a reader finds it that is overtaken by
// a collection; the next image makes it serve.
func TestBaseDeletedWhileItIsLoaded(t *testing.T) {
	long(t)
	r := newRig(t)
	r.pub.halt()
	r.stop(syscall.SIGTERM)
	if err := os.RemoveAll(r.cache); err != nil {
		t.Fatal(err)
	}
	raw, err := r.pub.head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head, err := dataset.ParseHead(raw)
	if err != nil {
		t.Fatal(err)
	}
	for i := range head.Base.Chunks {
		chunk := fmt.Sprintf("%s/base/%d/%04d", zonePath, head.Gen, i)
		if err := r.pub.st.Commit(t.Context(), store.Delete(chunk, store.AnyVersion)); err != nil {
			t.Fatal(err)
		}
	}
	r.serve()
	r.ask()
	r.load.allowed.Store(true)
	r.refusal("base")
	if n := r.load.newest.Load(); n != 0 {
		t.Errorf("serial %d is served of a base that is not there", n)
	}
	// The operator's remedy: popctl zone publish --force, in a process that does not know the lost version.
	r.pub.writer, r.pub.force = dataset.NewWriter(store.Store(r.pub.st), zoneRef), true
	r.pub.must(t, filler)
	r.pub.force = false
	r.converge("once there is another image")
	r.load.allowed.Store(false)
	r.before = r.measure()
	r.pub.start(t)
	r.finish()
}

// TestUnreadableHeadFreezesTheZoneUntilItMayBeRead takes the right to read from
// everybody, and gives it back: ZooKeeper tells no watch of either.
func TestUnreadableHeadFreezesTheZoneUntilItMayBeRead(t *testing.T) {
	r := newRig(t)
	r.pub.halt()
	r.converge("before the denial")
	newest := r.load.newest.Load()
	conn, _, err := gozk.Connect(servers(r.zk), 4*time.Second, gozk.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	path := "/popdns/" + zonePath + "/head"
	if _, err := conn.SetACL(path, gozk.WorldACL(gozk.PermWrite|gozk.PermAdmin), -1); err != nil {
		t.Fatal(err)
	}
	r.each((*zktest.Proxy).Cut) // it is the next reading that is denied
	r.heal()
	r.refusal("head")
	r.frozen(newest)
	r.state("frozen")
	if _, err := conn.SetACL(path, gozk.WorldACL(gozk.PermAll), -1); err != nil {
		t.Fatal(err)
	}
	r.pub.start(t)
	r.finish()
	r.state("live")
}

// TestClocksThatAreAnHourOffRefuseNothing stamps heartbeat and head an hour
// ahead and behind: only what the TXT says of the age follows the stamps.
func TestClocksThatAreAnHourOffRefuseNothing(t *testing.T) {
	long(t)
	r := newRig(t)
	r.pub.halt()
	r.converge("before the clocks went wrong")
	good, err := r.pub.head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		stamp := time.Now().Add(off)
		r.pub.edit(t, good, func(h *dataset.Head) { h.Published, h.SourceTime = stamp, stamp })
		if err := dataset.Stamp(t.Context(), r.pub.st, stamp, "chaos"); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint(stamp.Unix())
		eventually(t, "the TXT has the stamp", func() error {
			txt, err := r.freshness()
			if err == nil && (txt[0] != want || !slices.Contains(txt, "published="+want) || !slices.Contains(txt, "state=live")) {
				err = fmt.Errorf("want %s, it says %q", want, txt)
			}
			return err
		})
	}
	if lines := r.server.log.lines("Refused"); len(lines) > 0 {
		t.Errorf("refused for a clock: %q", lines)
	}
	r.pub.set(t, "head", good)
	r.pub.start(t)
	r.finish()
}

// refusal waits for the log line of a refusal for the reason.
func (r *rig) refusal(reason string) {
	r.t.Helper()
	eventually(r.t, "a refusal ("+reason+")", func() error {
		if lines := r.server.log.lines("(" + reason + "), keeping the last good version"); len(lines) == 0 {
			return fmt.Errorf("none in %q", r.server.log.lines("Refused"))
		}
		return nil
	})
}

// state waits until the freshness TXT says so.
func (r *rig) state(want string) {
	r.t.Helper()
	eventually(r.t, "state="+want, func() error {
		txt, err := r.freshness()
		if err == nil && !slices.Contains(txt, "state="+want) {
			err = fmt.Errorf("the TXT is %q", txt)
		}
		return err
	})
}

func (r *rig) freshness() ([]string, error) {
	m, err := once(r.addr, &kind{name: "_freshness.chaos.test.", qtype: dns.TypeTXT})
	if err != nil {
		return nil, err
	}
	if len(m.Answer) == 1 {
		if txt, ok := m.Answer[0].(*dns.TXT); ok && len(txt.Txt) > 1 {
			return txt.Txt, nil
		}
	}
	return nil, fmt.Errorf("no TXT in %v", m)
}

// servers are the addresses of an ensemble's members.
func servers(e *zktest.Ensemble) []string {
	addrs := make([]string, 0, len(e.Servers))
	for _, s := range e.Servers {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}
