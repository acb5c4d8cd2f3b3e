package tightheap

import (
	"runtime/debug"
	"testing"
)

func setting() int {
	p := debug.SetGCPercent(100)
	debug.SetGCPercent(p)
	return p
}

func TestTheSettingComesBackAfterTheLastUser(t *testing.T) {
	for _, before := range []int{100, 5, -1} {
		old := debug.SetGCPercent(before)
		want := min(percent, before)
		Begin(worth - 1)()
		first, second := Begin(worth), Begin(worth)
		if got := setting(); got != want {
			t.Errorf("with GOGC %d it is %d meanwhile, want %d", before, got, want)
		}
		first()
		if got := setting(); got != want {
			t.Errorf("with GOGC %d it is %d while one user is left, want %d", before, got, want)
		}
		second()
		if got := setting(); got != before {
			t.Errorf("with GOGC %d it is %d afterwards", before, got)
		}
		debug.SetGCPercent(old)
	}
}
