package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store"
)

func ephemeral(e *env) {
	t := e.t
	owner := e.open()
	commit(t, owner, store.Create("d", nil), store.CreateEphemeral("d/e", []byte("here")))
	if n := get(t, owner, "d/e"); !n.Ephemeral || !n.Mine {
		t.Errorf("its owner reads %+v", n)
	}
	if n := get(t, e.s, "d/e"); !n.Ephemeral || n.Mine || string(n.Data) != "here" {
		t.Errorf("another reads %+v", n)
	}
	wantErr(t, owner, store.ErrNoChildren, 0, store.Create("d/e/f", nil))
	commit(t, e.s, store.Set("d/e", []byte("changed"), 0))
	if n := get(t, owner, "d/e"); !n.Mine || string(n.Data) != "changed" {
		t.Errorf("after another set it, its owner reads %+v", n)
	}
	if err := owner.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if _, err := e.s.Get(t.Context(), "d/e"); !errors.Is(err, store.ErrNoNode) {
		t.Errorf("after its owner closed: %v, want ErrNoNode", err)
	}
	children(t, e.s, "d")
	commit(t, e.s, store.Delete("d", store.AnyVersion))
}

func lockExcludes(e *env) {
	t := e.t
	other := e.open()
	commit(t, e.s, store.Create("value", nil))
	first, err := store.Acquire(t.Context(), e.s, "deep/lock", "first")
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	got := make(chan *store.Lock)
	go func() {
		l, err := store.Acquire(t.Context(), other, "deep/lock", "second")
		if err != nil {
			t.Errorf("second Acquire: %v", err)
		}
		got <- l
	}()
	commit(t, e.s, first.Fence(), store.Set("value", []byte("first"), 0))
	select {
	case <-got:
		t.Fatal("the second has the lock that the first holds")
	default:
	}
	if err := first.Release(t.Context()); err != nil {
		t.Fatalf("Release: %v", err)
	}
	second := receive(t, got)
	wantErr(t, e.s, store.ErrNoNode, 0, first.Fence(), store.Set("value", []byte("stale"), 1))
	if err := first.Release(t.Context()); err != nil {
		t.Errorf("Release of a lost lock: %v", err)
	}
	commit(t, other, second.Fence(), store.Set("value", []byte("second"), 1))
	if err := second.Release(t.Context()); err != nil {
		t.Errorf("Release: %v", err)
	}
	children(t, e.s, "deep/lock")
}

func lockNamesHolder(e *env) {
	t := e.t
	if _, err := store.Acquire(t.Context(), e.s, "lock", "alice on host7"); err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := store.Acquire(ctx, e.open(), "lock", "bob")
	if !errors.Is(err, store.ErrLocked) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "alice on host7") {
		t.Errorf("Acquire of a held lock: %v", err)
	}
}

func lockPassesOn(e *env) {
	t := e.t
	holder := e.open()
	old, err := store.Acquire(t.Context(), holder, "lock", "old")
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	got := make(chan *store.Lock)
	go func() {
		l, err := store.Acquire(t.Context(), e.s, "lock", "new")
		if err != nil {
			t.Errorf("Acquire: %v", err)
		}
		got <- l
	}()
	if err := holder.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	receive(t, got)
	wantErr(t, e.s, store.ErrNoNode, 0, old.Fence())
}

func closeEnds(e *env) {
	t := e.t
	s := e.open()
	done := make(chan error)
	told := make(chan struct{}, 16)
	go func() { done <- s.Watch(context.Background(), "w", func(store.Node, error) { told <- struct{}{} }) }()
	receive(t, told)
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if err := receive(t, done); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Watch returned %v, want ErrClosed", err)
	}
	if _, err := s.Get(t.Context(), ""); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Get: %v, want ErrClosed", err)
	}
	if _, err := s.Children(t.Context(), ""); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Children: %v, want ErrClosed", err)
	}
	if err := s.Commit(t.Context(), store.Create("a", nil)); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Commit: %v, want ErrClosed", err)
	}
	if err := s.Watch(t.Context(), "a", func(store.Node, error) {}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Watch: %v, want ErrClosed", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// receive fails the test when nothing comes.
func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}
