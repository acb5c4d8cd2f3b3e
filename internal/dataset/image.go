package dataset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/popdns/popdns/internal/store"
)

const (
	// imageBatchBytes is how much of an image goes into one commit, below store.MaxNodeBytes.
	imageBatchBytes = 900_000
	// imageWriters is how many such commits are in flight: the store must stay usable for others meanwhile.
	imageWriters = 4
	// imageTries is how often one of them is sent again after a lost reply, and how many generations are tried.
	imageTries = 3
)

// An imageWriter writes a value as base/<gen> of a fresh generation. Nothing refers to it yet, so a writer that dies here
// leaves only garbage, which a later commit collects.
type imageWriter[V any] struct {
	s        store.Store
	ref      Ref[V]
	guard    []store.Op // checked with every commit: the lock's fence
	progress func(done, total int)
	// unlogged says that the version comes by this image alone: its revision's chain is then the one before, and goes on here.
	unlogged bool

	mu          sync.Mutex
	done, total int
}

// write encodes and writes value, reads it back as every reader will, and returns where it is.
func (w *imageWriter[V]) write(ctx context.Context, value V, rev *Revision) (int64, Base, error) {
	fail := func(err error) (int64, Base, error) {
		return 0, Base{}, fmt.Errorf("write image: %w", err)
	}
	chunks, err := w.ref.Codec.Encode(value)
	if err != nil {
		return fail(err)
	}
	m := newManifest(w.ref.Codec.Kind(), w.ref.Path, *rev, chunks)
	if w.unlogged {
		m.Chain = rev.Chain.followImage(m.Chunks)
		rev.Chain = m.Chain
	}
	index, base, err := m.marshal()
	if err != nil {
		return fail(err)
	}
	var gen int64
	if base.Bytes+int64(len(index)) <= imageBatchBytes && len(chunks) < collectBatch {
		gen, err = w.putWhole(ctx, chunks, index)
	} else {
		gen, err = w.putInParts(ctx, chunks, index)
	}
	if err != nil {
		return fail(err)
	}
	if _, _, err := (loader[V]{w.s, w.ref}).image(ctx, gen, base); err != nil {
		return fail(fmt.Errorf("read back: %w", err))
	}
	w.step()
	return gen, base, nil
}

// putWhole writes an image that fits in one commit: most zones do.
func (w *imageWriter[V]) putWhole(ctx context.Context, chunks [][]byte, index []byte) (gen int64, err error) {
	w.total = 2 // and the check
	gen, err = w.newGeneration(ctx, func(gen int64) []store.Op {
		var ops []store.Op
		for _, batch := range w.batch(gen, chunks) {
			ops = append(ops, batch...)
		}
		return append(ops, store.Create(manifestPath(w.ref.Path, gen), index))
	})
	if err == nil {
		w.step()
	}
	return gen, err
}

// putInParts writes any image, its manifest last.
func (w *imageWriter[V]) putInParts(ctx context.Context, chunks [][]byte, index []byte) (gen int64, err error) {
	if gen, err = w.newGeneration(ctx, func(int64) []store.Op { return nil }); err != nil {
		return 0, err
	}
	batches := w.batch(gen, chunks)
	w.total = len(batches) + 2 // the manifest and the check
	err = parallel(ctx, len(batches), imageWriters, func(ctx context.Context, i int) error {
		return w.put(ctx, batches[i])
	})
	if err == nil {
		err = w.put(ctx, []store.Op{store.Create(manifestPath(w.ref.Path, gen), index)})
	}
	return gen, err
}

// newGeneration makes the directory of a generation that never was, and what content puts into it.
func (w *imageWriter[V]) newGeneration(ctx context.Context, content func(gen int64) []store.Op) (int64, error) {
	var err error
	for range imageTries {
		gen := int64(1)
		for _, dir := range []string{baseDir(w.ref.Path), historyDir(w.ref.Path)} {
			taken, err := numbered(ctx, w.s, dir)
			if err != nil {
				return 0, err
			}
			for _, n := range taken {
				gen = max(gen, n+1)
			}
		}
		ops := append(slices.Clone(w.guard), store.Create(genPath(w.ref.Path, gen), nil))
		err = w.s.Commit(ctx, append(ops, content(gen)...)...)
		if err == nil {
			return gen, nil
		}
		if !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrUnknownOutcome) {
			break
		}
	}
	return 0, err
}

func (w *imageWriter[V]) batch(gen int64, chunks [][]byte) [][]store.Op {
	var batches [][]store.Op
	size := imageBatchBytes // so that the first chunk begins a batch
	for i, c := range chunks {
		if size+len(c) > imageBatchBytes {
			batches = append(batches, nil)
			size = 0
		}
		last := &batches[len(batches)-1]
		*last = append(*last, store.Create(chunkPath(w.ref.Path, gen, i), c))
		size += len(c)
	}
	return batches
}

// put commits a batch of the image. After a lost reply it tries again and takes "exists" for its own earlier success: what
// is really there is read back at the end.
func (w *imageWriter[V]) put(ctx context.Context, ops []store.Op) error {
	var err error
	for try := range imageTries {
		err = w.s.Commit(ctx, append(slices.Clone(w.guard), ops...)...)
		if err == nil || try > 0 && errors.Is(err, store.ErrExists) {
			w.step()
			return nil
		}
		if !errors.Is(err, store.ErrUnknownOutcome) {
			break
		}
	}
	return err
}

func (w *imageWriter[V]) step() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done++
	if w.progress != nil {
		w.progress(w.done, w.total)
	}
}

// numbered returns the children of dir that are numbers. A directory that is missing has none.
func numbered(ctx context.Context, r store.Reader, dir string) ([]int64, error) {
	names, err := r.Children(ctx, dir)
	if err != nil && !errors.Is(err, store.ErrNoNode) {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var out []int64
	for _, name := range names {
		if n, err := strconv.ParseInt(name, 10, 64); err == nil && n >= 0 {
			out = append(out, n)
		}
	}
	return out, nil
}
