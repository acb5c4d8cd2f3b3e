package dataset

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/popdns/popdns/internal/store"
)

// Prepare makes the directories of new datasets, many in one write: a [Writer] makes what is missing itself, and alone that is half of what a first
// version costs. Only zones and maps can be prepared; those that exist are left alone.
func Prepare(ctx context.Context, s store.Store, paths []string) error {
	exist := map[string][]string{}
	var ops []store.Op
	flush := func() error {
		batch := ops
		ops = nil
		err := s.Commit(ctx, batch...)
		if errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrNoNode) || errors.Is(err, store.ErrUnknownOutcome) {
			return nil // somebody makes them too: the Writers see what is missing
		}
		return err
	}
	for _, path := range paths {
		dir := store.Parent(path)
		if _, known := exist[dir]; !known {
			names, err := s.Children(ctx, dir)
			if err != nil {
				return fmt.Errorf("prepare %s: %w", path, err)
			}
			exist[dir] = names // sorted
		}
		if _, found := slices.BinarySearch(exist[dir], store.Base(path)); found {
			continue
		}
		for _, node := range []string{path, lockPath(path), logDir(path), baseDir(path), historyDir(path)} {
			ops = append(ops, store.Create(node, nil))
		}
		if len(ops) < collectBatch {
			continue
		}
		if err := flush(); err != nil {
			return fmt.Errorf("prepare %s: %w", path, err)
		}
	}
	return flush()
}
