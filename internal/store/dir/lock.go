package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/popdns/popdns/internal/store"
)

const (
	shared    = syscall.LOCK_SH
	exclusive = syscall.LOCK_EX
)

// The first and the longest pause between two tries for the lock. flock itself would wait without a limit when a stopped process holds it.
const (
	lockPauseMin = 50 * time.Microsecond
	lockPauseMax = 5 * time.Millisecond
)

// lock takes the store's lock, shared or exclusive, and returns what releases it. Each call opens the lock file anew: flock belongs to the open
// file, so callers of one process exclude one another as those of different processes do.
func (s *Store) lock(ctx context.Context, how int) (release func(), err error) {
	s.ops.RLock()
	f, err := s.tryLock(ctx, how)
	if err != nil {
		s.ops.RUnlock()
		return nil, err
	}
	return func() {
		if f != nil {
			_ = f.Close() // releases the lock
		}
		s.ops.RUnlock()
	}, nil
}

func (s *Store) tryLock(ctx context.Context, how int) (*os.File, error) {
	select {
	case <-s.closed:
		return nil, store.ErrClosed
	default:
	}
	f, err := s.openLock()
	if f == nil || err != nil {
		return nil, err
	}
	for pause := lockPauseMin; ; pause = min(2*pause, lockPauseMax) {
		err := flock(f, how|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w: %w", s.name, store.ErrUnavailable, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("another process holds the lock of %s: %w: %w", s.name, store.ErrUnavailable, ctx.Err())
		case <-s.closed:
			_ = f.Close()
			return nil, store.ErrClosed
		}
	}
}

// openLock opens the lock file. It returns nil without an error for a read-only store that nobody ever wrote: there is nothing to exclude.
func (s *Store) openLock() (*os.File, error) {
	if !s.readOnly {
		f, err := s.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, filePerm)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w: %w", s.name, store.ErrUnavailable, err)
		}
		return f, nil
	}
	f, err := s.root.Open(lockFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w: %w", s.name, store.ErrUnavailable, err)
	}
	return f, nil
}

// flock is flock(2), repeated when a signal interrupts it.
func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func isReadOnlyFS(err error) bool { return errors.Is(err, syscall.EROFS) }
