// Package storetest is the suite that every implementation of store.Store must pass, so that whoever tests against one knows the others.
package storetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store"
)

// patience bounds every wait of the suite; nothing here takes more than a fraction of it.
const patience = 20 * time.Second

// An Opener is called once for each test with that test's t. It makes an empty tree and returns a function that opens it; every call of that function
// gives another Store with a session of its own on the same tree. Run closes them.
type Opener func(t *testing.T) (open func() store.Store)

// Run runs the suite.
func Run(t *testing.T, opener Opener) {
	t.Helper()
	tests := []struct {
		name string
		test func(e *env)
	}{
		{"CreatedNodeIsReadBack", createdNodeIsReadBack},
		{"SetRaisesVersionAndModified", setRaisesVersion},
		{"RecreatedNodeHasAnotherCreated", recreatedNode},
		{"FailedOperationIsNamedAndNothingIsApplied", failedOperation},
		{"OperationsSeeThoseBeforeThem", operationsInOrder},
		{"ChildrenAreSorted", childrenSorted},
		{"OddNamesAreKeptAndUnsafeOnesRefused", oddNames},
		{"TooLargeIsRefusedAndTheStoreGoesOn", tooLarge},
		{"LargestNodeFits", largestNode},
		{"EmptyCommitIsFine", emptyCommit},
		{"EphemeralEndsWithItsStore", ephemeral},
		{"WatchDeliversEveryKindOfChange", watchChanges},
		{"WatchCoalescesAndNeverGoesBack", watchCoalesces},
		{"WatchEndsWithItsContext", watchContext},
		{"ManyWatchesOfOneNode", manyWatches},
		{"CloseEndsEverything", closeEnds},
		{"MkdirAllAndDeleteAll", mkdirAndDeleteAll},
		{"ConcurrentCompareAndSetLosesNothing", concurrentIncrements},
		{"LockExcludesAndFences", lockExcludes},
		{"LockNamesItsHolderWhenTimeIsOver", lockNamesHolder},
		{"LockPassesOnWhenItsHolderCloses", lockPassesOn},
		{"RandomHistoriesAgreeWithTheModel", randomHistories},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) { tc.test(newEnv(t, opener)) })
	}
}

// env is one test's tree.
type env struct {
	t    *testing.T
	open func() store.Store
	s    store.Store // opened already, the root exists
}

func newEnv(t *testing.T, opener Opener) *env {
	t.Helper()
	openOne := opener(t)
	e := &env{t: t, open: func() store.Store {
		s := openOne()
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
		return s
	}}
	e.s = e.open()
	if err := store.MkdirAll(context.Background(), e.s, ""); err != nil {
		t.Fatalf("MkdirAll of the root: %v", err)
	}
	return e
}

func commit(t *testing.T, s store.Store, ops ...store.Op) {
	t.Helper()
	if err := s.Commit(t.Context(), ops...); err != nil {
		t.Fatalf("Commit(%s): %v", describe(ops), err)
	}
}

func get(t *testing.T, s store.Store, path string) store.Node {
	t.Helper()
	n, err := s.Get(t.Context(), path)
	if err != nil {
		t.Fatalf("Get(%q): %v", path, err)
	}
	return n
}

// wantErr checks that the commit fails with want at the operation index.
func wantErr(t *testing.T, s store.Store, want error, index int, ops ...store.Op) {
	t.Helper()
	err := s.Commit(t.Context(), ops...)
	if !errors.Is(err, want) {
		t.Fatalf("Commit(%s) = %v, want %v", describe(ops), err, want)
	}
	var oe *store.OpError
	if !errors.As(err, &oe) {
		t.Fatalf("Commit(%s) = %v, want an *OpError", describe(ops), err)
	}
	if oe.Index != index || oe.Path != ops[index].Path || oe.Kind != ops[index].Kind {
		t.Fatalf("Commit(%s) blames operation %d (%s %q), want %d", describe(ops), oe.Index, oe.Kind, oe.Path, index)
	}
}

func describe(ops []store.Op) string {
	var b strings.Builder
	for i, op := range ops {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(op.Kind.String() + " " + op.Path)
	}
	return b.String()
}

func children(t *testing.T, s store.Store, path string, want ...string) {
	t.Helper()
	got, err := s.Children(t.Context(), path)
	if err != nil {
		t.Fatalf("Children(%q): %v", path, err)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("Children(%q) = %q, want %q", path, got, want)
	}
}
