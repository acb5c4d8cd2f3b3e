package chaos

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store/dir"
)

// TestStartWithoutZooKeeperServesTheCache restarts the server while the whole
// ensemble is down.
func TestStartWithoutZooKeeperServesTheCache(t *testing.T) {
	r := newRig(t)
	r.pub.halt()
	r.converge("before the outage")
	newest := r.load.newest.Load()
	r.cached(newest)
	r.zk.Kill()
	r.restart(syscall.SIGTERM)
	r.served(newest, "from the disk cache")
	r.frozen(newest)
	r.zk.Restart()
	r.pub.start(t)
	r.before = r.measure()
	r.finish()
}

func TestStartWithoutZooKeeperAndWithoutCache(t *testing.T) {
	long(t)
	r := newStore(t)
	r.zk.Kill()
	r.serve()
	r.ask()
	r.load.allowed.Store(true)
	eventually(t, "SERVFAIL is answered", func() error {
		if r.load.refused.Load() < 100 {
			return errors.New("not yet")
		}
		return nil
	})
	r.before = r.measure()
	r.zk.Restart()
	r.converge("after ZooKeeper's start")
	r.load.allowed.Store(false)
	r.pub.start(t)
	r.finish()
}

// TestKilledServerLeavesAWholeCache kills the server at random moments while
// versions are written to its disk, and starts it without ZooKeeper: each time
// it serves a whole version, and none that is older than the time before.
func TestKilledServerLeavesAWholeCache(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	r := newRig(t)
	r.pub.every.Store(int64(time.Millisecond))
	oldest := uint32(0)
	for i := range rounds {
		time.Sleep(rand.N(150 * time.Millisecond)) // the moment is the fault
		r.stop(syscall.SIGKILL)
		r.cut()
		r.serve()
		r.ask()
		r.served(1, "from the disk cache")
		got := r.load.newest.Load()
		if got < oldest {
			t.Errorf("kill %d: serial %d comes from the cache, %d did before", i, got, oldest)
		}
		oldest = got
		r.heal()
		r.converge("after the kill")
	}
	r.before = r.measure()
	r.finish()
}

// TestCorruptCacheFilesAreNeitherServedNorKept flips an octet in every file of
// the cache. A server that starts with it and without ZooKeeper has nothing to
// serve, and serves nothing wrong; with ZooKeeper it makes the cache whole.
func TestCorruptCacheFilesAreNeitherServedNorKept(t *testing.T) {
	r := newRig(t)
	r.pub.halt()
	r.converge("before the corruption")
	r.cached(r.load.newest.Load())
	r.stop(syscall.SIGTERM)
	corrupt(t, r.cache)
	r.cut()
	r.serve()
	r.ask()
	r.load.allowed.Store(true)
	eventually(t, "queries are answered without the cache", func() error {
		if r.load.refused.Load() == 0 {
			return errors.New("no SERVFAIL yet")
		}
		return nil
	})
	if lines := r.server.log.lines("Disk cache"); len(lines) == 0 {
		t.Error("the log does not mention the damaged cache")
	}
	r.before = r.measure()
	r.heal()
	r.pub.must(t, filler)
	r.converge("from ZooKeeper")
	r.load.allowed.Store(false)
	newest := r.load.newest.Load()
	r.cached(newest)
	r.cut()
	r.restart(syscall.SIGTERM)
	r.served(newest, "from the cache that was made whole")
	r.heal()
	r.pub.start(t)
	r.finish()
}

// corrupt flips an octet in the middle of every file below root.
func corrupt(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 {
			return err
		}
		b[len(b)/2] ^= 0xff
		return os.WriteFile(path, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFullDiskForTheCache fills the small file system that the cache lies on:
// versions are served all the same, and reach the disk when it has room.
func TestFullDiskForTheCache(t *testing.T) {
	long(t)
	r := newStore(t)
	if err := syscall.Mount("popdns-chaos", r.cache, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("needs a small file system, and none can be mounted: %v", err)
	}
	t.Cleanup(func() {
		r.server.signal(syscall.SIGKILL)
		if err := syscall.Unmount(r.cache, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	ballast := filepath.Join(r.cache, ".ballast")
	r.serve()
	if err := fill(ballast); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	r.ask()
	r.pub.start(t)
	r.served(30, "with a full disk")
	r.before = r.measure()
	lines := r.server.log.lines("Disk cache")
	if len(lines) == 0 || len(lines) > 15 {
		t.Errorf("%d lines about the full disk, want a few: %q", len(lines), lines)
	}
	r.pub.halt()
	r.converge("before there is room")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	r.cached(r.load.newest.Load())
	r.pub.start(t)
	r.finish()
}

// fill writes to file until the disk is full.
func fill(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return err
		}
	}
}

// cached waits until the disk cache has the serial.
func (r *rig) cached(serial uint32) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("serial %d is in the disk cache", serial), func() error {
		st, err := dir.Open(r.cache)
		if err != nil {
			return err
		}
		defer func() { _ = st.Close() }()
		v, err := dataset.Load(r.t.Context(), st, zoneRef)
		if err == nil && v.Head.Serial < serial {
			err = fmt.Errorf("it has %d", v.Head.Serial)
		}
		return err
	})
}

// stop ends client and server.
func (r *rig) stop(sig syscall.Signal) {
	r.t.Helper()
	r.load.halt(r.t)
	r.server.signal(sig)
}

// restart ends the server and starts it and the client again. What the client
// sees then may be as old as the disk cache.
func (r *rig) restart(sig syscall.Signal) {
	r.t.Helper()
	r.stop(sig)
	r.serve()
	r.ask()
}
