package chaos

import (
	"flag"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store/zktest"
)

// TestKilledLeaderHarmsNoQuery also says how long changes waited for the new one.
func TestKilledLeaderHarmsNoQuery(t *testing.T) {
	r := newRig(t)
	leader := r.zk.Leader()
	_ = leader.Kill()
	r.pub.must(t, filler)
	r.converge("under another leader")
	_ = leader.Restart()
	r.finish()
}

func TestKilledFollowerHarmsNoQuery(t *testing.T) {
	long(t)
	r := newRig(t)
	follower := r.zk.Follower()
	_ = follower.Kill()
	r.pub.must(t, filler)
	r.converge("without one follower")
	_ = follower.Restart()
	r.finish()
}

var rolling = flag.Duration("chaos-rolling", 20*time.Second, "how long TestRollingRestartUnderAHundredChangesASecond goes on")

// TestRollingRestartUnderAHundredChangesASecond restarts one server after the
// other, again and again.
func TestRollingRestartUnderAHundredChangesASecond(t *testing.T) {
	long(t)
	r := newRig(t)
	r.pub.every.Store(int64(5 * time.Millisecond)) // beside what a commit takes
	began, committed := time.Now(), r.pub.committed.Load()
	for restarts := 0; restarts < 2*len(r.zk.Servers) || time.Since(began) < *rolling; restarts++ {
		_ = r.zk.Servers[restarts%len(r.zk.Servers)].Restart()
		r.pub.must(t, filler)
		r.converge("after a server's restart")
	}
	t.Logf("%.0f versions a second", float64(r.pub.committed.Load()-committed)/time.Since(began).Seconds())
	r.finish()
}

func TestServersKilledOneByOneUntilNoneIsLeft(t *testing.T) {
	long(t)
	r := newRig(t)
	for _, s := range r.zk.Servers {
		_ = s.Kill()
		hold(r, time.Second)
	}
	r.zk.Restart()
	r.finish()
}

func TestLeaderStoppedForHalfAMinute(t *testing.T) {
	long(t)
	r := newRig(t)
	leader := r.zk.Leader()
	_ = leader.Stop()
	stopped := time.Now()
	r.pub.must(t, filler)
	r.converge("under another leader, the first one hangs")
	hold(r, 30*time.Second-time.Since(stopped))
	_ = leader.Cont()
	r.finish()
}

// TestFollowerStoppedBesideTheReader hangs the server that has the reader's
// session, as its kernel goes on to accept, while the others are well.
func TestFollowerStoppedBesideTheReader(t *testing.T) {
	long(t)
	r := newRig(t)
	follower := r.zk.Follower()
	r.only(follower)
	r.converge("from a follower alone")
	r.heal()
	_ = follower.Stop()
	r.pub.must(t, filler)
	r.converge("while the follower hangs")
	_ = follower.Cont()
	r.finish()
}

// TestServersThatHesitate stops each server for 200 ms in turn, as a disk does
// that is slow to write.
func TestServersThatHesitate(t *testing.T) {
	long(t)
	r := newRig(t)
	for i := range 30 {
		s := r.zk.Servers[i%len(r.zk.Servers)]
		_ = s.Stop()
		hold(r, 200*time.Millisecond)
		_ = s.Cont()
		hold(r, 50*time.Millisecond)
	}
	r.finish()
}

// TestWipedServerOfThree deletes the data of one server, which gets them back
// from the others, and leaves the reader with it alone.
func TestWipedServerOfThree(t *testing.T) {
	long(t)
	r := newRig(t)
	for _, s := range []*zktest.Server{r.zk.Follower(), r.zk.Leader()} {
		r.only(s)
		r.converge("from one server alone")
		_ = s.Wipe()
		_ = s.Restart()
		r.pub.must(t, filler)
		r.converge("from the server that was wiped")
		r.heal()
	}
	r.finish()
}

// TestLaggingServerDoesNotTakeTheReaderBack starts the reader, which has a newer
// version on its disk, when the only server that it reaches is behind.
func TestLaggingServerDoesNotTakeTheReaderBack(t *testing.T) {
	r := newRig(t)
	r.pub.halt()
	backup := filepath.Join(t.TempDir(), "data")
	follower := r.zk.Follower()
	_ = follower.Backup(backup)
	_ = follower.Restart()
	behind := zktest.Start(t)
	_ = behind.Restore(backup)
	_ = behind.Restart()
	for range 20 {
		r.pub.must(t, filler)
	}
	r.converge("before the lag")
	newest := r.load.newest.Load()
	r.cached(newest)
	r.each(func(p *zktest.Proxy) { p.Redirect(behind.Addr()) })
	r.restart(syscall.SIGTERM)
	r.refusal("serial")
	r.frozen(newest)
	r.before = r.measure()
	for i, p := range r.proxies { // as if it had caught up
		p.Redirect(r.zk.Servers[i].Addr())
	}
	r.pub.start(t)
	r.finish()
}

func TestTwoOfThreeDown(t *testing.T) {
	long(t)
	r := newRig(t)
	_ = r.zk.Servers[0].Kill()
	_ = r.zk.Servers[1].Kill()
	hold(r, 20*time.Second)
	r.zk.Restart()
	r.finish()
}

func TestAllServersStoppedBeyondTheSession(t *testing.T) {
	long(t)
	r := newRig(t)
	for _, s := range r.zk.Servers {
		_ = s.Stop()
	}
	hold(r, 15*time.Second) // a session lasts 10 s
	for _, s := range r.zk.Servers {
		_ = s.Cont()
	}
	r.finish()
}

func TestExpiredSessionIsReplaced(t *testing.T) {
	r := newRig(t)
	for range 8 {
		expired := false
		r.each(func(p *zktest.Proxy) { expired = expired || p.ExpireSession() == nil })
		if !expired {
			t.Fatal("no proxy has the server's session")
		}
		r.pub.must(t, filler)
		r.converge("in another session")
	}
	r.finish()
}

// only cuts the server off from all members but one.
func (r *rig) only(one *zktest.Server) {
	for i, s := range r.zk.Servers {
		if s != one {
			r.proxies[i].Cut()
		}
	}
}

// hold lets a fault last: time is the fault.
func hold(r *rig, d time.Duration) {
	r.t.Helper()
	from := r.load.asked.Load()
	time.Sleep(d)
	if d > 0 && r.load.asked.Load() == from {
		r.t.Errorf("no query was asked in %v", d)
	}
}
