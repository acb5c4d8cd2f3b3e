package chaos

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store/zktest"
)

// TestHalfOpenLinks lets one direction of every link die without a word: what
// goes out is lost, then what comes in, then both.
func TestHalfOpenLinks(t *testing.T) {
	long(t)
	for name, open := range map[string]func(*zktest.Proxy){
		"RequestsAreLost": (*zktest.Proxy).Deafen,
		"RepliesAreLost":  (*zktest.Proxy).Mute,
		"NothingPasses":   (*zktest.Proxy).Freeze,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.each(open)
			hold(r, 15*time.Second) // beyond the session's 10 s
			r.heal()
			r.finish()
		})
	}
}

// TestHalfOpenLinkToOneServerIsLeft: the other two are well, so versions go on
// to be followed, after the time that it takes to notice.
func TestHalfOpenLinkToOneServerIsLeft(t *testing.T) {
	long(t)
	r := newRig(t)
	for _, p := range r.proxies {
		p.Freeze()
		r.pub.must(t, filler)
		r.converge("over another link")
		p.Heal()
	}
	r.finish()
}

func TestSlowLinks(t *testing.T) {
	long(t)
	r := newRig(t)
	// A session's handshake has 2.5 s: on a link whose round trip takes longer there is none, and the zone goes stale.
	for _, trip := range []time.Duration{200 * time.Millisecond, 800 * time.Millisecond, 2 * time.Second} {
		r.each(func(p *zktest.Proxy) { p.Slow(trip/2, 0) })
		r.pub.must(t, filler)
		r.converge("with a round trip of " + trip.String())
	}
	r.each(func(p *zktest.Proxy) { p.Slow(0, 32<<10) })
	r.pub.must(t, filler)
	r.converge("at 32 KiB a second")
	r.heal()
	r.finish()
}

func TestFlappingLinks(t *testing.T) {
	long(t)
	r := newRig(t)
	for i := range 20 {
		r.each((*zktest.Proxy).Cut)
		hold(r, time.Duration(i%5)*100*time.Millisecond)
		r.heal()
		hold(r, time.Duration(i%7)*200*time.Millisecond)
	}
	r.finish()
}

// TestPartitionBeyondTheSession cuts all links for longer than a session
// lasts. The server can't know that it has ended before it is told.
func TestPartitionBeyondTheSession(t *testing.T) {
	long(t)
	r := newRig(t)
	before := r.session()
	r.cut()
	hold(r, 15*time.Second) // a session lasts 10 s
	r.heal()
	r.converge("after the partition")
	if now := r.session(); now == before {
		t.Errorf("session %s is still used, the partition was too short", now)
	}
	r.finish()
}

// TestSlicedPackets brings each packet in pieces of a few octets.
func TestSlicedPackets(t *testing.T) {
	r := newRig(t)
	r.each((*zktest.Proxy).Slice)
	for range 3 {
		r.pub.must(t, filler)
		r.converge("by the slice")
	}
	r.each((*zktest.Proxy).Cut)
	r.heal()
	r.each((*zktest.Proxy).Slice)
	r.pub.must(t, filler)
	r.converge("by the slice from the handshake on")
	r.heal()
	r.finish()
}

// TestConnectionsAreResetAtRandom resets every other connection after it has
// carried data for some time, between its handshake and its first versions.
func TestConnectionsAreResetAtRandom(t *testing.T) {
	long(t)
	r := newRig(t)
	for _, after := range []time.Duration{0, 10 * time.Millisecond, 200 * time.Millisecond} {
		r.each(func(p *zktest.Proxy) { p.ResetSome(0.5, after) })
		for range 3 {
			r.pub.must(t, filler)
			r.converge("with resets after " + after.String())
			r.each((*zktest.Proxy).Cut)
			r.each(func(p *zktest.Proxy) { p.ResetSome(0.5, after) })
		}
	}
	r.heal()
	r.finish()
}

// TestAKilobyteASecond is too little for the versions that are made. Nothing
// need arrive, but neither may anything pile up.
func TestAKilobyteASecond(t *testing.T) {
	long(t)
	r := newRig(t)
	r.each(func(p *zktest.Proxy) { p.Slow(0, 1000) })
	hold(r, 20*time.Second)
	r.heal()
	r.finish()
}

// session is the newest one that the server's log tells.
func (r *rig) session() string {
	r.t.Helper()
	var id string
	eventually(r.t, "the log tells a session", func() error {
		lines := r.server.log.lines("session 0x")
		if len(lines) == 0 {
			return errors.New("none")
		}
		_, rest, _ := strings.Cut(lines[len(lines)-1], "session ")
		id, _, _ = strings.Cut(rest, " ")
		return nil
	})
	return id
}
