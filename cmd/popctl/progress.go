package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	progressAfter = 300 * time.Millisecond // work that is done sooner needs no bar
	progressEvery = 100 * time.Millisecond // between redraws
	progressWidth = 30                     // characters
)

// progress draws a bar on a terminal for work that takes long. The zero value draws nothing.
type progress struct {
	w       io.Writer // nil: nobody looks
	what    string
	now     func() time.Time
	started time.Time
	drawn   time.Time // zero: nothing is on the screen
}

func (a *app) progress(what string) *progress {
	if !a.isTerminal(a.stderr) {
		return &progress{}
	}
	return newProgress(a.stderr, what, time.Now)
}

func newProgress(w io.Writer, what string, now func() time.Time) *progress {
	return &progress{w: w, what: what, now: now, started: now()}
}

// update shows that done of total is done.
func (p *progress) update(done, total int) {
	if p.w == nil || total <= 0 {
		return
	}
	now := p.now()
	if now.Sub(p.started) < progressAfter || now.Sub(p.drawn) < progressEvery && done < total {
		return
	}
	p.drawn = now
	done = min(max(done, 0), total)
	full := done * progressWidth / total
	fmt.Fprintf(p.w, "\r%s [%s%s] %3d %%", p.what, strings.Repeat("=", full), strings.Repeat(" ", progressWidth-full), done*100/total)
}

// clear takes the bar away, so that what is printed next begins on an empty line.
func (p *progress) clear() {
	if p.w != nil && !p.drawn.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
