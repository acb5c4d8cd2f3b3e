package dir

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/popdns/popdns/internal/store"
)

// nobody is a user without rights to what the tests create.
const nobody = 65534

func TestDirectoryThatMayNotBeWrittenCanBeReadAndWatched(t *testing.T) {
	path := t.TempDir()
	writer := openAt(t, path)
	if err := writer.Commit(t.Context(), store.Create("a", []byte("1")), store.CreateEphemeral("e", nil)); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chmod(filepath.Dir(path), 0o755); err != nil { // the test's directories are root's alone
			t.Fatal(err)
		}
		// Root may write everywhere. This thread's file accesses become nobody's; it is given up at the end.
		runtime.LockOSThread()
		if err := unix.Setfsuid(nobody); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Setfsuid(0) }()
	} else {
		if err := os.Chmod(path, 0o555); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.Chmod(path, 0o755) }()
		if err := os.Chmod(path+"/"+lockFile, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if !s.readOnly {
		t.Fatal("the directory can be written after all")
	}
	if err := s.Commit(t.Context(), store.Create("b", nil)); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Commit: %v, want ErrReadOnly", err)
	}
	if names, err := s.Children(t.Context(), ""); err != nil || len(names) != 2 {
		t.Errorf("children %q, %v", names, err)
	}
	if os.Geteuid() != 0 {
		return // the writer can't write either
	}
	var got []string
	written := make(chan error, 1)
	err = s.Watch(t.Context(), "a", func(n store.Node, err error) {
		if got = append(got, string(n.Data)); err == nil && len(got) == 1 {
			go func() { written <- writer.Commit(t.Context(), store.Set("a", []byte("2"), 0)) }() // on another thread, as root
		} else {
			go func() { _ = s.Close() }()
		}
	})
	if !errors.Is(err, store.ErrClosed) || len(got) != 2 || got[1] != "2" {
		t.Errorf("Watch told %q and returned %v", got, err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}
