package dir

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/popdns/popdns/internal/store"
)

// revWidth is the width of the counter's file, constant so that it can be overwritten in place (a write of one sector is not torn).
const revWidth = 20

// finish writes the commit. The order matters, DESIGN.md explains it: counter, journal (when there are several changes), nodes, journal away.
func (t *tx) finish() error {
	if len(t.changes) == 0 {
		return nil
	}
	if err := t.s.step("counter"); err != nil {
		return err
	}
	if err := t.s.writeRev(t.rev); err != nil {
		return err
	}
	if len(t.changes) == 1 {
		return t.s.applyChange(t.changes[0])
	}
	if err := t.s.writeJournal(t.rev, t.changes); err != nil {
		return err
	}
	// The journal is the decision: from here on the commit happens, now or when the lock is next taken.
	if err := t.s.applyJournal(t.changes); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
	}
	return nil
}

// recover finishes the commit of a journal that a crash left. The exclusive lock is held.
func (s *Store) recover() error {
	rev, changes, err := s.readJournal()
	if err != nil || changes == nil {
		return err
	}
	if now, err := s.readRev(); err != nil && !errors.Is(err, errCorrupt) {
		return err
	} else if now < rev || err != nil { // the journal's is the newest that ever was
		if err := s.writeRev(rev); err != nil {
			return err
		}
	}
	if err := s.applyJournal(changes); err != nil {
		return fmt.Errorf("finish an interrupted commit: %w", err)
	}
	s.notify.wake()
	return nil
}

// applyJournal brings the changes into the files and removes the journal. It may be repeated from the start after any failure.
func (s *Store) applyJournal(changes []*change) error {
	// Deletions from the leaves up, then the rest from the root down.
	ordered := slices.Clone(changes)
	depth := func(c *change) int {
		d := strings.Count(c.path, "/") + 1
		if c.deleted {
			return -d
		}
		return d
	}
	slices.SortStableFunc(ordered, func(a, b *change) int { return cmp.Compare(depth(a), depth(b)) })
	for i, c := range ordered {
		if err := s.step("node " + strconv.Itoa(i)); err != nil {
			return err
		}
		if err := s.applyChange(c); err != nil {
			return err
		}
	}
	if err := s.step("journal away"); err != nil {
		return err
	}
	if err := s.root.Remove(journalFile); err != nil {
		return err
	}
	return s.syncDir("")
}

// applyChange brings one change into the files; its effect on readers is one rename or one unlink.
func (s *Store) applyChange(c *change) error {
	if c.deleted {
		return s.removeNode(c.path)
	}
	if c.fresh {
		if err := s.makeNodeDir(c.path); err != nil {
			return err
		}
	}
	if err := s.step("write"); err != nil {
		return err
	}
	return s.writeFile(store.Join(c.path, nodeFile), store.Join(c.path, tempFile), encodeNode(c.record))
}

// makeNodeDir makes an empty directory for a new node. One that is there without a node, or with one of a dead session, is swept first.
func (s *Store) makeNodeDir(path string) error {
	err := s.root.Mkdir(path, dirPerm)
	if errors.Is(err, fs.ErrExist) {
		if err := s.root.RemoveAll(path); err != nil {
			return err
		}
		err = s.root.Mkdir(path, dirPerm)
	}
	if err != nil {
		return err
	}
	return s.syncDir(store.Parent(path))
}

// removeNode deletes a node without children. Its directory goes with all that is left in it: ephemeral nodes of dead sessions.
func (s *Store) removeNode(path string) error {
	err := s.root.Remove(store.Join(path, nodeFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.step("remove"); err != nil {
		return err
	}
	// The node is gone from here on; what fails now is only the tidying, which the next creation does again.
	_ = s.root.RemoveAll(path)
	err = s.syncDir(store.Parent(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
	}
	return nil
}

// readRev returns the number of the last transaction, 0 before the first.
func (s *Store) readRev() (int64, error) {
	f, err := s.root.Open(revFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	b, err := readAtMost(f, revWidth)
	if err != nil || len(b) == 0 {
		return 0, err // empty: created, and the crash came before the first number
	}
	rev, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || rev < 0 {
		return 0, fmt.Errorf("%s: %w", f.Name(), errCorrupt)
	}
	return rev, nil
}

// revGap is more transactions than can have been forgotten with the counter: those after the newest that a node remembers, whose nodes are deleted.
const revGap = 1 << 32

// guessRev returns a number that no transaction had, for a store whose counter is corrupt: without it nothing could be written ever again, not even
// by whoever wants to replace all there is, as a cache does. It reads every node's header.
func (s *Store) guessRev() (int64, error) {
	newest := int64(0)
	err := fs.WalkDir(s.root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || path == sessionsDir {
			return err
		}
		if path == "." {
			path = ""
		}
		r, err := s.readNode(path, false)
		if errors.Is(err, errCorrupt) || errors.Is(err, store.ErrNoNode) {
			return nil
		}
		newest = max(newest, r.modified)
		return err
	})
	return newest + revGap, err
}

// writeRev overwrites the counter in place, durably, so that no number is used twice, whatever happens next.
func (s *Store) writeRev(rev int64) error {
	f, err := s.root.OpenFile(revFile, os.O_WRONLY|os.O_CREATE, filePerm)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "%*d\n", revWidth-1, rev), 0)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// step calls the tests' fault hook.
func (s *Store) step(name string) error {
	if s.fault == nil {
		return nil
	}
	return s.fault(name)
}
