package dir

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/popdns/popdns/internal/store"
)

// session is the life of a Store as the owner of ephemeral nodes: a file that is locked as long as the process lives and the Store is open. The
// kernel releases the lock however the process ends, and that is what makes the nodes die. It begins with the first ephemeral node.
type session struct {
	mu    sync.Mutex
	id    uint64 // 0: not begun
	file  *os.File
	nodes map[string]bool // ephemeral nodes of this session that Close has to delete
}

func sessionName(id uint64) string { return store.Join(sessionsDir, fmt.Sprintf("%016x", id)) }

// current returns the session's id, 0 when it has not begun.
func (n *session) current() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.id
}

// ownSession returns the id of this Store's session and begins it when needed. The exclusive lock is held, so nobody can find the new file unlocked.
func (s *Store) ownSession() (uint64, error) {
	n := &s.session
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.id != 0 {
		return n.id, nil
	}
	if err := s.root.Mkdir(sessionsDir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return 0, err
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	id := binary.BigEndian.Uint64(b[:]) | 1
	f, err := s.root.OpenFile(sessionName(id), os.O_RDWR|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return 0, err
	}
	if err := flock(f, exclusive|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return 0, fmt.Errorf("lock session: %w", err)
	}
	n.id, n.file, n.nodes = id, f, make(map[string]bool)
	return id, nil
}

// remember keeps account of the session's nodes after a commit.
func (n *session) remember(changes []*change) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.id == 0 {
		return
	}
	for _, c := range changes {
		if !c.deleted && c.record.owner == n.id {
			n.nodes[c.path] = true
		} else {
			delete(n.nodes, c.path)
		}
	}
}

// close releases the session's lock.
func (n *session) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file != nil {
		_ = n.file.Close()
		n.file = nil
	}
}

// endSession deletes the session's nodes and its file.
func (s *Store) endSession() error {
	id := s.session.current()
	if id == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	release, err := s.lock(ctx, exclusive)
	if err != nil {
		return err
	}
	defer release()
	if err := s.recover(); err != nil {
		return err
	}
	rev, err := s.readRev()
	if err != nil {
		return err
	}
	if err := s.writeRev(rev + 1); err != nil {
		return err
	}
	s.session.mu.Lock()
	defer s.session.mu.Unlock()
	for path := range s.session.nodes {
		if r, err := s.readNode(path, false); err != nil || r.owner != id {
			continue // deleted by another process, or another's by now
		}
		if err := s.removeNode(path); err != nil {
			return err
		}
	}
	return s.root.Remove(sessionName(id))
}

// sessionAlive tells whether some process holds the lock of the session's file. When that can't be found out the session counts as alive.
func (s *Store) sessionAlive(id uint64) bool {
	if id == s.session.current() {
		return true
	}
	f, err := s.root.Open(sessionName(id))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer func() { _ = f.Close() }()
	return flock(f, shared|syscall.LOCK_NB) != nil
}

// reapDead removes the files of dead sessions and of their nodes. They are invisible already; this keeps them from piling up. The tree is walked only
// when there is a dead session, that is after a crash. The exclusive lock is held.
func (s *Store) reapDead() error {
	entries, err := fs.ReadDir(s.root.FS(), sessionsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dead := make(map[uint64]bool)
	for _, e := range entries {
		id, err := strconv.ParseUint(e.Name(), 16, 64)
		if err == nil && !s.sessionAlive(id) {
			dead[id] = true
		}
	}
	if len(dead) == 0 {
		return nil
	}
	if err := s.reapTree("", dead); err != nil {
		return err
	}
	for id := range dead {
		if err := s.root.Remove(sessionName(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (s *Store) reapTree(path string, dead map[uint64]bool) error {
	if r, err := s.readNode(path, false); err == nil && dead[r.owner] {
		return s.removeNode(path)
	}
	name := path
	if name == "" {
		name = "."
	}
	entries, err := fs.ReadDir(s.root.FS(), name)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			if err := s.reapTree(store.Join(path, e.Name()), dead); err != nil {
				return err
			}
		}
	}
	return nil
}
