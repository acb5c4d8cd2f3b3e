package chaos

import (
	"errors"
	"maps"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store/zktest"

	gozk "github.com/go-zookeeper/zk"
)

// TestReadersCanChangeNothing walks the tree of a publisher with credentials and tries
// to write, to create and to delete everywhere, without any and with wrong
// ones, while a server without any reads it.
func TestReadersCanChangeNothing(t *testing.T) {
	long(t)
	r := setup{publishing: publishing{auth: "publisher:hunter2"}}.rig(t)
	r.pub.halt()
	r.pub.ballast.Store(ballast) // an image and its history, too
	r.pub.must(t, filler)
	if err := dataset.Stamp(t.Context(), r.pub.st, time.Now(), "chaos"); err != nil {
		t.Fatal(err)
	}
	r.converge("before anybody tries")
	before := r.pub.dump(t, "")
	for name, auth := range map[string]string{"nobody": "", "a guesser": "publisher:hunter3"} {
		conn := r.connect(auth)
		for _, node := range slices.Sorted(maps.Keys(before)) {
			at := path.Join("/popdns", node)
			_, set := conn.Set(at, []byte("forged"), -1)
			_, create := conn.Create(at+"/forged", nil, 0, gozk.WorldACL(gozk.PermAll))
			_, acl := conn.SetACL(at, gozk.WorldACL(gozk.PermAll), -1)
			for what, err := range map[string]error{"set": set, "create below": create, "set the rights of": acl} {
				if !errors.Is(err, gozk.ErrNoAuth) {
					t.Errorf("%s: %s %s: %v, want %v", name, what, at, err, gozk.ErrNoAuth)
				}
			}
			// Whether a node may be deleted is for its parent to say, and the ensemble's own root lets everybody: but not what has children.
			if err := conn.Delete(at, -1); !errors.Is(err, gozk.ErrNoAuth) && (node != "" || !errors.Is(err, gozk.ErrNotEmpty)) {
				t.Errorf("%s: delete %s: %v", name, at, err)
			}
		}
	}
	if after := r.pub.dump(t, ""); !maps.EqualFunc(after, before, slices.Equal) {
		t.Error("the tree is another than before")
	}
	t.Logf("%d nodes withstood", len(before))
	r.before = r.measure()
	r.pub.start(t)
	r.finish()
}

// connect opens a plain session with the ensemble.
func (r *rig) connect(auth string) *gozk.Conn {
	r.t.Helper()
	conn, _, err := gozk.Connect(servers(r.zk), 4*time.Second, gozk.WithLogInfo(false))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(conn.Close)
	if auth != "" {
		if err := conn.AddAuth("digest", []byte(auth)); err != nil {
			r.t.Fatal(err)
		}
	}
	return conn
}

// TestUnreadableHeadFreezesTheZoneUntilItMayBeRead takes the right to read from
// everybody, and gives it back: ZooKeeper tells no watch of either.
func TestUnreadableHeadFreezesTheZoneUntilItMayBeRead(t *testing.T) {
	r := newRig(t)
	r.pub.halt()
	r.converge("before the denial")
	newest := r.load.newest.Load()
	conn := r.connect("")
	head := "/popdns/" + zonePath + "/head"
	if _, err := conn.SetACL(head, gozk.WorldACL(gozk.PermWrite|gozk.PermAdmin), -1); err != nil {
		t.Fatal(err)
	}
	r.each((*zktest.Proxy).Cut) // it is the next reading that is denied
	r.heal()
	r.refusal("head")
	r.frozen(newest)
	r.state("frozen")
	if _, err := conn.SetACL(head, gozk.WorldACL(gozk.PermAll), -1); err != nil {
		t.Fatal(err)
	}
	r.pub.start(t)
	r.finish()
	r.state("live")
}
