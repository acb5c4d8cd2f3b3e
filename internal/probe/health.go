package probe

// Thresholds keep a target that flaps from being published up and down. They are gdnsd's, with the same defaults.
type Thresholds struct {
	Up   int // successes in a row that bring a target up
	OK   int // successes in a row that make failures before them forgotten
	Down int // failures, without so many successes in a row in between, that take it down
}

// DefaultThresholds suit an interval of 10 seconds: down after 100 s of failures, up after 200 s of successes.
var DefaultThresholds = Thresholds{Up: 20, OK: 10, Down: 10}

// Health is what a prober thinks of one target. The zero value knows nothing yet.
type Health struct {
	Known bool
	Down  bool
	Good  int // successes in a row that count towards Up or OK
	Bad   int // failures that count towards Down
}

// Step returns the health after one more result. The first result decides alone: a prober that starts has no reason to think a target up
// or down, and others must agree with it.
func (t Thresholds) Step(h Health, ok bool) Health {
	switch {
	case !h.Known:
		return Health{Known: true, Down: !ok}
	case h.Down && ok:
		if h.Good++; h.Good >= t.Up {
			return Health{Known: true}
		}
	case h.Down:
		h.Good = 0
	case ok && h.Bad > 0:
		if h.Good++; h.Good >= t.OK {
			return Health{Known: true}
		}
	case !ok:
		h.Good = 0
		if h.Bad++; h.Bad >= t.Down {
			return Health{Known: true, Down: true}
		}
	}
	return h
}
