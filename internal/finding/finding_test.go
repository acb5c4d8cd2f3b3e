package finding

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

func TestAFaultSaysFileLineAndWhat(t *testing.T) {
	for want, at := range map[string]Position{
		"z:7: wrong (remedy)":    {File: "z", Line: 7},
		"z: wrong (remedy)":      {File: "z"},
		"main:3: wrong (remedy)": {Line: 3},
		"main: wrong (remedy)":   {},
	} {
		l := &List{File: "main"}
		l.AddAt(at, "wrong (%s)", "remedy")
		if got := l.Err().Error(); got != want {
			t.Errorf("%+v: got %q, want %q", at, got, want)
		}
	}
}

func TestAPositionIsShortForWhoStandsInTheSameFile(t *testing.T) {
	here := Position{File: "z", Line: 9}
	for want, p := range map[string]Position{"line 7": {File: "z", Line: 7}, "i:7": {File: "i", Line: 7}, "z": {File: "z"}} {
		if got := p.SeenFrom(here); got != want {
			t.Errorf("%+v from %+v: got %q, want %q", p, here, got, want)
		}
	}
}

func TestAListWithoutFaultsIsNoError(t *testing.T) {
	l := &List{File: "z"}
	if err := l.Err(); err != nil || l.Len() != 0 {
		t.Errorf("got %v, %d faults", err, l.Len())
	}
}

func TestFaultsAreToldInOrderOfFileAndLine(t *testing.T) {
	l := &List{File: "main"}
	l.Add(12, "a")
	l.AddAt(Position{File: "inc", Line: 5}, "b")
	l.Add(3, "c, found first")
	l.Add(0, "d")
	l.AddAt(Position{File: "inc", Line: 2}, "e")
	l.Add(3, "f, found second")
	l.AddAt(Position{File: "other", Line: 1}, "g")
	want := "main: d\nmain:3: c, found first\nmain:3: f, found second\nmain:12: a\ninc:2: e\ninc:5: b\nother:1: g"
	if got := l.Err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFaultsOfOneLineStayInTheOrderInWhichTheyWereFound(t *testing.T) {
	l := &List{File: "z"}
	for n := range MaxListed {
		l.Add(2-n%2, "%d", n)
	}
	var want []string
	for _, first := range []int{1, 0} {
		for n := first; n < MaxListed; n += 2 {
			want = append(want, fmt.Sprintf("z:%d: %d", 2-first, n))
		}
	}
	if got := l.Err().Error(); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestWhatIsBeyondTheLimitIsCountedOnly(t *testing.T) {
	l := &List{File: "z"}
	for n := range MaxListed {
		l.Add(n+1, "wrong")
	}
	if got := l.Err().Error(); strings.Count(got, "\n") != MaxListed-1 || strings.Contains(got, "more") {
		t.Errorf("at the limit: %q", got)
	}
	for range 3 {
		l.Add(0, "wrong")
	}
	if len(l.Faults) != MaxListed || l.Len() != MaxListed+3 {
		t.Errorf("keeps %d of %d, want %d of %d", len(l.Faults), l.Len(), MaxListed, MaxListed+3)
	}
	last := fmt.Sprintf("\nz:%d: wrong\n… and 3 more", MaxListed)
	if got := l.Err().Error(); strings.Count(got, "\n") != MaxListed || !strings.HasSuffix(got, last) {
		t.Errorf("beyond the limit: %q, want it to end in %q", got, last)
	}
}

func TestCausesAreFoundThroughTheList(t *testing.T) {
	l := &List{File: "z"}
	l.Add(1, "wrong")
	l.Add(2, "include: %w", fs.ErrNotExist)
	err := fmt.Errorf("read: %w", l.Err())
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		t.Errorf("the cause of line 2 is not found in %v", err)
	}
	if f, ok := errors.AsType[*Fault](err); !ok || f.Line != 1 || f.Err.Error() != "wrong" {
		t.Errorf("the first fault is %+v", f)
	}
	if all, ok := errors.AsType[*List](err); !ok || all != l {
		t.Errorf("the list is %v", all)
	}
}
