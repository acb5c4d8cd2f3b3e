// Package dir is the store in a directory: it implements store.Store with files, for one machine without a server. It is what popdns is tried
// with, what an edge keeps as its disk cache, and what a local proxy writes for edges to read.
//
// Every node is a directory of its name; its data lies in a file ".node" inside, after a header with the version. Names that begin with a dot
// are the store's own: ".lock" (flock: exclusive for a commit, shared for a read, so nobody sees half a commit), ".rev" (the transaction counter,
// raised by every commit and watched), ".journal" (a commit of several nodes that was decided and is not yet applied everywhere) and
// ".sessions" (one locked file for each process that owns ephemeral nodes).
//
// A commit survives a crash at any point, whole or not at all; DESIGN.md beside this file says why. Several processes, and several Stores in one,
// may share a directory. Where it may not be written it can still be read and watched. It must be a local file system with flock.
package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/popdns/popdns/internal/store"
)

const (
	lockFile    = ".lock"
	revFile     = ".rev"
	journalFile = ".journal"
	sessionsDir = ".sessions"
	nodeFile    = ".node"
	tempFile    = ".tmp"
)

// Everyone may read: the writer and the edge may be different users, and what DNS serves is public.
const (
	dirPerm  fs.FileMode = 0o755
	filePerm fs.FileMode = 0o644
)

// Store is a directory opened as a store.Store. It is safe for concurrent use.
type Store struct {
	name     string
	root     *os.Root // confines every access, symbolic links included
	readOnly bool
	opened   time.Time

	ops     sync.RWMutex // read-locked by every call, so that Close waits for them
	closed  chan struct{}
	closing sync.Once

	session session
	notify  notifier

	// fault, in tests, is called before each step of a commit; an error from it ends the commit there as a crash would.
	fault func(step string) error
}

var _ store.Store = (*Store)(nil)

// Open opens the store in directory path and creates it when missing. Where the directory exists and can't be written the store is read-only:
// Commit fails with store.ErrReadOnly, everything else works.
func Open(path string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open directory store: %w", err)
	}
	// An existing directory is not made: MkdirAll would be refused on a read-only file system.
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) { //nolint:gosec // the operator's own path
		if err := os.MkdirAll(path, dirPerm); err != nil { //nolint:gosec // the operator's own path
			return nil, fmt.Errorf("open directory store: %w", err)
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open directory store: %w", err)
	}
	s := &Store{name: path, root: root, opened: time.Now(), closed: make(chan struct{})}
	s.notify.init(s)
	if err := s.prepare(); err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("open directory store %s: %w", path, err)
	}
	return s, nil
}

// prepare makes the lock file and the root node, finishes a commit that a crash interrupted, and removes what dead sessions left.
func (s *Store) prepare() error {
	f, err := s.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) || isReadOnlyFS(err) {
			s.readOnly = true
			return nil
		}
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	release, err := s.lock(ctx, exclusive)
	if err != nil {
		return err
	}
	defer release()
	if _, err := s.root.Stat(nodeFile); errors.Is(err, fs.ErrNotExist) {
		if err := s.writeFile(nodeFile, tempFile, encodeNode(record{})); err != nil {
			return err
		}
	}
	if err := s.recover(); err != nil {
		return err
	}
	return s.reapDead()
}

// openTimeout bounds how long Open waits for another process's commit, closeTimeout how long Close does; a commit takes milliseconds.
const (
	openTimeout  = 10 * time.Second
	closeTimeout = 3 * time.Second
)

// Get implements store.Reader.
func (s *Store) Get(ctx context.Context, path string) (store.Node, error) {
	r, err := s.read(ctx, path)
	if err != nil {
		return store.Node{}, fmt.Errorf("get %q: %w", path, err)
	}
	return store.Node{
		Data: r.data, Version: r.version, Created: r.created, Modified: r.modified,
		Ephemeral: r.owner != 0, Mine: r.owner != 0 && r.owner == s.session.current(),
	}, nil
}

func (s *Store) read(ctx context.Context, path string) (record, error) {
	if err := store.CheckPath(path); err != nil {
		return record{}, err
	}
	release, err := s.lock(ctx, shared)
	if err != nil {
		return record{}, err
	}
	defer release()
	v, err := s.view()
	if err != nil {
		return record{}, err
	}
	return v.get(path)
}

// Children implements store.Reader.
func (s *Store) Children(ctx context.Context, path string) ([]string, error) {
	names, err := s.children(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("children of %q: %w", path, err)
	}
	return names, nil
}

func (s *Store) children(ctx context.Context, path string) ([]string, error) {
	if err := store.CheckPath(path); err != nil {
		return nil, err
	}
	release, err := s.lock(ctx, shared)
	if err != nil {
		return nil, err
	}
	defer release()
	v, err := s.view()
	if err != nil {
		return nil, err
	}
	return v.children(path)
}

// Status implements store.Store: a directory is always connected.
func (s *Store) Status() store.Status {
	return store.Status{Connected: true, Since: s.opened, Sessions: 1}
}

// Close implements store.Store. The ephemeral nodes of this Store are deleted; should that fail (the disk is full, another process holds the lock)
// they are dead all the same, since the session's file is no longer locked.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		err = s.endSession()
		close(s.closed)
		s.ops.Lock()   // wait for calls that are under way; new ones see closed
		s.ops.Unlock() //nolint:staticcheck // the lock is a barrier here, it guards nothing
		s.notify.stop()
		s.session.close()
		if cerr := s.root.Close(); err == nil {
			err = cerr
		}
	})
	if err != nil {
		return fmt.Errorf("close directory store %s: %w", s.name, err)
	}
	return nil
}
