package storetest

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/popdns/popdns/internal/store"
)

// model is the oracle: a store without concurrency, sessions or disk, in the fewest lines.
type model map[string]modelNode

type modelNode struct {
	data    string
	version int32
}

// commit applies the operations to a copy, which replaces the model when all succeed.
func (m *model) commit(ops []store.Op) (index int, err error) {
	next := maps.Clone(*m)
	for i, op := range ops {
		if err := next.apply(op); err != nil {
			return i, err
		}
	}
	*m = next
	return 0, nil
}

func (m model) apply(op store.Op) error {
	n, exists := m[op.Path]
	switch {
	case op.Kind == store.OpCreate && exists:
		return store.ErrExists
	case op.Kind == store.OpCreate:
		if _, ok := m[store.Parent(op.Path)]; !ok {
			return store.ErrNoNode
		}
		m[op.Path] = modelNode{data: string(op.Data)}
		return nil
	case !exists:
		return store.ErrNoNode
	case op.Version != store.AnyVersion && op.Version != n.version:
		return store.ErrVersion
	case op.Kind == store.OpSet:
		m[op.Path] = modelNode{data: string(op.Data), version: n.version + 1}
	case op.Kind == store.OpDelete:
		if len(m.children(op.Path)) > 0 {
			return store.ErrNotEmpty
		}
		delete(m, op.Path)
	}
	return nil
}

func (m model) children(path string) []string {
	var names []string
	for p := range m {
		if p != "" && store.Parent(p) == path {
			names = append(names, store.Base(p))
		}
	}
	slices.Sort(names)
	return names
}

func randomHistories(e *env) {
	t := e.t
	seed := rand.Uint64() //nolint:gosec // a test's seed
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test's history, to be repeated from its seed
	stores := []store.Store{e.s, e.open()}
	m := model{"": {}}
	for step := range 150 {
		ops := randomOps(rng, m)
		index, want := m.commit(ops)
		err := stores[rng.IntN(len(stores))].Commit(t.Context(), ops...)
		if !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Fatalf("seed %d step %d: Commit(%s) = %v, the model says %v", seed, step, describe(ops), err, want)
		}
		var oe *store.OpError
		if errors.As(err, &oe) && oe.Index != index {
			t.Fatalf("seed %d step %d: Commit(%s) blames operation %d, the model %d (%v)", seed, step, describe(ops), oe.Index, index, want)
		}
		compare(t, stores[rng.IntN(len(stores))], m, seed, step)
	}
}

// randomOps makes a commit of one to six operations over few names, so that they often meet.
func randomOps(rng *rand.Rand, m model) []store.Op {
	name := func() string {
		parts := make([]string, 1+rng.IntN(3))
		for i := range parts {
			parts[i] = "abc"[rng.IntN(3):][:1]
		}
		return strings.Join(parts, "/")
	}
	ops := make([]store.Op, 1+rng.IntN(6))
	for i := range ops {
		path := name()
		version := store.AnyVersion
		if n, ok := m[path]; ok && rng.IntN(2) == 0 {
			version = n.version // right unless this commit sets it again
		}
		switch rng.IntN(8) {
		case 0, 1, 2, 3:
			ops[i] = store.Create(path, []byte(strconv.Itoa(rng.IntN(1000))))
		case 4, 5:
			ops[i] = store.Set(path, []byte(strconv.Itoa(rng.IntN(1000))), version)
		case 6:
			ops[i] = store.Delete(path, version)
		case 7:
			ops[i] = store.Check(path, version)
		}
	}
	return ops
}

func compare(t *testing.T, s store.Store, m model, seed uint64, step int) {
	t.Helper()
	for path, want := range m {
		n := get(t, s, path)
		if path != "" && (string(n.Data) != want.data || n.Version != want.version) {
			t.Fatalf("seed %d step %d: %q is %q at version %d, the model has %q at %d", seed, step, path, n.Data, n.Version, want.data, want.version)
		}
		names, err := s.Children(t.Context(), path)
		if err != nil || !slices.Equal(names, m.children(path)) {
			t.Fatalf("seed %d step %d: Children(%q) = %q, %v, the model has %q", seed, step, path, names, err, m.children(path))
		}
	}
}

func concurrentIncrements(e *env) {
	t := e.t
	commit(t, e.s, store.Create("n", []byte("0")))
	stores := []store.Store{e.s, e.open()}
	const workers, each = 4, 20
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			s := stores[w%len(stores)]
			for done := 0; done < each; {
				n, err := s.Get(t.Context(), "n")
				if err != nil {
					t.Errorf("Get: %v", err)
					return
				}
				v, err := strconv.Atoi(string(n.Data))
				if err != nil {
					t.Errorf("read %q: %v", n.Data, err)
					return
				}
				err = s.Commit(t.Context(), store.Set("n", []byte(strconv.Itoa(v+1)), n.Version))
				if err == nil {
					done++
				} else if !errors.Is(err, store.ErrVersion) {
					t.Errorf("Commit: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := get(t, e.s, "n"); string(n.Data) != strconv.Itoa(workers*each) || n.Version != workers*each {
		t.Errorf("after %d increments: %q at version %d", workers*each, n.Data, n.Version)
	}
}

func mkdirAndDeleteAll(e *env) {
	t := e.t
	for range 2 {
		if err := store.MkdirAll(t.Context(), e.s, "x/y/z"); err != nil {
			t.Fatalf("MkdirAll: %v", err)
		}
	}
	const below = 450 // more than one batch of deletions
	ops := make([]store.Op, 0, below+1)
	ops = append(ops, store.Create("keep", nil))
	for i := range below {
		ops = append(ops, store.Create("x/y/n"+strconv.Itoa(i), nil))
	}
	commit(t, e.s, ops...)
	for range 2 {
		if err := store.DeleteAll(t.Context(), e.s, "x"); err != nil {
			t.Fatalf("DeleteAll: %v", err)
		}
	}
	children(t, e.s, "", "keep")
	if err := store.DeleteAll(t.Context(), e.s, ""); err != nil {
		t.Fatalf("DeleteAll of the root: %v", err)
	}
	children(t, e.s, "")
}
