package finding

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestNearestFindsWhatWasProbablyMeant(t *testing.T) {
	known := []string{"default", "nets", "resolver", "ecs", "Up"}
	for word, want := range map[string]string{
		"nets": "nets", "net": "nets", "entsx": "", "defualt": "default", "DEFALT": "default", "eccs": "ecs", "UP": "Up", "u": "Up",
		"":                         "", // two edits make it of Up, but nothing of that is left
		"foobar":                   "",
		strings.Repeat("nets", 99): "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%.20q: got %q, want %q", word, got, want)
		}
	}
	if got := Nearest("ams", []string{"ams1", "ams2"}); got != "ams1" {
		t.Errorf("of two that are as near: got %q, want the first", got)
	}
	if got := Nearest("a", nil); got != "" {
		t.Errorf("nothing known: got %q", got)
	}
}

func TestNearestComparesNoWordBeyondTheBound(t *testing.T) {
	short, long, beyond := strings.Repeat("a", maxWord-1), strings.Repeat("a", maxWord), strings.Repeat("a", maxWord+1)
	for _, c := range []struct{ word, known, want string }{{short, long, long}, {long, short, short}, {long, beyond, ""}, {beyond, long, ""}} {
		if got := Nearest(c.word, []string{c.known}); got != c.want {
			t.Errorf("%d octets, %d known: got %q, want %q", len(c.word), len(c.known), got, c.want)
		}
	}
}

// slowDistance is the definition: remove the first octet of a, add that of b, or replace one by the other.
func slowDistance(a, b string) int {
	if a == "" || b == "" {
		return len(a) + len(b)
	}
	if a[0] == b[0] {
		return slowDistance(a[1:], b[1:])
	}
	return 1 + min(slowDistance(a[1:], b), slowDistance(a, b[1:]), slowDistance(a[1:], b[1:]))
}

func TestEditDistanceIsThatOfTheDefinition(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	word := func() string {
		b := make([]byte, r.IntN(7))
		for i := range b {
			b[i] = "abc"[r.IntN(3)]
		}
		return string(b)
	}
	for range 2000 {
		a, b := word(), word()
		if got, want := editDistance(a, b), slowDistance(a, b); got != want {
			t.Fatalf("seed %d: %q to %q: got %d, want %d", seed, a, b, got, want)
		}
	}
}
