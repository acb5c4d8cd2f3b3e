// Package edgetest fills directory stores for the tests of what reads them.
package edgetest

import (
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/mapfile"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/dir"
	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"
)

// A Store is a directory store in a temporary folder, with a publisher.
type Store struct {
	store.Store
	*publish.Publisher
	Dir string
}

// New returns an initialised store that is closed at the test's end.
func New(tb testing.TB) *Store {
	tb.Helper()
	path := tb.TempDir()
	st, err := dir.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = st.Close() })
	if _, _, err := dataset.Init(tb.Context(), st); err != nil {
		tb.Fatal(err)
	}
	return &Store{Store: st, Publisher: publish.New(st, publish.Options{By: "test"}), Dir: path}
}

// URL is the store's, for a source.
func (s *Store) URL() string { return "dir://" + s.Dir }

// Zone publishes a zone given as a zone file's text.
func (s *Store) Zone(tb testing.TB, origin, text string) {
	tb.Helper()
	snapshot, err := zonefile.Read(strings.NewReader(text), "test.zone", zone.MustParseName(origin))
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := s.PublishZone(tb.Context(), snapshot); err != nil {
		tb.Fatal(err)
	}
}

// Map publishes a map given as a map file's text.
func (s *Store) Map(tb testing.TB, name, text string) {
	tb.Helper()
	m, err := mapfile.ReadMap(strings.NewReader(text), "test.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := s.PublishMap(tb.Context(), m.WithName(name)); err != nil {
		tb.Fatal(err)
	}
}

// PoPs publishes a PoP table given as a PoP file's text.
func (s *Store) PoPs(tb testing.TB, text string) {
	tb.Helper()
	pops, err := mapfile.ReadPoPs(strings.NewReader(text), "pops.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := s.ApplyPoPs(tb.Context(), pops); err != nil {
		tb.Fatal(err)
	}
}
