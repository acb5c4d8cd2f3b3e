package dataset

import (
	"errors"
	"fmt"
)

// A Run is a stretch of log entries with consecutive serials: First applies to version From, every later one to the serial
// before it. Runs name thousands of entries in a few bytes, so a reader fetches them at once instead of walking a list.
type Run struct {
	From  uint32 `json:"from"`
	First uint32 `json:"first"`
	Last  uint32 `json:"last"`
}

const (
	// compactRuns is when a new image is due because of the runs alone; serials that jump at each commit make one run each.
	compactRuns = 64
	// keptRuns is how many runs of the earlier generation a new one lists at most.
	keptRuns = 32
	maxRuns  = 2 * compactRuns
	// maxLogEntries bounds what one head may list: two generations and some.
	maxLogEntries = 4 * compactEntries
)

// A step is the way from one version to the next.
type step struct {
	from, to uint32
}

// newer reports a > b in the serial arithmetic of RFC 1982 section 3.2. Two serials 2^31 apart are not newer than each other.
func newer(a, b uint32) bool {
	return a != b && a-b < 1<<31
}

// nextSerial returns the serial after current: the next number, or least if that is newer. Zero is skipped, because it
// means "none" here and because some secondaries take it for an unset serial.
func nextSerial(current, least uint32) uint32 {
	next := current + 1
	if next == 0 {
		next = 1
	}
	if least != 0 && newer(least, next) {
		return least
	}
	return next
}

// SerialAfter returns the serial after serial, which is never 0.
func SerialAfter(serial uint32) uint32 { return nextSerial(serial, 0) }

func (r Run) entries() int {
	return int(r.Last-r.First) + 1
}

// entries counts the entries of runs.
func entries(runs []Run) int {
	n := 0
	for _, r := range runs {
		n += r.entries()
	}
	return n
}

// extend appends a step to runs without changing their array.
func extend(runs []Run, s step) []Run {
	out := append([]Run(nil), runs...)
	if n := len(out); n > 0 && out[n-1].Last == s.from && s.to == s.from+1 {
		out[n-1].Last = s.to
		return out
	}
	return append(out, Run{From: s.from, First: s.to, Last: s.to})
}

// cut returns the runs that lead from version from to the end, and whether from lies on the way.
func cut(runs []Run, from uint32) ([]Run, bool) {
	for i, r := range runs {
		switch {
		case r.From == from:
			return runs[i:], true
		case r.First <= from && from < r.Last:
			return append([]Run{{From: from, First: from + 1, Last: r.Last}}, runs[i+1:]...), true
		case r.Last == from:
			return runs[i+1:], true
		}
	}
	return nil, len(runs) == 0
}

// steps returns the entries that lead from version from to the head's, and whether the log leads there.
func (h *Head) steps(from uint32) ([]step, bool) {
	if from == h.Serial {
		return nil, true
	}
	if len(h.Log) == 0 {
		return nil, false
	}
	runs, ok := cut(h.Log, from)
	if !ok {
		return nil, false
	}
	out := make([]step, 0, entries(runs))
	for _, r := range runs {
		at := r.From
		for i := range r.entries() {
			to := r.First + uint32(i)
			out = append(out, step{at, to})
			at = to
		}
	}
	return out, true
}

// afterBase returns the runs that lead from the image to the head's version.
func (h *Head) afterBase() []Run {
	runs, _ := cut(h.Log, h.Base.Serial)
	return runs
}

// has tells whether the version can be loaded from this head's generation.
func (h *Head) has(serial uint32) bool {
	if serial == h.Base.Serial {
		return true
	}
	for _, r := range h.afterBase() {
		if r.First <= serial && serial <= r.Last {
			return true
		}
	}
	return false
}

func (h *Head) checkLog() error {
	if len(h.Log) > maxRuns {
		return fmt.Errorf("log of %d runs, at most %d", len(h.Log), maxRuns)
	}
	end := h.Base.Serial
	for i, r := range h.Log {
		if r.First == 0 || r.Last < r.First || !newer(r.First, r.From) {
			return fmt.Errorf("log run %d→%d…%d", r.From, r.First, r.Last)
		}
		if i > 0 && r.From != end {
			return fmt.Errorf("log has a gap between %d and %d", end, r.From)
		}
		end = r.Last
	}
	if n := entries(h.Log); n > maxLogEntries {
		return fmt.Errorf("log of %d entries, at most %d", n, maxLogEntries)
	}
	if end != h.Serial {
		return fmt.Errorf("log leads to %d, not to serial %d", end, h.Serial)
	}
	if _, ok := cut(h.Log, h.Base.Serial); !ok {
		return errors.New("log does not begin at the image")
	}
	return nil
}
