package chaos

import (
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

func TestRollingRestartHarmsNoQuery(t *testing.T) {
	long(t)
	r := newRig(t)
	for range 2 {
		for _, s := range r.zk.Servers {
			_ = s.Restart()
			r.pub.must(t, filler)
			r.converge("after a server's restart")
		}
	}
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
	for range 3 {
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

// hold lets a fault last: time is the fault.
func hold(r *rig, d time.Duration) {
	r.t.Helper()
	from := r.load.asked.Load()
	time.Sleep(d)
	if d > 0 && r.load.asked.Load() == from {
		r.t.Errorf("no query was asked in %v", d)
	}
}
