package storetest

import (
	"bytes"
	"errors"
	"math"
	"strings"

	"github.com/popdns/popdns/internal/store"
)

func createdNodeIsReadBack(e *env) {
	t := e.t
	commit(t, e.s, store.Create("a", []byte("one")), store.Create("empty", nil))
	n := get(t, e.open(), "a")
	if string(n.Data) != "one" || n.Version != 0 || n.Created <= 0 || n.Modified != n.Created || n.Ephemeral || n.Mine {
		t.Errorf("node read back as %+v", n)
	}
	if n := get(t, e.s, "empty"); len(n.Data) != 0 {
		t.Errorf("empty node has the data %q", n.Data)
	}
	if _, err := e.s.Get(t.Context(), "nothing"); !errors.Is(err, store.ErrNoNode) {
		t.Errorf("Get of a missing node: %v, want ErrNoNode", err)
	}
	if _, err := e.s.Children(t.Context(), "nothing"); !errors.Is(err, store.ErrNoNode) {
		t.Errorf("Children of a missing node: %v, want ErrNoNode", err)
	}
}

func setRaisesVersion(e *env) {
	t := e.t
	commit(t, e.s, store.Create("a", []byte("0")))
	before := get(t, e.s, "a")
	commit(t, e.s, store.Set("a", []byte("1"), 0))
	commit(t, e.s, store.Set("a", []byte("2"), store.AnyVersion))
	n := get(t, e.s, "a")
	if string(n.Data) != "2" || n.Version != 2 || n.Created != before.Created || n.Modified <= before.Modified {
		t.Errorf("after two sets %+v, before %+v", n, before)
	}
	commit(t, e.s, store.Set("", []byte("the root"), store.AnyVersion))
	if n := get(t, e.s, ""); string(n.Data) != "the root" {
		t.Errorf("the root holds %q", n.Data)
	}
}

func recreatedNode(e *env) {
	t := e.t
	commit(t, e.s, store.Create("a", nil))
	first := get(t, e.s, "a")
	commit(t, e.s, store.Delete("a", 0))
	commit(t, e.s, store.Create("a", nil))
	if n := get(t, e.s, "a"); n.Created <= first.Created || n.Version != 0 {
		t.Errorf("made anew %+v, at first %+v", n, first)
	}
	commit(t, e.s, store.Delete("a", 0), store.Create("a", []byte("x")), store.Create("a/b", nil))
	if n := get(t, e.s, "a"); string(n.Data) != "x" || n.Version != 0 {
		t.Errorf("made anew in one commit: %+v", n)
	}
	children(t, e.s, "a", "b")
}

func failedOperation(e *env) {
	t := e.t
	commit(t, e.s, store.Create("a", []byte("0")), store.Create("dir", nil), store.Create("dir/x", nil))
	for _, tc := range []struct {
		want error
		op   store.Op
	}{
		{store.ErrExists, store.Create("a", nil)},
		{store.ErrNoNode, store.Create("no/b", nil)},
		{store.ErrNoNode, store.Set("no", nil, store.AnyVersion)},
		{store.ErrNoNode, store.Delete("no", store.AnyVersion)},
		{store.ErrNoNode, store.Check("no", store.AnyVersion)},
		{store.ErrVersion, store.Set("a", nil, 7)},
		{store.ErrVersion, store.Delete("a", 7)},
		{store.ErrVersion, store.Check("a", 7)},
		{store.ErrNotEmpty, store.Delete("dir", store.AnyVersion)},
	} {
		wantErr(t, e.s, tc.want, 0, tc.op)
		wantErr(t, e.s, tc.want, 2, store.Create("new", nil), store.Set("dir/x", []byte("no"), 0), tc.op, store.Create("new2", nil))
	}
	wantErr(t, e.s, store.ErrInvalidPath, 0, store.Delete("", store.AnyVersion))
	children(t, e.s, "", "a", "dir")
	if n := get(t, e.s, "dir/x"); n.Version != 0 || len(n.Data) != 0 {
		t.Errorf("a failed commit left %+v", n)
	}
	commit(t, e.s, store.Check("a", 0), store.Check("dir", store.AnyVersion))
}

func operationsInOrder(e *env) {
	t := e.t
	commit(t, e.s,
		store.Create("a", nil), store.Create("a/b", []byte("0")), store.Set("a/b", []byte("1"), 0), store.Check("a/b", 1),
		store.Create("gone", nil), store.Delete("gone", 0), store.Create("c", nil), store.Delete("c", 0), store.Create("c", []byte("again")))
	children(t, e.s, "", "a", "c")
	if n := get(t, e.s, "a/b"); string(n.Data) != "1" || n.Version != 1 {
		t.Errorf("a/b is %+v", n)
	}
	wantErr(t, e.s, store.ErrNotEmpty, 1, store.Create("c/d", nil), store.Delete("c", store.AnyVersion))
	commit(t, e.s, store.Delete("a/b", store.AnyVersion), store.Delete("a", store.AnyVersion))
	children(t, e.s, "", "c")
}

func childrenSorted(e *env) {
	t := e.t
	commit(t, e.s, store.Create("d", nil))
	names := []string{"b", "a", "c", "B", "a0", "é"}
	ops := make([]store.Op, 0, 2*len(names))
	for _, name := range names {
		ops = append(ops, store.Create("d/"+name, nil), store.Create("d/"+name+"/below", nil))
	}
	commit(t, e.s, ops...)
	children(t, e.s, "d", "B", "a", "a0", "b", "c", "é")
	children(t, e.s, "d/a", "below")
	children(t, e.s, "d/a/below")
}

func oddNames(e *env) {
	t := e.t
	odd := []string{"@", "*", "%2f", "-rf", "a b", "a\\b", "~", "日本", "xn--a.example.org", "a..b", "con", strings.Repeat("n", store.MaxNameBytes)}
	for _, name := range odd {
		commit(t, e.s, store.Create(name, []byte(name)), store.Create(name+"/child", nil))
		if n := get(t, e.s, name); string(n.Data) != name {
			t.Errorf("node %q holds %q", name, n.Data)
		}
		commit(t, e.s, store.Delete(name+"/child", 0), store.Delete(name, 0))
	}
	bad := []string{".", "..", ".node", "a/.lock", "a//b", "/a", "a/", "a/../b", "a\x00b", "a\nb", "\xff", strings.Repeat("n", store.MaxNameBytes+1),
		strings.Repeat("n/", store.MaxPathBytes)}
	for _, path := range bad {
		wantErr(t, e.s, store.ErrInvalidPath, 0, store.Create(path, nil))
		if _, err := e.s.Get(t.Context(), path); !errors.Is(err, store.ErrInvalidPath) {
			t.Errorf("Get(%q): %v", path, err)
		}
		if _, err := e.s.Children(t.Context(), path); !errors.Is(err, store.ErrInvalidPath) {
			t.Errorf("Children(%q): %v", path, err)
		}
		if err := e.s.Watch(t.Context(), path, func(store.Node, error) {}); !errors.Is(err, store.ErrInvalidPath) {
			t.Errorf("Watch(%q): %v", path, err)
		}
	}
	children(t, e.s, "")
}

func tooLarge(e *env) {
	t := e.t
	half := bytes.Repeat([]byte("x"), store.MaxNodeBytes/2+1)
	wantErr(t, e.s, store.ErrTooLarge, 1, store.Create("a", half), store.Create("b", half))
	many := make([]store.Op, store.MaxCommitOps+1)
	for i := range many {
		many[i] = store.Check("", store.AnyVersion)
	}
	if err := e.s.Commit(t.Context(), many...); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("commit of %d operations: %v", len(many), err)
	}
	before := e.s.Status()
	commit(t, e.s, store.Create("a", half))
	if after := e.s.Status(); !after.Connected || after.Sessions != before.Sessions {
		t.Errorf("status went from %+v to %+v", before, after)
	}
}

func largestNode(e *env) {
	t := e.t
	big := bytes.Repeat([]byte("0123456789"), store.MaxNodeBytes/10)
	commit(t, e.s, store.Create("big", big))
	if n := get(t, e.open(), "big"); !bytes.Equal(n.Data, big) {
		t.Errorf("read %d bytes back, wrote %d", len(n.Data), len(big))
	}
}

func emptyCommit(e *env) {
	t := e.t
	commit(t, e.s)
	commit(t, e.s, store.Create("v", nil))
	for range 3 {
		commit(t, e.s, store.Set("v", nil, store.AnyVersion))
	}
	wantErr(t, e.s, store.ErrVersion, 0, store.Check("v", math.MaxInt32))
}
