package dataset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store"
)

func TestCommittedVersionsAreLoadedBack(t *testing.T) {
	eachStore(t, func(t *testing.T, open func() store.Store) {
		t.Helper()
		s := open()
		w := NewWriter(s, testRef)
		first := put(t, w, of("a=1", "b=2", "c=3", "d=4", "e=5"))
		if !first.Changed || first.New != 1 || first.Old != 0 || !first.BaseWritten || first.Items != 6 {
			t.Fatalf("first receipt %+v", first)
		}
		wantItems(t, mustLoad(t, s), 1, of("a=1", "b=2", "c=3", "d=4", "e=5"))
		second := put(t, w, of("a=1", "b=9"))
		if !second.Changed || second.Old != 1 || second.New != 2 || second.BaseWritten {
			t.Fatalf("second receipt %+v", second)
		}
		wantItems(t, mustLoad(t, s), 2, of("a=1", "b=9"))
		if list, err := ListDatasets(t.Context(), s, "zones"); err != nil || len(list) != 1 || list[0] != "example.org" {
			t.Fatalf("catalog %v, %v", list, err)
		}
	})
}

func TestEditThatChangesNothingWritesNothing(t *testing.T) {
	s := newStore(t)
	w := NewWriter(s, testRef)
	put(t, w, of("a=1"))
	before := read(t, s, "zones/example.org/head")
	for _, value := range []*pairs{of("a=1"), {serial: 77, items: of("a=1").items}} {
		if r := put(t, w, value); r.Changed || r.New != 1 || r.Items != 2 {
			t.Fatalf("receipt %+v, want unchanged", r)
		}
	}
	if string(read(t, s, "zones/example.org/head")) != string(before) {
		t.Fatal("the head was written")
	}
	fail := errors.New("no")
	_, err := w.Commit(t.Context(), Commit{}, func(*Version[*pairs]) (*pairs, error) { return nil, fail })
	wantErr(t, err, fail)
}

func TestSerialsFollowRFC1982(t *testing.T) {
	for _, c := range []struct {
		current, least, want uint32
	}{
		{1, 0, 2}, {1, 2, 2}, {5, 3, 6}, {5, 2026112300, 2026112300}, {1<<32 - 1, 0, 1}, {1<<32 - 1, 7, 7},
		{1 << 31, 1, 1<<31 + 1}, {7, 7 + 1<<31, 7 + 1<<31}, {7, 8 + 1<<31, 8},
	} {
		if got := nextSerial(c.current, c.least); got != c.want {
			t.Errorf("nextSerial(%d, %d) = %d, want %d", c.current, c.least, got, c.want)
		}
	}
	s := newStore(t)
	w := NewWriter(s, testRef)
	value := of("a=0")
	value.serial = 2026112300
	if r := put(t, w, value); r.New != 2026112300 {
		t.Fatalf("first serial %d, want the value's own", r.New)
	}
	r, err := w.Commit(t.Context(), Commit{MinSerial: 2026112400}, to(of("a=1")))
	if err != nil || r.New != 2026112400 {
		t.Fatalf("receipt %+v, %v", r, err)
	}
	r, err = w.Commit(t.Context(), Commit{MinSerial: 2026112300}, to(of("a=2")))
	if err != nil || r.New != 2026112401 {
		t.Fatalf("receipt %+v, %v", r, err)
	}
	wantItems(t, mustLoad(t, s), 2026112401, of("a=2"))
}

func TestSerialsThatCameRoundGoIntoAnImage(t *testing.T) {
	s := newStore(t)
	w := NewWriter(s, testRef)
	least := []uint32{0, 10, 10 + 1<<30, 10 + 1<<31, 10 + 3<<30, 9, 0}
	var last *Receipt
	for i, n := range least {
		r, err := w.Commit(t.Context(), Commit{MinSerial: n}, to(of(fmt.Sprint("a=", i))))
		if err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
		last = r
	}
	// 9 is newer than 10+3<<30, so the last commit is 10 again, whose log entry still exists.
	if last.New != 10 || !last.BaseWritten {
		t.Fatalf("receipt %+v, want serial 10 in an image", last)
	}
	wantItems(t, mustLoad(t, s), 10, of("a=6"))
}

func TestSignedSerialMustBeNewer(t *testing.T) {
	s := newStore(t)
	w := NewWriter(s, testRef)
	put(t, w, &pairs{serial: 5, frozen: true, items: of("a=1").items})
	_, err := w.Commit(t.Context(), Commit{}, to(&pairs{serial: 5, frozen: true, items: of("a=2").items}))
	wantErr(t, err, ErrSerial)
	if !strings.Contains(err.Error(), "sign again") {
		t.Errorf("error %q does not say what to do", err)
	}
	r := put(t, w, &pairs{serial: 9, frozen: true, items: of("a=2").items})
	if r.New != 9 {
		t.Fatalf("serial %d, want the signed 9", r.New)
	}
	_, err = w.Rollback(t.Context(), 5, Commit{})
	wantErr(t, err, ErrSerial)
}

func TestRollbackBringsOldContentUnderANewSerial(t *testing.T) {
	s := newStore(t)
	w := NewWriter(s, testRef)
	for i := range 5 {
		put(t, w, of(fmt.Sprint("a=", i)))
	}
	r, err := w.Rollback(t.Context(), 2, Commit{By: "me", Message: "oops"})
	if err != nil || r.New != 6 || r.Head.RollbackOf != 2 {
		t.Fatalf("receipt %+v, %v", r, err)
	}
	wantItems(t, mustLoad(t, s), 6, of("a=1"))
	history, err := History(t.Context(), s, testRef)
	if err != nil || len(history) != 6 {
		t.Fatalf("history %+v, %v", history, err)
	}
	if e := history[0]; e.Serial != 6 || e.RollbackOf != 2 || e.By != "me" || e.Message != "oops" || e.Items != 2 {
		t.Errorf("newest entry %+v", e)
	}
	if e := history[5]; e.Serial != 1 || !e.Base || e.By != "test" {
		t.Errorf("oldest entry %+v", e)
	}
	_, err = w.Rollback(t.Context(), 99, Commit{})
	wantErr(t, err, ErrNotInHistory)
}

func TestCommitIsRefusedWhere(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, s store.Store)
		want    error
	}{
		"the store is frozen": {func(t *testing.T, s store.Store) {
			t.Helper()
			create(t, s, "freeze", `{"by":"ann","why":"incident"}`)
		}, ErrFrozen},
		"the zone is presented": {func(t *testing.T, s store.Store) {
			t.Helper()
			create(t, s, "zones/example.org/spec", `{"mode":"presented"}`)
		}, ErrPresented},
		"there is no identity": {func(t *testing.T, s store.Store) {
			t.Helper()
			if err := s.Commit(t.Context(), store.Delete("cluster", store.AnyVersion)); err != nil {
				t.Fatal(err)
			}
		}, ErrNoStore},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			c.prepare(t, s)
			_, err := NewWriter(s, testRef).Commit(t.Context(), Commit{}, to(of("a=1")))
			wantErr(t, err, c.want)
			_, err = Load(t.Context(), s, testRef)
			wantErr(t, err, ErrNoDataset)
		})
	}
}

func create(t *testing.T, s store.Store, path, data string) {
	t.Helper()
	if err := store.MkdirAll(t.Context(), s, store.Parent(path)); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), store.Create(path, []byte(data))); err != nil {
		t.Fatal(err)
	}
}

func TestClockThatWentBackIsRefused(t *testing.T) {
	s := newStore(t)
	w := NewWriter(s, testRef)
	first := put(t, w, of("a=1"))
	w.now = func() time.Time { return first.Head.Published.Add(-6 * time.Second) }
	_, err := w.Commit(t.Context(), Commit{}, to(of("a=2")))
	wantErr(t, err, ErrClock)
	w.now = func() time.Time { return first.Head.Published.Add(-4 * time.Second) }
	r := put(t, w, of("a=2"))
	if !r.Head.Published.Equal(first.Head.Published) {
		t.Errorf("published %s, want no earlier than %s", r.Head.Published, first.Head.Published)
	}
}

func TestTwoWritersLoseNoEdit(t *testing.T) {
	eachStore(t, func(t *testing.T, open func() store.Store) {
		t.Helper()
		const each = 10
		s := open()
		errs := make(chan error, 2)
		for _, who := range []string{"x", "y"} {
			w := NewWriter(open(), testRef)
			go func() {
				for i := range each {
					_, err := w.Commit(t.Context(), Commit{By: who}, func(cur *Version[*pairs]) (*pairs, error) {
						kv := fmt.Sprintf("%s%d=1", who, i)
						if cur == nil {
							return of(kv), nil
						}
						return cur.Value.with(kv), nil
					})
					if err != nil {
						errs <- err
						return
					}
				}
				errs <- nil
			}()
		}
		for range 2 {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		v := mustLoad(t, s)
		if v.Head.Serial != 2*each || len(v.Value.items) != 2*each {
			t.Fatalf("serial %d with %d items, want %d of both", v.Head.Serial, len(v.Value.items), 2*each)
		}
	})
}

func TestCommitOfAWriterThatLostItsLockFails(t *testing.T) {
	s := newStore(t)
	put(t, NewWriter(s, testRef), of("a=1"))
	_, err := NewWriter(s, testRef).Commit(t.Context(), Commit{}, func(cur *Version[*pairs]) (*pairs, error) {
		// The session ends while the writer is paused in here: its lock nodes go.
		for _, name := range children(t, s, "zones/example.org/lock") {
			if err := s.Commit(t.Context(), store.Delete("zones/example.org/lock/"+name, store.AnyVersion)); err != nil {
				t.Fatal(err)
			}
		}
		return cur.Value.with(strings.Repeat("b", MaxDeltaBytes) + "=2"), nil // an image, so the lock is held meanwhile
	})
	wantErr(t, err, ErrConflict)
	wantItems(t, mustLoad(t, s), 1, of("a=1"))
}

func TestSmallCommitIsOneWriteAndWaitsForTheLocksHolder(t *testing.T) {
	f := &faulty{Store: newStore(t)}
	w := NewWriter[*pairs](f, testRef)
	put(t, w, of("a=1"))
	writes := make(chan int, 10)
	f.set(func(f *faulty) {
		f.onWrite = func(_ int, ops []store.Op) fault {
			writes <- len(ops)
			return fine
		}
	})
	put(t, w, of("a=2"))
	if len(writes) != 1 {
		t.Errorf("a small change took %d writes, want 1", len(writes))
	}
	if left := children(t, f, "zones/example.org/lock"); len(left) != 0 {
		t.Errorf("the lock is not given back: %v", left)
	}

	lock, err := store.Acquire(t.Context(), f.Store, "zones/example.org/lock", "somebody")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := w.Commit(t.Context(), Commit{}, to(of("a=3")))
		done <- err
	}()
	for range 3 { // the first change's write, then the attempts to pass and to acquire
		<-writes
	}
	wantItems(t, mustLoad(t, f), 2, of("a=2")) // nothing went in under somebody else's lock
	if err := lock.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantItems(t, mustLoad(t, f), 3, of("a=3"))
}

func setsHead(ops []store.Op) bool {
	return slices.ContainsFunc(ops, func(op store.Op) bool { return op.Path == "zones/example.org/head" })
}

func TestLostReplyNeverCommitsTwice(t *testing.T) {
	for name, c := range map[string]struct {
		how  fault
		want uint32
	}{"the commit happened": {lostReply, 2}, "the commit did not happen": {lostQuery, 2}} {
		t.Run(name, func(t *testing.T) {
			f := &faulty{Store: newStore(t)}
			w := NewWriter[*pairs](f, testRef)
			put(t, w, of("n=0"))
			lost := false
			f.set(func(f *faulty) {
				f.onWrite = func(_ int, ops []store.Op) fault {
					if setsHead(ops) && !lost {
						lost = true
						return c.how
					}
					return fine
				}
			})
			r, err := w.Commit(t.Context(), Commit{}, func(cur *Version[*pairs]) (*pairs, error) {
				return cur.Value.with("n=" + cur.Value.items["n"] + "1"), nil
			})
			if err != nil || !lost || r.New != c.want || !r.Changed {
				t.Fatalf("receipt %+v, %v (reply lost: %v)", r, err, lost)
			}
			wantItems(t, mustLoad(t, f), 2, of("n=01"))
		})
	}
}

func TestUnknownOutcomeIsSaidWhenTheStoreStaysAway(t *testing.T) {
	f := &faulty{Store: newStore(t)}
	w := NewWriter[*pairs](f, testRef)
	put(t, w, of("n=0"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f.set(func(f *faulty) {
		f.onWrite = func(_ int, ops []store.Op) fault {
			if !setsHead(ops) {
				return fine
			}
			f.onRead = func(string, store.Node, error) (store.Node, error) {
				cancel()
				return store.Node{}, store.ErrUnavailable
			}
			return lostQuery
		}
	})
	_, err := w.Commit(ctx, Commit{}, to(of("n=1")))
	wantErr(t, err, store.ErrUnknownOutcome)
}

func TestChangeTooBigForADeltaGoesIntoAnImage(t *testing.T) {
	s := newStore(t)
	w := NewWriter(s, testRef)
	put(t, w, of("a=1"))
	big := of("a=1")
	for i := range 30_000 {
		big.items[fmt.Sprintf("key%06d", i)] = "v"
	}
	ref := testRef
	ref.Codec = pairsCodec{chunkItems: 5000}
	var calls, total int
	r, err := NewWriter(s, ref).Commit(t.Context(), Commit{Progress: func(d, n int) { calls, total = d, n }}, to(big))
	if err != nil || !r.BaseWritten || r.Head.Gen != 2 || len(r.Head.Log) != 0 {
		t.Fatalf("receipt %+v, %v", r, err)
	}
	if calls != total || total == 0 {
		t.Errorf("progress ended at %d of %d", calls, total)
	}
	wantItems(t, mustLoad(t, s), 2, big)
	if old, err := LoadSerial(t.Context(), s, testRef, 1); err != nil || old.Value.String() != "a=1" {
		t.Fatalf("serial 1 from history: %v, %v", old, err)
	}
}

func TestDeltaThatDoesNotGiveTheValueIsNeverPublished(t *testing.T) {
	s := newStore(t)
	ref := testRef
	ref.Codec = pairsCodec{badDelta: true}
	w := NewWriter(s, ref)
	put(t, w, of("a=1"))
	if r := put(t, w, of("a=2")); !r.BaseWritten || len(r.Head.Inline) != 0 {
		t.Fatalf("receipt %+v, want an image", r)
	}
	wantItems(t, mustLoad(t, s), 2, of("a=2"))
}

func TestForceReplacesAVersionThatCannotBeLoaded(t *testing.T) {
	for name, damage := range map[string]string{
		"manifest": "zones/example.org/base/1/m", "chunk": "zones/example.org/base/1/0000", "head": "zones/example.org/head",
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			put(t, NewWriter(s, testRef), of("a=1"))
			overwrite(t, s, damage, []byte("junk"))
			_, err := NewWriter(s, testRef).Commit(t.Context(), Commit{}, to(of("a=2")))
			if r, ok := asRefusal(err, 0); !ok {
				t.Fatalf("error %v (%v), want a Refusal", err, r)
			}
			r, err := NewWriter(s, testRef).Commit(t.Context(), Commit{Force: true, MinSerial: 7}, to(of("a=2")))
			if err != nil || r.New != 7 || !r.BaseWritten {
				t.Fatalf("receipt %+v, %v", r, err)
			}
			wantItems(t, mustLoad(t, s), 7, of("a=2"))
		})
	}
}
