package dataset

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store"
)

// model is the slow obvious twin: every version that was ever committed, by serial.
type model struct {
	versions map[uint32]string
	order    []uint32
}

func (m *model) newest() uint32 { return m.order[len(m.order)-1] }

func randomEdit(r *rand.Rand, cur *pairs) *pairs {
	out := cur.with()
	for range 1 + r.IntN(4) {
		key := fmt.Sprint("k", r.IntN(30))
		switch r.IntN(5) {
		case 0:
			delete(out.items, key)
		case 1:
			out.items[key] = strings.Repeat("x", r.IntN(60_000)) // soon makes a new image due
		default:
			out.items[key] = fmt.Sprint(r.IntN(1000))
		}
	}
	return out
}

func TestRandomHistoriesAgreeWithTheModelAndFollowersConverge(t *testing.T) {
	r := seeded(t)
	for round := range 4 {
		t.Run(fmt.Sprint("round", round), func(t *testing.T) { randomHistory(t, r, 40) })
	}
}

func randomHistory(t *testing.T, r *rand.Rand, commits int) {
	t.Helper()
	s, cachePath := newStore(t), memoryDir(t)
	ref := Ref[*pairs]{Path: testRef.Path, Codec: pairsCodec{chunkItems: 1 + r.IntN(8), bare: r.IntN(2) == 0}}
	writers := []*Writer[*pairs]{NewWriter(s, ref), NewWriter(s, ref)}
	m := &model{versions: map[uint32]string{}}
	images := 0
	var followers []*running
	for range commits {
		w := writers[r.IntN(len(writers))]
		var rec *Receipt
		var err error
		if len(m.order) > 3 && r.IntN(8) == 0 {
			back := m.order[r.IntN(len(m.order))]
			rec, err = w.Rollback(t.Context(), back, Commit{By: "model"})
			if errors.Is(err, ErrNotInHistory) {
				continue
			}
			if err == nil && rec.Changed {
				m.versions[rec.New] = m.versions[back]
			}
		} else {
			var want string
			c := Commit{By: "model"}
			if r.IntN(10) == 0 && len(m.order) > 0 {
				c.MinSerial = m.newest() + r.Uint32N(1<<26) // together below 2^31, the most that a follower may miss
			}
			rec, err = w.Commit(t.Context(), c, func(cur *Version[*pairs]) (*pairs, error) {
				next := of("first=1")
				next.serial = 1<<32 - 1<<26 // the serials soon go round
				if cur != nil {
					next = randomEdit(r, cur.Value)
				}
				want = next.String()
				return next, nil
			})
			if err == nil && rec.Changed {
				m.versions[rec.New] = want
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if rec.Cleanup != nil {
			t.Fatalf("clean-up: %v", rec.Cleanup)
		}
		if rec.Changed {
			m.order = append(m.order, rec.New)
		}
		if rec.BaseWritten {
			images++
		}
		if r.IntN(12) == 0 { // a follower at a random lag, half of them from the shared cache
			f := prepare(t, s, FollowOptions[*pairs]{Cache: openDir(t, cachePath)})
			f.ref = ref
			if r.IntN(2) == 0 {
				if err := f.LoadCache(t.Context()); err != nil && !errors.Is(err, ErrNoDataset) {
					t.Fatal(err)
				}
			}
			f.start(t)
			followers = append(followers, f)
		}
		v, err := Load(t.Context(), s, ref)
		if err != nil {
			t.Fatal(err)
		}
		if v.Head.Serial != m.newest() || v.Value.String() != m.versions[m.newest()] {
			t.Fatalf("loaded serial %d, want %d, or its items differ", v.Head.Serial, m.newest())
		}
	}
	t.Logf("%d versions, %d images, %d followers", len(m.order), images, len(followers))
	for _, f := range followers {
		checkFollower(t, f, m)
	}
	checkHistory(t, s, ref, m)
}

// checkFollower waits for the newest version; every version on the way must be one that was committed, and none may go back.
func checkFollower(t *testing.T, f *running, m *model) {
	t.Helper()
	var last uint32
	for last != m.newest() {
		select {
		case v := <-f.versions:
			if last != 0 && v.Head.Serial != last && !newer(v.Head.Serial, last) {
				t.Fatalf("follower went from serial %d back to %d", last, v.Head.Serial)
			}
			last = v.Head.Serial
			if v.Value.String() != m.versions[last] {
				t.Fatalf("follower has serial %d with items that were never committed under it", last)
			}
		case no := <-f.refusals:
			t.Fatalf("refused for %q: %v", no.Reason, no.Err)
		case <-time.After(20 * time.Second):
			t.Fatal("a follower did not converge")
		}
	}
}

// checkHistory loads every version that History lists and compares it with the model.
func checkHistory(t *testing.T, s store.Store, ref Ref[*pairs], m *model) {
	t.Helper()
	history, err := History(t.Context(), s, ref)
	if err != nil || len(history) == 0 {
		t.Fatalf("history of %d, %v", len(history), err)
	}
	for i, e := range history {
		if want := m.order[len(m.order)-1-i]; e.Serial != want {
			t.Fatalf("history entry %d is serial %d, want %d", i, e.Serial, want)
		}
		v, err := LoadSerial(t.Context(), s, ref, e.Serial)
		if err != nil {
			t.Fatal(err)
		}
		if v.Head.Serial != e.Serial || v.Value.serial != e.Serial || v.Value.String() != m.versions[e.Serial] {
			t.Fatalf("serial %d from history differs from what was committed", e.Serial)
		}
		if _, err := ParseHead(v.HeadBytes); err != nil {
			t.Fatalf("serial %d: head of the time: %v", e.Serial, err)
		}
	}
}

// TestWriterKilledAtEachStepLeavesAGoodDataset runs one scenario again and again; the store dies under the writer at its first
// write, then at the second, and so on, with and without applying that write.
func TestWriterKilledAtEachStepLeavesAGoodDataset(t *testing.T) {
	for _, how := range []fault{refused, lostReply} {
		for step := 1; ; step++ {
			died := false
			t.Run(fmt.Sprintf("%v/step%d", how, step), func(t *testing.T) {
				s := newStore(t)
				f := &faulty{Store: s}
				f.onWrite = func(n int, _ []store.Op) fault {
					switch {
					case n < step:
						return fine
					case n == step:
						died = true
						f.onRead = func(string, store.Node, error) (store.Node, error) { return store.Node{}, store.ErrClosed }
						return how
					}
					return refused
				}
				reached := scenario(t, f)
				checkAfterDeath(t, s, reached)
			})
			if !died {
				break
			}
		}
	}
}

var scenarioStates = []string{"", "a=1 b=1", "a=2 b=1", "a=2 pad", "a=3 pad", "a=2 b=1"}

// scenario is a first commit, a delta, an image because of size, a delta and a rollback. It returns how many succeeded.
func scenario(t *testing.T, s store.Store) int {
	t.Helper()
	pad := "pad=" + strings.Repeat("x", MaxDeltaBytes)
	w := NewWriter(s, testRef)
	for i, value := range []*pairs{of("a=1", "b=1"), of("a=2", "b=1"), of("a=2", pad), of("a=3", pad)} {
		if _, err := w.Commit(t.Context(), Commit{}, to(value)); err != nil {
			return i
		}
	}
	if _, err := w.Rollback(t.Context(), 2, Commit{}); err != nil {
		return 4
	}
	return 5
}

func checkAfterDeath(t *testing.T, s store.Store, reached int) {
	t.Helper()
	// The dead writer's session ends.
	for _, name := range lockNodes(t, s) {
		if err := s.Commit(t.Context(), store.Delete("zones/example.org/lock/"+name, store.AnyVersion)); err != nil {
			t.Fatal(err)
		}
	}
	v, err := Load(t.Context(), s, testRef)
	if errors.Is(err, ErrNoDataset) && reached == 0 {
		v = &Version[*pairs]{Value: of()}
	} else if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.FieldsFunc(v.Value.String(), func(c rune) bool { return c == ' ' }), " ")
	if i := strings.Index(got, "pad="); i >= 0 {
		got = got[:i] + "pad"
	}
	// The last write may have been applied although nobody heard of it.
	if want := scenarioStates[reached:min(reached+2, len(scenarioStates))]; !slices.Contains(want, got) {
		t.Fatalf("after %d commits the dataset is %q, want one of %q", reached, got, want)
	}
	// The next writer goes on, and cleans up what is not referred to.
	w := NewWriter(s, testRef)
	for _, value := range []*pairs{of("z=1"), of("z=" + strings.Repeat("z", MaxDeltaBytes))} {
		if r := put(t, w, value); r.Cleanup != nil {
			t.Fatal(r.Cleanup)
		}
	}
	head := mustLoad(t, s).Head
	gens, err := generations(t.Context(), s, testRef, head)
	if err != nil {
		t.Fatal(err)
	}
	if got := children(t, s, "zones/example.org/base"); len(got) != len(gens) {
		t.Fatalf("images %v beside %d generations: an orphan is left", got, len(gens))
	}
	if list, err := ListDatasets(t.Context(), s, "zones"); err != nil || len(list) != 1 {
		t.Fatalf("catalog %v, %v", list, err)
	}
}

func lockNodes(t *testing.T, s store.Store) []string {
	t.Helper()
	names, err := s.Children(t.Context(), "zones/example.org/lock")
	if err != nil && !errors.Is(err, store.ErrNoNode) {
		t.Fatal(err)
	}
	return names
}
