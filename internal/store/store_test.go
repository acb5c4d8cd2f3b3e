package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/dir"
)

func TestPathsAreTakenApartAndJoined(t *testing.T) {
	for _, tc := range []struct{ path, parent, base string }{
		{"", "", ""}, {"a", "", "a"}, {"a/b", "a", "b"}, {"zones/example.org/head", "zones/example.org", "head"},
	} {
		if p, b := store.Parent(tc.path), store.Base(tc.path); p != tc.parent || b != tc.base {
			t.Errorf("%q is %q and %q, want %q and %q", tc.path, p, b, tc.parent, tc.base)
		}
		if j := store.Join(tc.parent, tc.base); j != tc.path {
			t.Errorf("Join(%q, %q) = %q", tc.parent, tc.base, j)
		}
	}
	if j := store.Join("", "a", "", "b/c"); j != "a/b/c" {
		t.Errorf("Join = %q", j)
	}
}

func FuzzCheckPathKeepsInsideTheTree(f *testing.F) {
	for _, path := range []string{"", "a/b", "../x", "a/./b", "a\x00", "a//b", "/a", "\u0085"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		err := store.CheckPath(path)
		if err != nil {
			if !errors.Is(err, store.ErrInvalidPath) {
				t.Errorf("CheckPath(%q) = %v", path, err)
			}
			return
		}
		if path != "" && (!filepath.IsLocal(path) || filepath.Clean(path) != path || strings.Contains("/"+path, "/.")) {
			t.Errorf("CheckPath takes %q", path)
		}
	})
}

func TestOpErrorTellsWhatWasDoneToWhat(t *testing.T) {
	err := fmt.Errorf("publish: %w", &store.OpError{Index: 2, Kind: store.OpSet, Path: "zones/a/head", Err: store.ErrVersion})
	if want := `publish: set "zones/a/head": node is at another version`; err.Error() != want || !errors.Is(err, store.ErrVersion) {
		t.Errorf("%q, want %q", err, want)
	}
}

func ExampleAcquire() {
	ctx := exampleContext()
	s, err := dir.Open(exampleDir())
	if err != nil {
		panic(err)
	}
	defer func() { _ = s.Close() }()
	lock, err := store.Acquire(ctx, s, "zones/example.org/lock", "alice")
	if err != nil {
		panic(err)
	}
	// Every commit carries the fence: whether the lock is still held is decided by the store, not by what we believe.
	err = s.Commit(ctx, lock.Fence(), store.Create("zones/example.org/head", []byte("serial 1")))
	fmt.Println(err)
	fmt.Println(lock.Release(ctx))
	err = s.Commit(ctx, lock.Fence(), store.Set("zones/example.org/head", []byte("serial 2"), 0))
	fmt.Println(errors.Is(err, store.ErrNoNode))
	// Output:
	// <nil>
	// <nil>
	// true
}

// busy is a store in which somebody adds nodes while others are deleted.
type busy struct {
	store.Store
	t     *testing.T
	added int
}

func (b *busy) Children(ctx ctx, path string) ([]string, error) {
	names, err := b.Store.Children(ctx, path)
	if path == "x" && b.added < 3 {
		b.added++
		if cerr := b.Commit(ctx, store.Create(fmt.Sprintf("x/late%d", b.added), nil)); cerr != nil {
			b.t.Error(cerr)
		}
	}
	return names, err
}

func TestDeleteAllDeletesWhatIsAddedMeanwhile(t *testing.T) {
	s, err := dir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := store.MkdirAll(t.Context(), s, "x/y"); err != nil {
		t.Fatal(err)
	}
	b := &busy{Store: s, t: t}
	if err := store.DeleteAll(t.Context(), b, "x"); err != nil {
		t.Fatal(err)
	}
	if names, err := s.Children(t.Context(), ""); err != nil || slices.Contains(names, "x") || b.added != 3 {
		t.Errorf("left %q after %d additions, %v", names, b.added, err)
	}
}
