package dataset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/popdns/popdns/internal/store"
)

// An Entry is one version in a dataset's history.
type Entry struct {
	Serial     uint32
	Published  time.Time
	By         string
	Message    string
	Items      int
	RollbackOf uint32 // the serial whose content it brought back, 0 if none
	Forced     bool
	Base       bool // an image was written with it
}

// maxHistoryEntries bounds what History reads: one small node each.
const maxHistoryEntries = 1000

// What is kept for rollback beside the current generation: at most HistoryLen generations, historyBytes of images and log, and
// historyEntries log entries (which bounds a listing of the log directory to some hundred KiB); at least historyMin,
// so that readers of the generation before have time to finish.
const (
	historyMin     = 2
	historyBytes   = 64 << 20
	historyEntries = 4 * compactEntries
)

// History lists the versions that LoadSerial can load, newest first, at most the newest 1000. A version whose log entry can't
// be read is left out.
func History[V any](ctx context.Context, r store.Reader, ref Ref[V]) ([]Entry, error) {
	head, _, err := readHead(ctx, r, ref)
	if err != nil {
		return nil, fmt.Errorf("history of %s: %w", ref.Path, err)
	}
	gens, err := generations(ctx, r, ref, head)
	if err != nil {
		return nil, fmt.Errorf("history of %s: %w", ref.Path, err)
	}
	wanted := versionsOf(gens)
	revs := make([]Revision, len(wanted))
	l := loader[V]{r, ref}
	err = parallel(ctx, len(wanted), fetchers, func(ctx context.Context, i int) error {
		rev, err := l.revision(ctx, wanted[i])
		_, refused := asRefusal(err, 0)
		if err != nil && !refused {
			return err
		}
		revs[i] = rev
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("history of %s: %w", ref.Path, err)
	}
	var out []Entry
	for i, rev := range revs {
		if rev.Serial != 0 {
			out = append(out, Entry{rev.Serial, rev.Published, rev.By, rev.Message, rev.Items, rev.RollbackOf, rev.Forced, wanted[i].image})
		}
	}
	return out, nil
}

// A kept version is one that history can tell about: by its log entry, or by the manifest if it has none.
type kept struct {
	step
	head   *Head
	logged bool
	image  bool
}

// versionsOf lists the newest versions of generations that are given newest first.
func versionsOf(gens []Head) []kept {
	var out []kept
	for i := range gens {
		h := &gens[i]
		steps, _ := h.steps(h.Base.Serial)
		for _, s := range slices.Backward(steps) {
			out = append(out, kept{step: s, head: h, logged: true})
		}
		image := kept{step: step{to: h.Base.Serial}, head: h, image: true}
		for _, r := range h.Log { // the commit that made the image has a log entry too, if its change was small
			if s, ok := stepTo(r, h.Base.Serial); ok {
				image.step, image.logged = s, true
			}
		}
		out = append(out, image)
		if len(out) >= maxHistoryEntries {
			return out[:maxHistoryEntries]
		}
	}
	return out
}

func stepTo(r Run, serial uint32) (step, bool) {
	switch {
	case serial == r.First:
		return step{r.From, serial}, true
	case r.First < serial && serial <= r.Last:
		return step{serial - 1, serial}, true
	}
	return step{}, false
}

// revision reads what the commit of a kept version said.
func (l loader[V]) revision(ctx context.Context, k kept) (Revision, error) {
	switch {
	case k.to == k.head.Serial:
		return k.head.Revision, nil
	case k.logged:
		found, err := l.fetch(ctx, []step{k.step}, nil)
		return found[0].header.Revision, err
	}
	m, err := l.manifest(ctx, k.head.Gen, k.head.Base)
	return m.Revision, err
}

// generations returns head and the heads in history, newest first. One that can't be read is left out.
func generations[V any](ctx context.Context, r store.Reader, ref Ref[V], head Head) ([]Head, error) {
	path := ref.Path
	gens, err := numbered(ctx, r, historyDir(path))
	if err != nil {
		return nil, err
	}
	slices.Sort(gens)
	slices.Reverse(gens)
	gens = slices.DeleteFunc(gens, func(gen int64) bool { return gen >= head.Gen })
	heads := make([]*Head, len(gens))
	err = parallel(ctx, len(gens), fetchers, func(ctx context.Context, i int) error {
		node, err := r.Get(ctx, historyPath(path, gens[i]))
		if errors.Is(err, store.ErrNoNode) {
			return nil // just collected
		}
		if err != nil {
			return err
		}
		if h, err := ref.parseHead(node.Data); err == nil && h.Gen == gens[i] {
			heads[i] = &h
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := []Head{head}
	for _, h := range heads {
		if h != nil {
			out = append(out, *h)
		}
	}
	return out, nil
}

// keepGenerations returns how many of gens, the current one first, stay.
func keepGenerations(gens []Head) int {
	bytes, logged := int64(0), 0
	for i, h := range gens {
		if i == 0 {
			continue
		}
		bytes += h.Base.Bytes + h.LogBytes
		logged += entries(h.afterBase())
		if i > historyMin && (i > HistoryLen || bytes > historyBytes || logged > historyEntries) {
			return i
		}
	}
	return len(gens)
}
