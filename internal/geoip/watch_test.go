package geoip

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// watched runs Watch over files and returns a channel that gets one value for each call.
func watched(t *testing.T, since State, files ...string) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	calls := make(chan struct{}, 100)
	var wg sync.WaitGroup
	wg.Go(func() { Watch(ctx, files, since, func() { calls <- struct{}{} }) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return calls
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func called(t *testing.T, calls <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-calls:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: not told", what)
	}
}

func TestWatchTellsOfEveryWayInWhichAFileIsReplaced(t *testing.T) {
	dir := t.TempDir()
	file, other := filepath.Join(dir, "a.mmdb"), filepath.Join(dir, "b.mmdb")
	write(t, file, "1")
	calls := watched(t, Look([]string{file, other}), file, other)
	write(t, filepath.Join(dir, "unrelated"), "x")

	write(t, file+".new", "2")
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	called(t, calls, "renamed over")
	write(t, file, "333")
	called(t, calls, "written in place")
	write(t, other, "1")
	called(t, calls, "a file that comes")
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	called(t, calls, "a file that goes")
	// As Kubernetes mounts a secret or a config map: links to a folder whose name is a link that is replaced.
	for _, v := range []string{"v1", "v2"} {
		if err := os.Mkdir(filepath.Join(dir, v), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, v, "c.mmdb"), v)
	}
	link := filepath.Join(dir, "..data")
	if err := os.Symlink("v1", link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..data/c.mmdb", filepath.Join(dir, "c.mmdb")); err != nil {
		t.Fatal(err)
	}
	mounted := filepath.Join(dir, "c.mmdb")
	calls = watched(t, Look([]string{mounted}), mounted)
	if err := os.Symlink("v2", link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
	called(t, calls, "a link on the way that is replaced")
}

func TestWatchMissesNothingThatHappenedBefore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.mmdb")
	write(t, file, "1")
	since := Look([]string{file})
	write(t, file, "22")
	called(t, watched(t, since, file), "changed between Look and Watch")
}
