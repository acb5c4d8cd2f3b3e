package zkzone

import (
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/edge"
)

func TestTheLineOfASwitchSaysWhatChangedAndWhy(t *testing.T) {
	head := func(message string) dataset.Head { return dataset.Head{Revision: dataset.Revision{Message: message}} }
	for _, c := range []struct {
		s    edge.Switch
		want string
	}{
		{edge.Switch{Kind: "zone", How: edge.HowFirst, Head: head("")}, "the first version"},
		{edge.Switch{Kind: "zone", How: edge.HowConfirmed, Head: head("as before")}, "nothing changed; as before"},
		{edge.Switch{Kind: "zone", How: edge.HowImage, Change: edge.Change{Before: 12}}, "loaded as a whole, 12 items before"},
		{edge.Switch{Kind: "zone", How: edge.HowDeltas, Head: head("fix\nthe \x1b[2Jmail"), Change: edge.Change{Added: 1, Changed: 2, Settings: 1, Deltas: 1, Examples: []string{"a. A", "b. A"}}},
			"+1 -0 ~2 RRsets, steering of 1 names: a. A, b. A, …; fix the  [2Jmail"},
		{edge.Switch{Kind: "zone", How: edge.HowDeltas, Change: edge.Change{Deltas: 7}}, "+0 -0 ~0 RRsets in 7 commits"},
		{edge.Switch{Kind: "pops", How: edge.HowDeltas, Change: edge.Change{Changed: 1, Deltas: 1, Examples: []string{"ams1"}}}, "+0 -0 ~1 PoPs: ams1"},
		{edge.Switch{Kind: "map", How: edge.HowDeltas, Change: edge.Change{Before: 15, Deltas: 1}}, "15 items before"},
	} {
		if got := changeText(c.s); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.s.Change, got, c.want)
		}
	}
	if got := changeText(edge.Switch{Head: head(strings.Repeat("ä", 1000))}); len([]rune(got)) > 2*maxLogged {
		t.Errorf("%d characters of a publisher's message are logged", len([]rune(got)))
	}
}
