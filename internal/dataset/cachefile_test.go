package dataset

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/store/dir"
)

// TestCacheHealsWhicheverOfItsFilesIsCorrupt flips an octet in each file of a disk cache, one at a time: what the damaged cache gives is nothing or
// right, and the next version that is followed makes it whole again.
func TestCacheHealsWhicheverOfItsFilesIsCorrupt(t *testing.T) {
	live, path := newStore(t), t.TempDir()
	w := NewWriter(live, testRef)
	put(t, w, of("a=0"))
	r := follow(t, live, FollowOptions[*pairs]{Cache: openDir(t, path)})
	r.await(t, 1)
	_ = r.stop()
	r = follow(t, live, FollowOptions[*pairs]{Cache: openDir(t, path)}) // a log entry beside the image
	r.await(t, 1)
	put(t, w, of("a=1"))
	r.await(t, 2)
	_ = r.stop()

	serial := uint32(2)
	for _, file := range filesBelow(t, path) {
		t.Run(strings.ReplaceAll(file, "/", "_"), func(t *testing.T) {
			damaged := filepath.Join(t.TempDir(), "cache")
			if err := os.CopyFS(damaged, os.DirFS(path)); err != nil {
				t.Fatal(err)
			}
			flipOctet(t, filepath.Join(damaged, file))
			cache, err := dir.Open(damaged)
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			defer cache.Close()
			var told []error
			next := prepare(t, live, FollowOptions[*pairs]{Cache: cache, OnCacheError: func(err error) { told = append(told, err) }})
			if err := next.LoadCache(t.Context()); err == nil {
				wantItems(t, next.Current(), 2, of("a=1"))
			}
			next.start(t)
			serial++
			value := of(fmt.Sprint("a=", serial))
			put(t, w, value)
			next.await(t, serial)
			_ = next.stop()
			wantItems(t, mustLoad(t, cache), serial, value)
			if len(told) > 1 {
				t.Errorf("told %d times: %v", len(told), told)
			}
		})
	}
}

// filesBelow returns the paths of the files that hold something, relative to root.
func filesBelow(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 0 {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func flipOctet(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0xff
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
