package chaos

import (
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
