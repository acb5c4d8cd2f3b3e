package probe

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
)

// model is gdnsd's rule told over the whole history instead of by counters.
func model(t Thresholds, results []bool) (down bool) {
	since := 1 // of the present state; the first result decides alone
	down = !results[0]
	for i := 1; i < len(results); i++ {
		if down {
			// Up once the newest Up results, all within this state, are good.
			if run(results[since:i+1]) >= t.Up {
				down, since = false, i+1
			}
			continue
		}
		// Failures count back to the newest run of OK successes within this state.
		bad, good := 0, 0
		for _, ok := range results[since : i+1] {
			if !ok {
				bad, good = bad+1, 0
			} else if good++; good >= t.OK {
				bad = 0
			}
		}
		if bad >= t.Down {
			down, since = true, i+1
		}
	}
	return down
}

// run is how many good results stand at the end.
func run(results []bool) (n int) {
	for i := len(results) - 1; i >= 0 && results[i]; i-- {
		n++
	}
	return n
}

func TestHealthAgreesWithTheWholeHistory(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	changes := 0
	for range 3000 {
		th := Thresholds{Up: 1 + r.IntN(6), OK: 1 + r.IntN(6), Down: 1 + r.IntN(6)}
		var h Health
		results := make([]bool, 0, 80)
		good := r.IntN(11)
		for range 80 {
			if r.IntN(12) == 0 {
				good = r.IntN(11)
			}
			ok := r.IntN(10) < good
			results = append(results, ok)
			was := h.Down
			h = th.Step(h, ok)
			if h.Down != was {
				changes++
			}
			if want := model(th, results); h.Down != want || !h.Known {
				t.Fatalf("seed %d: %+v after %v: %+v, want down %v", seed, th, results, h, want)
			}
			if h.Good > max(th.Up, th.OK) || h.Bad > th.Down {
				t.Fatalf("seed %d: counters run away: %+v", seed, h)
			}
			// What goes through the store is all that there is.
			var back Health
			if b, err := json.Marshal(h); err != nil || json.Unmarshal(b, &back) != nil || back != h {
				t.Fatalf("%+v comes back as %+v from %s (%v)", h, back, b, err)
			}
		}
	}
	if changes < 3000 {
		t.Errorf("only %d changes of state", changes)
	}
}

func TestFlappingTargetStaysDown(t *testing.T) {
	h, th := Health{}, DefaultThresholds
	downs, ups := 0, 0
	for i := range 1000 { // half of the checks fail, in turns of five
		was := h
		h = th.Step(h, i/5%2 == 0)
		if was.Known && h.Down != was.Down {
			if h.Down {
				downs++
			} else {
				ups++
			}
		}
	}
	if downs != 1 || ups != 0 {
		t.Errorf("it went down %d times and up %d times, want once down and to stay there", downs, ups)
	}
}

func TestMalformedHealthIsRefused(t *testing.T) {
	for _, s := range []string{`""`, `"x"`, `"u 1"`, `"u -1 0"`, `"u 1 x"`, `1`, `"d 1 99999999999999999999"`} {
		var h Health
		if err := json.Unmarshal([]byte(s), &h); err == nil {
			t.Errorf("%s is read as %+v", s, h)
		}
	}
}
