package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store"
)

// identityOf returns a running Identity of s.
func identityOf(t *testing.T, s store.Store, k Keys) *Identity {
	t.Helper()
	i := NewIdentity(s, k)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = i.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return i
}

// another makes s another store, as a wipe and an init do, but for the data, and returns its id.
func another(t *testing.T, s store.Store) string {
	t.Helper()
	c := Cluster{ID: newUUID(), Epoch: 1, Created: now()}
	setCluster(t, s, Keys{}, c)
	return c.ID
}

func setCluster(t *testing.T, s store.Store, k Keys, c Cluster) {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, s, clusterPath, k.seal(clusterPurpose, b))
}

func clusterOf(t *testing.T, s store.Store) Cluster {
	t.Helper()
	c, err := ReadCluster(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func adopt(t *testing.T, s store.Store, k Keys, ids ...string) {
	t.Helper()
	_, _, _, err := AmendCluster(t.Context(), s, k, func(c *Cluster) error {
		for _, id := range ids {
			if err := c.Adopt(id, "test"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// forget deletes the dataset.
func forget(t *testing.T, s store.Store) {
	t.Helper()
	var remove func(path string)
	remove = func(path string) {
		names, err := s.Children(t.Context(), path)
		if errors.Is(err, store.ErrNoNode) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			remove(store.Join(path, name))
		}
		if err := s.Commit(t.Context(), store.Delete(path, store.AnyVersion)); err != nil {
			t.Fatal(err)
		}
	}
	remove(testRef.Path)
}

func TestAWipedStoreFreezesUntilItAdoptsTheOldOne(t *testing.T) {
	eachStore(t, func(t *testing.T, open func() store.Store) {
		t.Helper()
		s := open()
		old := clusterOf(t, s).ID
		edge := open()
		r := follow(t, edge, FollowOptions[*pairs]{Identity: identityOf(t, edge, Keys{})})
		for i := range 3 {
			put(t, NewWriter(s, testRef), of(fmt.Sprint("a=", i)))
			r.await(t, uint32(i)+1)
		}
		forget(t, s)
		r.awaitRefusal(t, ReasonHead)
		id := another(t, s)
		if _, err := NewWriter(s, testRef).Commit(t.Context(), Commit{MinSerial: 7}, to(of("new=1"))); err != nil {
			t.Fatal(err)
		}
		no := r.awaitRefusal(t, ReasonCluster)
		for _, want := range []string{id, old, "popctl adopt " + old} {
			if !strings.Contains(no.Error(), want) {
				t.Errorf("the refusal %q lacks %q", no, want)
			}
		}
		if !r.Refusing() || r.Current().Head.Serial != 3 {
			t.Errorf("refusing %v, serial %d", r.Refusing(), r.Current().Head.Serial)
		}
		adopt(t, s, Keys{}, newUUID())
		if no := r.awaitRefusalOrNothing(); no != nil {
			t.Errorf("an adoption of another store is told as another refusal: %v", no)
		}
		adopt(t, s, Keys{}, old)
		wantItems(t, r.await(t, 7), 7, of("new=1"))
		if r.Refusing() {
			t.Error("still refusing")
		}
		// From here on the new store's changes come as deltas, and the adoption is needed no more.
		adopted := clusterOf(t, s)
		adopted.Adopts = nil
		setCluster(t, s, Keys{}, adopted)
		put(t, NewWriter(s, testRef), of("new=2"))
		r.await(t, 8)
		// The old store's node, or an old one of this store, brings nothing back.
		setCluster(t, s, Keys{}, Cluster{ID: old, Epoch: 1})
		put(t, NewWriter(s, testRef), of("old=1"))
		r.awaitRefusal(t, ReasonCluster)
		if v := r.Current(); v.Head.Serial != 8 || v.Head.Cluster != id {
			t.Errorf("serial %d of %s is served", v.Head.Serial, v.Head.Cluster)
		}
	})
}

// awaitRefusalOrNothing returns a refusal that comes soon, nil for none.
func (r *running) awaitRefusalOrNothing() *Refusal {
	select {
	case no := <-r.refusals:
		return &no
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}

func TestAnEdgeThatStartsFromItsDiskCacheThawsByAnAdoption(t *testing.T) {
	a, b, cache := newStore(t), newStore(t), memoryDir(t)
	put(t, NewWriter(a, testRef), of("a=1"))
	first := follow(t, a, FollowOptions[*pairs]{Cache: openDir(t, cache)})
	first.await(t, 1)
	_ = first.stop()
	if _, err := NewWriter(b, testRef).Commit(t.Context(), Commit{MinSerial: 5}, to(of("b=1"))); err != nil {
		t.Fatal(err)
	}
	start := func() *running {
		r := prepare(t, b, FollowOptions[*pairs]{Cache: openDir(t, cache), Identity: identityOf(t, b, Keys{})})
		if err := r.LoadCache(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.start(t)
		return r
	}
	r := start()
	r.awaitRefusal(t, ReasonCluster)
	wantItems(t, r.Current(), 1, of("a=1"))
	_ = r.stop()

	adopt(t, b, Keys{}, clusterOf(t, a).ID)
	r = start()
	r.await(t, 5)
	_ = r.stop()
	// The cache has the new store's version: no adoption is needed for the next start.
	v, err := Load(t.Context(), openDir(t, cache), testRef)
	if err != nil || v.Head.Cluster != clusterOf(t, b).ID {
		t.Fatalf("the cache holds %+v, %v", v, err)
	}
	wantItems(t, v, 5, of("b=1"))
}

func TestTheSerialNeverGoesBackByAnAdoption(t *testing.T) {
	s := newStore(t)
	old := clusterOf(t, s).ID
	r := follow(t, s, FollowOptions[*pairs]{Identity: identityOf(t, s, Keys{})})
	if _, err := NewWriter(s, testRef).Commit(t.Context(), Commit{MinSerial: 9}, to(of("a=1"))); err != nil {
		t.Fatal(err)
	}
	r.await(t, 9)
	another(t, s)
	adopt(t, s, Keys{}, old)
	publish := func(serial uint32, p *pairs) {
		t.Helper()
		forget(t, s)
		r.awaitRefusal(t, ReasonHead)
		if _, err := NewWriter(s, testRef).Commit(t.Context(), Commit{MinSerial: serial}, to(p)); err != nil {
			t.Fatal(err)
		}
	}
	publish(8, of("a=2"))
	r.awaitRefusal(t, ReasonSerial)
	publish(9, of("a=2"))
	r.awaitRefusal(t, ReasonSerial)
	publish(9, of("a=1")) // the same content under the same serial is no other version
	if v := r.await(t, 9); v.Head.Cluster != clusterOf(t, s).ID {
		t.Errorf("served is of cluster %s", v.Head.Cluster)
	}
	put(t, NewWriter(s, testRef), of("a=3"))
	r.await(t, 10)
}

// watched counts the watches of each path.
type watched struct {
	store.Store
	mu    sync.Mutex
	paths map[string]int
}

func (w *watched) Watch(ctx context.Context, path string, fn func(store.Node, error)) error {
	w.mu.Lock()
	w.paths[path]++
	w.mu.Unlock()
	return w.Store.Watch(ctx, path, fn)
}

func (w *watched) of(path string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.paths[path]
}

func TestTheIdentityIsWatchedOnceForAllAndOnlyWhenItIsNeeded(t *testing.T) {
	s := newStore(t)
	old := clusterOf(t, s).ID
	w := &watched{Store: s, paths: map[string]int{}}
	identity := identityOf(t, w, Keys{})
	put(t, NewWriter(s, testRef), of("a=0"))
	var all [20]*running
	for i := range all {
		all[i] = follow(t, w, FollowOptions[*pairs]{Identity: identity})
		all[i].await(t, 1)
	}
	if n := w.of(clusterPath); n != 0 {
		t.Fatalf("%d watches of the identity before anything is wrong", n)
	}
	another(t, s)
	put(t, NewWriter(s, testRef), of("a=1"))
	for _, r := range all {
		r.awaitRefusal(t, ReasonCluster)
	}
	if n := w.of(clusterPath); n != 1 {
		t.Errorf("%d watches of the identity, want one", n)
	}
	adopt(t, s, Keys{}, old)
	for _, r := range all {
		r.await(t, 2)
	}
}

// TestWithKeysAnAdoptionCountsOnlyIfItIsSigned has an edge that verifies, and two stores whose heads are signed by its key. Who may write to the second one,
// but has no key, tries to move the edge there.
func TestWithKeysAnAdoptionCountsOnlyIfItIsSigned(t *testing.T) {
	k, mallory := newKeys(t), newKeys(t)
	adopting := func(c Cluster, ids ...string) Cluster {
		for _, id := range ids {
			if err := c.Adopt(id, "mallory"); err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
	for name, c := range map[string]struct {
		reason string // "": it counts
		claim  func(t *testing.T, s store.Store, own Cluster, old string)
	}{
		"nothing": {ReasonCluster, func(*testing.T, store.Store, Cluster, string) {}},
		"unsigned": {ReasonSigned, func(t *testing.T, s store.Store, own Cluster, old string) {
			t.Helper()
			setCluster(t, s, Keys{}, adopting(own, old))
		}},
		"another key": {ReasonSigned, func(t *testing.T, s store.Store, own Cluster, old string) {
			t.Helper()
			setCluster(t, s, mallory, adopting(own, old))
		}},
		"a head's signature": {ReasonSigned, func(t *testing.T, s store.Store, own Cluster, old string) {
			t.Helper()
			b, _ := json.Marshal(adopting(own, old))
			overwrite(t, s, clusterPath, k.seal(headPurpose, b))
		}},
		"the signature of another adoption": {ReasonSigned, func(t *testing.T, s store.Store, own Cluster, old string) {
			t.Helper()
			setCluster(t, s, k, adopting(own, newUUID()))
			line := read(t, s, clusterPath)[:signatureBytes]
			b, _ := json.Marshal(adopting(own, old))
			overwrite(t, s, clusterPath, append(line, b...))
		}},
		"the signed node of a third store that adopted it": {ReasonCluster, func(t *testing.T, s store.Store, _ Cluster, old string) {
			t.Helper()
			setCluster(t, s, k, adopting(Cluster{ID: newUUID(), Epoch: 1}, old))
		}},
		"the old store's own node": {ReasonCluster, func(t *testing.T, s store.Store, own Cluster, old string) {
			t.Helper()
			setCluster(t, s, k, adopting(Cluster{ID: old, Epoch: 1}, own.ID))
		}},
		"garbage": {ReasonCluster, func(t *testing.T, s store.Store, _ Cluster, _ string) {
			t.Helper()
			overwrite(t, s, clusterPath, []byte("garbage"))
		}},
		"signed": {"", func(t *testing.T, s store.Store, _ Cluster, old string) { t.Helper(); adopt(t, s, k, old) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			old := clusterOf(t, s).ID
			edge := Keys{Verify: k.Verify}
			r := prepare(t, s, FollowOptions[*pairs]{Identity: identityOf(t, s, edge)})
			r.ref = verifying(k)
			r.start(t)
			put(t, NewWriter(s, signedRef(k)), of("a=1"))
			r.await(t, 1)
			another(t, s)
			put(t, NewWriter(s, signedRef(k)), of("a=2"))
			r.awaitRefusal(t, ReasonCluster)
			c.claim(t, s, clusterOf(t, s), old)
			if c.reason == "" {
				r.await(t, 2)
				return
			}
			if c.reason != ReasonCluster { // otherwise it is the refusal that was told
				r.awaitRefusal(t, c.reason)
			}
			wait(t, "the claim is read", func() bool { return string(r.opts.Identity.claim().raw) == string(read(t, s, clusterPath)) })
			_ = r.stop()
			if v := r.Current(); v.Head.Serial != 1 || !r.Refusing() {
				t.Errorf("serial %d is served, refusing %v", v.Head.Serial, r.Refusing())
			}
		})
	}
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestAmendingTheIdentityIsIdempotentAndBounded(t *testing.T) {
	s, k := newStore(t), newKeys(t)
	id := newUUID()
	add := func(keys Keys, id string) (bool, []Adoption, error) {
		_, changed, dropped, err := AmendCluster(t.Context(), s, keys, func(c *Cluster) error { return c.Adopt(id, "test") })
		return changed, dropped, err
	}
	for i, want := range []bool{true, false} {
		if changed, _, err := add(Keys{}, id); err != nil || changed != want {
			t.Errorf("try %d: changed %v, %v", i, changed, err)
		}
	}
	// What anybody could have written is not signed with the next change.
	other := newUUID()
	changed, dropped, err := add(k, other)
	if err != nil || !changed || len(dropped) != 1 || dropped[0].ID != id {
		t.Errorf("changed %v, dropped %v, %v", changed, dropped, err)
	}
	if c := clusterOf(t, s); c.Succeeds(id) || !c.Succeeds(other) {
		t.Errorf("signed: %+v", c)
	}
	if _, _, err := add(Keys{}, id); !errors.Is(err, ErrUnsignedIdentity) {
		t.Errorf("a change that takes the signature away: %v", err)
	}
	if _, _, err := add(k, strings.Repeat("x", maxIDBytes+1)); err == nil {
		t.Error("an id that is too long is taken")
	}
	for len(clusterOf(t, s).Adopts) < MaxAdoptions {
		if _, _, err := add(k, newUUID()); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := add(k, newUUID()); err == nil || !strings.Contains(err.Error(), "--undo") {
		t.Errorf("one more than fit: %v", err)
	}
	if changed, _, err := add(k, other); err != nil || changed {
		t.Errorf("one of those that are there: %v, %v", changed, err)
	}
}

func TestALostReplyToAnAdoptionIsFoundOut(t *testing.T) {
	for _, how := range []fault{lostReply, lostQuery} {
		f := &faulty{Store: newStore(t)}
		f.onWrite = func(n int, _ []store.Op) fault {
			if n == 1 {
				return how
			}
			return fine
		}
		id := newUUID()
		c, changed, _, err := AmendCluster(t.Context(), f, Keys{}, func(c *Cluster) error { return c.Adopt(id, "test") })
		if err != nil || !changed || !c.Succeeds(id) {
			t.Errorf("%v: %+v, %v, %v", how, c, changed, err)
		}
		if got := clusterOf(t, f.Store); len(got.Adopts) != 1 {
			t.Errorf("%v: the store has %+v", how, got)
		}
	}
}

func TestRenewingCommitsTheSameContentUnderANewerSerial(t *testing.T) {
	for _, bare := range []bool{false, true} {
		s := newStore(t)
		ref := Ref[*pairs]{Path: testRef.Path, Codec: pairsCodec{bare: bare}}
		w := NewWriter(s, ref)
		put(t, w, of("a=1"))
		for _, c := range []struct {
			least uint32
			want  uint32
		}{{9, 9}, {9, 9}, {5, 9}, {0, 9}, {10, 10}} {
			r, err := w.Commit(t.Context(), Commit{MinSerial: c.least, Renew: true}, to(of("a=1")))
			if err != nil || r.New != c.want {
				t.Fatalf("bare %v, at least %d: %+v, %v, want serial %d", bare, c.least, r, err, c.want)
			}
		}
		v, err := Load(t.Context(), s, ref)
		if err != nil {
			t.Fatal(err)
		}
		wantItems(t, v, 10, of("a=1"))
	}
}

// FuzzClaim gives an Identity with keys any octets for a cluster node: nothing but what was signed may say that it succeeds another store.
func FuzzClaim(f *testing.F) {
	k := newKeys(f)
	c := Cluster{ID: "new", Epoch: 1}
	if err := c.Adopt("old", "fuzz"); err != nil {
		f.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		f.Fatal(err)
	}
	signed := k.seal(clusterPurpose, b)
	f.Add(signed)
	f.Add(b)
	f.Add(k.seal(headPurpose, b))
	f.Add([]byte(`{"id":"new","epoch":1,"adopts":[{"id":"old"},{"id":"old"}]}`))
	f.Fuzz(func(t *testing.T, node []byte) {
		for _, keys := range []Keys{{}, {Verify: k.Verify}} {
			i := NewIdentity(nil, keys)
			i.take(node, nil)
			_, err := i.succeeds(t.Context(), "new", "old")
			if err == nil && keys.Verify != "" && string(node) != string(signed) {
				t.Fatalf("%q counts as an adoption", node)
			}
			if _, refused := asRefusal(err, 1); err != nil && !refused {
				t.Fatalf("%q: %v is no Refusal", node, err)
			}
			if c := i.claim().cluster; len(c.Adopts) > MaxAdoptions || len(c.ID) > maxIDBytes {
				t.Fatalf("%d adoptions, id of %d bytes", len(c.Adopts), len(c.ID))
			}
		}
	})
}
