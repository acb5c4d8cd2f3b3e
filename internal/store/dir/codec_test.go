package dir

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/popdns/popdns/internal/store"
)

func TestCorruptNodeIsRefusedAndCanBeReplaced(t *testing.T) {
	path := t.TempDir()
	s := openAt(t, path)
	if err := s.Commit(t.Context(), store.Create("a", nil), store.Create("a/b", []byte("some data"))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(path, "a", "b", nodeFile)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Get(t.Context(), "a/b"); !errors.Is(err, errCorrupt) {
			t.Fatalf("with byte %d changed: %+v, %v", i, n, err)
		}
	}
	for n := range good {
		if _, err := decodeNode(good[:n]); err == nil {
			t.Fatalf("cut to %d bytes it is read", n)
		}
	}
	if err := os.WriteFile(file, good[:20], 0o600); err != nil {
		t.Fatal(err)
	}
	if names, err := s.Children(t.Context(), "a"); err != nil || len(names) != 1 {
		t.Errorf("children %q, %v", names, err)
	}
	if err := s.Commit(t.Context(), store.Set("a/b", nil, 0)); err == nil {
		t.Error("a corrupt node was found at version 0")
	}
	if err := s.Commit(t.Context(), store.Set("a/b", []byte("healed"), store.AnyVersion)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Get(t.Context(), "a/b"); err != nil || string(n.Data) != "healed" {
		t.Errorf("%q, %v", n.Data, err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := store.DeleteAll(t.Context(), s, "a"); err != nil {
		t.Error(err)
	}
}

func TestCorruptJournalStopsTheStore(t *testing.T) {
	path := t.TempDir()
	s := openAt(t, path)
	good := encodeJournal(3, []*change{{path: "a", fresh: true, record: record{data: []byte("x")}}, {path: "b", deleted: true}})
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if err := os.WriteFile(filepath.Join(path, journalFile), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), ""); !errors.Is(err, errCorrupt) {
			t.Fatalf("with byte %d changed Get: %v", i, err)
		}
		if err := s.Commit(t.Context(), store.Create("c", nil)); !errors.Is(err, errCorrupt) {
			t.Fatalf("with byte %d changed Commit: %v", i, err)
		}
	}
	if err := os.WriteFile(filepath.Join(path, journalFile), good, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Get(t.Context(), "a"); err != nil || string(n.Data) != "x" {
		t.Errorf("%q, %v", n.Data, err)
	}
}

func FuzzDecodeNode(f *testing.F) {
	f.Add(encodeNode(record{version: 3, created: 1, modified: 9, owner: 7, data: []byte("data")}))
	f.Add([]byte(nodeMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeNode(b)
		if err == nil && !bytes.Equal(encodeNode(r), b) {
			t.Errorf("%x was read as %+v, which is written %x", b, r, encodeNode(r))
		}
	})
}

func FuzzDecodeJournal(f *testing.F) {
	f.Add(encodeJournal(5, []*change{
		{path: "a", fresh: true, record: record{data: []byte("x")}}, {path: "b/c", deleted: true}, {path: "", record: record{version: 2}},
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		rev, changes, err := decodeJournal(b)
		if err != nil {
			return
		}
		rev2, again, err := decodeJournal(encodeJournal(rev, changes))
		if err != nil || rev != rev2 || !reflect.DeepEqual(changes, again) {
			t.Errorf("%x was read as %v, written and read again as %v, %v", b, changes, again, err)
		}
	})
}
