package chaos

import (
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store/zktest"

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

	next := newPublisher(t, servers(r.zk), publishing{from: newest})
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
	foreign := newPublisher(t, []string{other.Addr()}, publishing{from: newest + 100})
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
