package dataset

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/popdns/popdns/internal/store"
)

// history is the slow obvious twin of a store that is wiped, replaced and restored under a follower: what the store has, and what must be served.
type history struct {
	ids     []string // of the stores that come and go
	cluster Cluster  // the store's identity
	serves  *Head    // by the follower
	head    *Head    // in the store, nil for none
}

// step decides anew what must be served, by the rules as they are written in DESIGN.md.
func (h *history) step() (refusing bool) {
	switch {
	case h.head == nil:
		return h.serves != nil
	case h.serves == nil:
	case h.head.Commit == h.serves.Commit && h.head.Cluster == h.serves.Cluster:
		return false
	case h.head.Cluster == h.serves.Cluster:
		if h.head.Epoch < h.serves.Epoch || !newer(h.head.Serial, h.serves.Serial) {
			return true
		}
	default:
		succeeds := h.cluster.ID == h.head.Cluster
		if succeeds {
			succeeds = false
			for _, a := range h.cluster.Adopts {
				succeeds = succeeds || a.ID == h.serves.Cluster
			}
		}
		same := h.head.Serial == h.serves.Serial && h.head.Sum == h.serves.Sum
		if !succeeds || !same && !newer(h.head.Serial, h.serves.Serial) {
			return true
		}
	}
	h.serves = h.head
	return false
}

// TestRandomWipesReplacementsAndAdoptionsAgreeWithTheModel lets stores come and go under a follower, which is also restarted from its disk cache.
func TestRandomWipesReplacementsAndAdoptionsAgreeWithTheModel(t *testing.T) {
	r := seeded(t)
	for round := range 3 {
		t.Run(fmt.Sprint("round", round), func(t *testing.T) { randomIdentities(t, r, 150) })
	}
}

func randomIdentities(t *testing.T, r *rand.Rand, steps int) {
	t.Helper()
	s, cache := newStore(t), memoryDir(t)
	m := &history{cluster: clusterOf(t, s)}
	m.ids = []string{m.cluster.ID, newUUID(), newUUID()}
	start := func() *running {
		f := prepare(t, s, FollowOptions[*pairs]{Cache: openDir(t, cache), Identity: identityOf(t, s, Keys{})})
		_ = f.LoadCache(t.Context())
		f.start(t)
		return f
	}
	f := start()
	frozen, switched := 0, 0
	for i := range steps {
		what := randomIdentityStep(t, r, s, m)
		if r.IntN(10) == 0 {
			_ = f.stop()
			f = start()
			what += ", restart"
		}
		was := m.serves
		refusing := m.step()
		if refusing {
			frozen++
		}
		if was != nil && was.Cluster != m.serves.Cluster {
			switched++
		}
		wait(t, fmt.Sprintf("step %d (%s): refusing %v, serving %+v of %+v, identity %+v", i, what, refusing, summary(m.serves), summary(m.head), m.cluster), func() bool {
			// An adoption is read when it is asked for, and then watched: the next step must not overtake that.
			if c := f.opts.Identity.claim(); c.read && string(c.raw) != string(read(t, s, clusterPath)) {
				return false
			}
			v := f.Current()
			return f.Refusing() == refusing && (v == nil) == (m.serves == nil) &&
				(v == nil || v.Head.sameVersion(m.serves) && v.Head.Cluster == m.serves.Cluster)
		})
		if was != nil && m.serves != was && !newer(m.serves.Serial, was.Serial) && m.serves.Serial != was.Serial {
			t.Fatalf("the model went from serial %d back to %d", was.Serial, m.serves.Serial)
		}
	}
	t.Logf("frozen after %d of %d steps, moved to another store %d times", frozen, steps, switched)
}

func summary(h *Head) string {
	if h == nil {
		return "nothing"
	}
	return fmt.Sprintf("%d of %.8s epoch %d", h.Serial, h.Cluster, h.Epoch)
}

// randomIdentityStep does one thing to the store, and to the model of what it has.
func randomIdentityStep(t *testing.T, r *rand.Rand, s store.Store, m *history) string {
	t.Helper()
	publish := func(c Commit, p *pairs) {
		rec, err := NewWriter(s, testRef).Commit(t.Context(), c, to(p))
		if err != nil {
			t.Fatal(err)
		}
		m.head = &rec.Head
	}
	change := func() {
		setCluster(t, s, Keys{}, m.cluster)
	}
	content := func() *pairs { return of(fmt.Sprint("a=", r.IntN(3))) }
	switch r.IntN(10) {
	case 0:
		forget(t, s)
		m.head = nil
		return "the dataset is wiped"
	case 1: // with the store's identity, as by popctl init
		forget(t, s)
		m.head = nil
		m.cluster = Cluster{ID: m.ids[r.IntN(len(m.ids))], Epoch: 1 + r.Int64N(2)}
		change()
		return "another store"
	case 2:
		m.cluster.ID, m.cluster.Adopts = m.ids[r.IntN(len(m.ids))], nil
		change()
		return "another identity under the same data"
	case 3, 4:
		id := m.ids[r.IntN(len(m.ids))]
		if m.serves != nil && r.IntN(2) == 0 {
			id = m.serves.Cluster // what an operator does
		}
		if id != m.cluster.ID {
			adopt(t, s, Keys{}, id)
			m.cluster = clusterOf(t, s)
			return "adopts " + id[:8]
		}
		return "nothing"
	case 5:
		m.cluster.Adopts = nil
		change()
		return "adopts none"
	}
	c := Commit{By: "model"}
	if m.serves != nil {
		c.MinSerial = m.serves.Serial + r.Uint32N(4) - 1
	}
	publish(c, content())
	return "a version"
}
