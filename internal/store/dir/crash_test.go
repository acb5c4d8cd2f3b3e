package dir

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/popdns/popdns/internal/store"
)

// errCrash stands for the end of the process: what follows the step does not happen.
var errCrash = errors.New("crash")

func openAt(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// dump reads the whole tree: path → data and version.
func dump(t *testing.T, s store.Reader) map[string]string {
	t.Helper()
	tree := make(map[string]string)
	var walk func(path string)
	walk = func(path string) {
		n, err := s.Get(t.Context(), path)
		if err != nil {
			t.Fatalf("Get(%q): %v", path, err)
		}
		tree[path] = fmt.Sprintf("%s@%d", n.Data, n.Version)
		names, err := s.Children(t.Context(), path)
		if err != nil {
			t.Fatalf("Children(%q): %v", path, err)
		}
		for _, name := range names {
			walk(store.Join(path, name))
		}
	}
	walk("")
	return tree
}

// before is the tree that the commits below start from.
var before = []store.Op{
	store.Create("a", []byte("0")), store.Create("a/b", []byte("0")), store.Create("old", []byte("0")), store.Create("old/below", nil),
	store.Create("again", []byte("0")),
}

// crashing are commits of every shape.
var crashing = map[string][]store.Op{
	"Create": {store.Create("a/new", []byte("1"))},
	"Set":    {store.Set("a/b", []byte("1"), 0)},
	"Delete": {store.Delete("a/b", 0)},
	"Several": {
		store.Set("a", []byte("1"), 0), store.Create("new", []byte("1")), store.Create("new/below", []byte("1")),
		store.Delete("old/below", 0), store.Delete("old", 0), store.Delete("again", 0), store.Create("again", []byte("1")),
		store.Create("again/below", nil), store.Create("fleeting", nil), store.Delete("fleeting", 0),
	},
}

func TestCommitIsWholeOrNotAtAllWhereverTheProcessDies(t *testing.T) {
	for name, ops := range crashing {
		t.Run(name, func(t *testing.T) {
			reference := openAt(t, t.TempDir())
			if err := reference.Commit(t.Context(), before...); err != nil {
				t.Fatal(err)
			}
			oldTree := dump(t, reference)
			if err := reference.Commit(t.Context(), ops...); err != nil {
				t.Fatal(err)
			}
			newTree := dump(t, reference)
			happened := 0
			steps := 0
			for crashed := true; crashed; steps++ {
				var isNew bool
				isNew, crashed = crashAt(t, steps, ops, oldTree, newTree)
				if isNew {
					happened++
				}
			}
			t.Logf("%d steps, the commit stands after %d of them", steps-1, happened)
			if steps < 3 || happened == 0 || happened == steps {
				t.Errorf("%d steps, the commit stands after %d: that tests nothing", steps, happened)
			}
		})
	}
}

// crashAt lets the process die at the given step of the commit, then looks at the tree with a Store that was open all the time, with one that may only read
// and with a new one, and sees to it that the store still works. crashed is false when there are fewer steps.
func crashAt(t *testing.T, step int, ops []store.Op, oldTree, newTree map[string]string) (isNew, crashed bool) {
	t.Helper()
	path := t.TempDir()
	victim, other := openAt(t, path), openAt(t, path)
	if err := victim.Commit(t.Context(), before...); err != nil {
		t.Fatal(err)
	}
	reached := 0
	victim.fault = func(string) error {
		if reached++; reached > step {
			return errCrash
		}
		return nil
	}
	err := victim.Commit(t.Context(), ops...)
	crashed = errors.Is(err, errCrash)
	if !crashed && err != nil {
		t.Fatal(err)
	}
	victim.fault = nil
	reader := openAt(t, path)
	reader.readOnly = true
	tree := dump(t, other)
	isNew = maps.Equal(tree, newTree)
	if !isNew && !maps.Equal(tree, oldTree) {
		t.Fatalf("a crash at step %d left\n%v\nwhich is neither\n%v\nnor\n%v", step, tree, oldTree, newTree)
	}
	if !crashed && !isNew {
		t.Fatalf("without a crash the tree is %v", tree)
	}
	if again := dump(t, reader); !maps.Equal(again, tree) {
		t.Fatalf("step %d: a read-only store sees\n%v\nanother\n%v", step, again, tree)
	}
	rev, err := other.readRev()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Commit(t.Context(), store.Create("more", nil)); err != nil {
		t.Fatalf("commit after a crash at step %d: %v", step, err)
	}
	if n, err := other.Get(t.Context(), "more"); err != nil || n.Created <= rev {
		t.Errorf("step %d: the transaction after %d has the number %d, %v", step, rev, n.Created, err)
	}
	after := dump(t, openAt(t, path))
	delete(after, "more")
	if !maps.Equal(after, tree) {
		t.Fatalf("step %d: opened anew the tree is\n%v\nit was\n%v", step, after, tree)
	}
	if _, err := os.Stat(filepath.Join(path, journalFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("step %d: the journal is still there: %v", step, err)
	}
	return isNew, crashed
}

func TestRecoveryMayCrashToo(t *testing.T) {
	path := t.TempDir()
	s := openAt(t, path)
	if err := s.Commit(t.Context(), before...); err != nil {
		t.Fatal(err)
	}
	s.fault = func(step string) error {
		if step == "node 1" {
			return errCrash
		}
		return nil
	}
	if err := s.Commit(t.Context(), crashing["Several"]...); !errors.Is(err, errCrash) || !errors.Is(err, store.ErrUnknownOutcome) {
		t.Fatalf("Commit: %v", err)
	}
	want := dump(t, s)
	for i := range 7 { // each recovery dies at another node
		s.fault = func(step string) error {
			if step == fmt.Sprintf("node %d", i) {
				return errCrash
			}
			return nil
		}
		if err := s.Commit(t.Context(), store.Create("x", nil)); !errors.Is(err, errCrash) {
			t.Fatalf("recovery %d: %v", i, err)
		}
		if got := dump(t, s); !maps.Equal(got, want) {
			t.Fatalf("after recovery %d died the tree is %v, want %v", i, got, want)
		}
	}
	s.fault = nil
	if err := s.Commit(t.Context(), store.Create("x", nil)); err != nil {
		t.Fatal(err)
	}
}

// TestKilledProcessLeavesNoEphemeralNode runs a second process (this test binary) that is killed while it owns nodes and holds a lock.
func TestKilledProcessLeavesNoEphemeralNode(t *testing.T) {
	path := t.TempDir()
	if victim := os.Getenv("POPDNS_TEST_VICTIM"); victim != "" {
		s, err := Open(victim)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Acquire(t.Context(), s, "lock", "victim"); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), store.Create("ready", nil)); err != nil {
			t.Fatal(err)
		}
		select {} // until killed
	}
	s := openAt(t, path)
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcessLeavesNoEphemeralNode$") //nolint:noctx // killed below
	cmd.Env = append(os.Environ(), "POPDNS_TEST_VICTIM="+path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	err := s.Watch(t.Context(), "ready", func(_ store.Node, err error) {
		if err == nil && !killed {
			killed = true
			names, cerr := s.Children(t.Context(), "lock")
			if cerr != nil || len(names) != 2 {
				t.Errorf("while the other lives the lock's nodes are %q, %v", names, cerr)
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			_ = s.Commit(t.Context(), store.Delete("ready", 0))
		} else if killed {
			go func() { _ = s.Close() }()
		}
	})
	if !errors.Is(err, store.ErrClosed) {
		t.Fatalf("Watch: %v", err)
	}
	fresh := openAt(t, path)
	if names, err := fresh.Children(t.Context(), "lock"); err != nil || len(names) != 0 {
		t.Errorf("the lock's nodes are %q, %v", names, err)
	}
	l, err := store.Acquire(t.Context(), fresh, "lock", "next")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Join(path, "lock"))
	if err != nil || slices.ContainsFunc(left, fs.DirEntry.IsDir) {
		t.Errorf("the dead process's nodes still lie in the directory: %v, %v", left, err)
	}
}
