package chaos

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/zktest"
)

// TestDeletedNodesTakeNothingAway deletes more and more of the store, while the
// zone is served, and puts it back: the same contents in new nodes.
func TestDeletedNodesTakeNothingAway(t *testing.T) {
	long(t)
	r := newRig(t)
	for _, deleted := range []struct {
		path    string
		noticed bool // by the reader, which needs no more than the head
	}{
		{zonePath + "/log", false},
		{zonePath + "/base", false},
		{zonePath + "/head", true},
		{zonePath, true},
		{"zones", true},
		{"cluster", false},
		{"", true},
	} {
		r.pub.halt()
		r.converge("before the deletion of /" + deleted.path)
		newest := r.load.newest.Load()
		tree := r.pub.dump(t, deleted.path)
		if err := store.DeleteAll(t.Context(), r.pub.st, deleted.path); err != nil {
			t.Fatal(err)
		}
		if deleted.noticed {
			r.state("frozen")
		}
		r.frozen(newest)
		r.pub.restore(t, tree)
		r.pub.start(t)
		r.served(newest+3, "after the restoration of /"+deleted.path)
	}
	r.finish()
}

// TestZonePublishedAnewUnderTheSameName deletes all of a zone and publishes it
// as if it never was: first from serial 1, then above what is served.
func TestZonePublishedAnewUnderTheSameName(t *testing.T) {
	long(t)
	r := newRig(t)
	r.pub.halt()
	for range 20 {
		r.pub.must(t, filler)
	}
	r.converge("before the deletion")
	newest := r.load.newest.Load()
	if err := store.DeleteAll(t.Context(), r.pub.st, zonePath); err != nil {
		t.Fatal(err)
	}
	r.refusal("head")
	r.pub = newPublisher(t, servers(r.zk), publishing{})
	r.refusal("serial")
	r.frozen(newest)
	r.pub.last.Store(newest)
	r.pub.start(t)
	r.finish()
}

// dump returns the data of path and all below it, but for what belongs to sessions.
func (p *publisher) dump(t *testing.T, path string) map[string][]byte {
	t.Helper()
	node, err := p.st.Get(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	tree := map[string][]byte{}
	if node.Ephemeral {
		return tree
	}
	tree[path] = node.Data
	names, err := p.st.Children(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		maps.Copy(tree, p.dump(t, store.Join(path, name)))
	}
	return tree
}

// restore creates what dump returned, the heads last.
func (p *publisher) restore(t *testing.T, tree map[string][]byte) {
	t.Helper()
	paths := slices.SortedFunc(maps.Keys(tree), func(a, b string) int {
		if late := strings.HasSuffix(a, "/head"); late != strings.HasSuffix(b, "/head") {
			return map[bool]int{true: 1, false: -1}[late]
		}
		return strings.Compare(a, b) // parents first
	})
	for _, path := range paths {
		err := p.st.Commit(t.Context(), store.Create(path, tree[path]))
		if errors.Is(err, store.ErrExists) { // the root stays
			err = p.st.Commit(t.Context(), store.Set(path, tree[path], store.AnyVersion))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// ballast makes images of some 1.5 MB, in several chunks.
const ballast = 10_000

// loadSlowly lets the reader begin to load a large image over links that need some
// seconds for it, and returns the image's serial.
func (r *rig) loadSlowly() uint32 {
	r.t.Helper()
	r.each(func(p *zktest.Proxy) { p.Slow(0, 300_000) })
	r.pub.halt()
	r.pub.ballast.Add(ballast)
	r.pub.must(r.t, filler)
	serial := r.pub.last.Load()
	time.Sleep(time.Second) // into the load; whoever breaks it checks that it is not over
	return serial
}

// TestSessionExpiresWhileAnImageIsLoaded takes the session away in the middle.
func TestSessionExpiresWhileAnImageIsLoaded(t *testing.T) {
	long(t)
	r := newRig(t)
	serial := r.loadSlowly()
	expired := false
	r.each(func(p *zktest.Proxy) { expired = expired || p.ExpireSession() == nil })
	if got := r.load.newest.Load(); !expired || got == serial {
		t.Errorf("serial %d was served before the session expired (%t)", got, expired)
	}
	r.converge("over a slow link, in another session")
	r.heal()
	r.before = r.measure() // the zone is a larger one now
	r.pub.start(t)
	r.finish()
}

// TestImageCollectedWhileItIsLoaded deletes an image that a reader is in the
// middle of, as the commit of the next one does.
func TestImageCollectedWhileItIsLoaded(t *testing.T) {
	long(t)
	r := newRig(t)
	serial := r.loadSlowly()
	raw, err := r.pub.head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head, err := dataset.ParseHead(raw)
	if err != nil {
		t.Fatal(err)
	}
	r.pub.ballast.Add(ballast)
	r.pub.must(t, filler)
	if err := store.DeleteAll(t.Context(), r.pub.st, fmt.Sprintf("%s/base/%d", zonePath, head.Gen)); err != nil {
		t.Fatal(err)
	}
	if got := r.load.newest.Load(); got == serial {
		t.Errorf("serial %d was served before its image was collected", got)
	}
	r.converge("over a slow link, by the next image")
	r.heal()
	r.before = r.measure() // the zone is a larger one now
	r.pub.start(t)
	r.finish()
}

// TestBaseDeletedWhileItIsLoaded starts a server without a cache whose manifest
// is there and whose chunks are gone, as a reader finds it that is overtaken by
// a collection; the next image makes it serve.
func TestBaseDeletedWhileItIsLoaded(t *testing.T) {
	long(t)
	r := newRig(t)
	r.pub.halt()
	r.stop(syscall.SIGTERM)
	if err := os.RemoveAll(r.cache); err != nil {
		t.Fatal(err)
	}
	raw, err := r.pub.head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head, err := dataset.ParseHead(raw)
	if err != nil {
		t.Fatal(err)
	}
	for i := range head.Base.Chunks {
		chunk := fmt.Sprintf("%s/base/%d/%04d", zonePath, head.Gen, i)
		if err := r.pub.st.Commit(t.Context(), store.Delete(chunk, store.AnyVersion)); err != nil {
			t.Fatal(err)
		}
	}
	r.serve()
	r.ask()
	r.load.allowed.Store(true)
	r.refusal("base")
	if n := r.load.newest.Load(); n != 0 {
		t.Errorf("serial %d is served of a base that is not there", n)
	}
	// The operator's remedy: popctl zone publish --force, in a process that does not know the lost version.
	r.pub.writer, r.pub.force = dataset.NewWriter(store.Store(r.pub.st), zoneRef), true
	r.pub.must(t, filler)
	r.pub.force = false
	r.converge("once there is another image")
	r.load.allowed.Store(false)
	r.before = r.measure()
	r.pub.start(t)
	r.finish()
}
