package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/popdns/popdns/internal/store"
)

// told is one call of a Watch's function.
type told struct {
	node store.Node
	err  error
}

// watch runs Watch until the test ends and returns what it tells. The channel holds more than any test makes, so that fn does not wait.
func watch(t *testing.T, s store.Store, path string) <-chan told {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan told, 10_000)
	var done sync.WaitGroup
	done.Go(func() {
		err := s.Watch(ctx, path, func(n store.Node, err error) { ch <- told{n, err} })
		if !errors.Is(err, context.Canceled) && !errors.Is(err, store.ErrClosed) {
			t.Errorf("Watch(%q) returned %v", path, err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return ch
}

// until reads what the watch tells until it is what is waited for.
func until(t *testing.T, ch <-chan told, what string, ok func(told) bool) {
	t.Helper()
	for {
		if ok(receive(t, ch)) {
			return
		}
		t.Logf("still waiting for %s", what)
	}
}

func holds(data string) func(told) bool {
	return func(w told) bool { return w.err == nil && string(w.node.Data) == data }
}

func gone(w told) bool { return errors.Is(w.err, store.ErrNoNode) }

func watchChanges(e *env) {
	t := e.t
	writer := e.open()
	ch := watch(t, e.s, "w")
	if first := receive(t, ch); !gone(first) {
		t.Fatalf("first told %+v of a node that does not exist", first)
	}
	commit(t, writer, store.Create("w", []byte("1")))
	until(t, ch, "creation", holds("1"))
	commit(t, writer, store.Set("w", []byte("2"), 0))
	until(t, ch, "change", holds("2"))
	commit(t, writer, store.Create("w/child", nil)) // no news for w
	commit(t, writer, store.Delete("w/child", 0))
	commit(t, writer, store.Delete("w", store.AnyVersion))
	until(t, ch, "deletion", gone)
	commit(t, writer, store.Create("w", []byte("3")))
	until(t, ch, "second creation", holds("3"))
	// Deleted and made anew in one commit with the same version and data: still news.
	before := get(t, writer, "w")
	commit(t, writer, store.Delete("w", 0), store.Create("w", []byte("3")))
	until(t, ch, "replacement", func(w told) bool { return w.err == nil && w.node.Created > before.Created })
	commit(t, e.s, store.Set("w", []byte("own"), store.AnyVersion))
	until(t, ch, "own change", holds("own"))
	missing := watch(t, e.s, "no/such/parent")
	if first := receive(t, missing); !gone(first) {
		t.Fatalf("first told %+v below a node that does not exist", first)
	}
	commit(t, writer, store.Create("no", nil), store.Create("no/such", nil), store.Create("no/such/parent", []byte("now")))
	until(t, missing, "creation with its parents", holds("now"))
}

func watchCoalesces(e *env) {
	t := e.t
	commit(t, e.s, store.Create("w", []byte("0")))
	entered, resume := make(chan struct{}), make(chan struct{})
	var versions []int32
	ctx, cancel := context.WithCancel(t.Context())
	const last = 50
	done := make(chan error, 1)
	go func() {
		done <- e.s.Watch(ctx, "w", func(n store.Node, err error) {
			if err != nil {
				t.Errorf("told %v", err)
			}
			versions = append(versions, n.Version)
			if len(versions) == 1 {
				close(entered)
				<-resume
			}
			if n.Version == last {
				cancel()
			}
		})
	}()
	receive(t, entered)
	writer := e.open()
	for v := range int32(last) {
		commit(t, writer, store.Set("w", []byte(strconv.Itoa(int(v)+1)), v))
	}
	close(resume)
	if err := receive(t, done); !errors.Is(err, context.Canceled) {
		t.Fatalf("Watch returned %v", err)
	}
	for i := 1; i < len(versions); i++ {
		if versions[i] < versions[i-1] {
			t.Errorf("version went back: %v", versions)
		}
	}
	if len(versions) > 10 {
		t.Errorf("%d calls for changes that all came during the first: %v", len(versions), versions)
	}
}

func watchContext(e *env) {
	t := e.t
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := e.s.Watch(ctx, "w", func(store.Node, error) { calls++; cancel() })
	if !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("Watch returned %v after %d calls, want canceled after 1", err, calls)
	}
	if err := e.s.Watch(ctx, "w", func(store.Node, error) { t.Error("told after the context ended") }); !errors.Is(err, context.Canceled) {
		t.Errorf("Watch with an ended context returned %v", err)
	}
}

func manyWatches(e *env) {
	t := e.t
	chans := make([]<-chan told, 50)
	for i := range chans {
		chans[i] = watch(t, e.s, "w"+strconv.Itoa(i%2))
	}
	commit(t, e.open(), store.Create("w0", []byte("x")), store.Create("w1", []byte("x")))
	for i, ch := range chans {
		until(t, ch, fmt.Sprintf("watch %d", i), holds("x"))
	}
}
