package dir

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/popdns/popdns/internal/store"
)

// A view is the tree as one holder of the lock sees it: the files, with changes laid over them that are not in the files yet. For a reader these
// are those of a journal that a crash left behind (a reader may not have the permission to finish it); for a commit its own so far.
// Ephemeral nodes of dead sessions are not there.
type view struct {
	s       *Store
	changed map[string]*change
	alive   map[uint64]bool // sessions probed so far
}

// view returns the tree as the files and a left-over journal have it. The lock must be held.
func (s *Store) view() (*view, error) {
	_, changes, err := s.readJournal()
	if err != nil {
		return nil, err
	}
	v := &view{s: s, changed: make(map[string]*change, len(changes)), alive: make(map[uint64]bool)}
	for _, c := range changes {
		v.changed[c.path] = c
	}
	return v, nil
}

// get returns the node at path, or store.ErrNoNode.
func (v *view) get(path string) (record, error) { return v.read(path, true) }

// head is get without the data.
func (v *view) head(path string) (record, error) { return v.read(path, false) }

func (v *view) read(path string, whole bool) (record, error) {
	if c, ok := v.changed[path]; ok {
		if c.deleted {
			return record{}, store.ErrNoNode
		}
		return c.record, nil
	}
	r, err := v.s.readNode(path, whole)
	if err != nil {
		return record{}, err
	}
	if !v.live(r.owner) {
		return record{}, store.ErrNoNode
	}
	return r, nil
}

// live tells whether the session lives; 0, no session, does.
func (v *view) live(owner uint64) bool {
	if owner == 0 {
		return true
	}
	alive, known := v.alive[owner]
	if !known {
		alive = v.s.sessionAlive(owner)
		v.alive[owner] = alive
	}
	return alive
}

// children returns the sorted names of the nodes below the node at path.
func (v *view) children(path string) ([]string, error) {
	if _, err := v.head(path); err != nil && !errors.Is(err, errCorrupt) {
		return nil, err
	}
	names, err := v.childrenInFiles(path)
	if err != nil {
		return nil, err
	}
	for p, c := range v.changed {
		if !c.deleted && p != "" && store.Parent(p) == path {
			names = append(names, store.Base(p))
		}
	}
	slices.Sort(names)
	return names, nil
}

// childrenInFiles returns the children that are not among the changes. A corrupt node counts as there, so that it can be seen and deleted.
func (v *view) childrenInFiles(path string) ([]string, error) {
	name := path
	if name == "" {
		name = "."
	}
	entries, err := fs.ReadDir(v.s.root.FS(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // created by this very commit
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		child := store.Join(path, e.Name())
		if _, ok := v.changed[child]; ok {
			continue
		}
		_, err := v.head(child)
		switch {
		case err == nil, errors.Is(err, errCorrupt):
			names = append(names, e.Name())
		case !errors.Is(err, store.ErrNoNode):
			return nil, err
		}
	}
	return names, nil
}
