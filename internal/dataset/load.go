package dataset

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/popdns/popdns/internal/store"
)

// Load reads and verifies the current version. Errors: ErrNoDataset when there is no head, a Refusal when what is there can't
// be used, otherwise the store's. Reads may be in flight on several goroutines; all have ended when it returns.
func Load[V any](ctx context.Context, r store.Reader, ref Ref[V]) (*Version[V], error) {
	v, err := loadMoving(ctx, r, ref, func(head Head, raw []byte) (*Version[V], error) {
		value, _, err := loader[V]{r, ref}.reach(ctx, nil, &head)
		if err != nil {
			return nil, err
		}
		return &Version[V]{Value: value, Head: head, HeadBytes: raw, Received: time.Now()}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", ref.Path, err)
	}
	return v, nil
}

// LoadSerial reads and verifies an earlier version, or the current one. It reaches every version from the oldest kept
// generation's image on; ErrNotInHistory means that it is older, or never was. The version's Head is the one that was current then,
// as far as it can be known: its inline deltas are gone.
func LoadSerial[V any](ctx context.Context, r store.Reader, ref Ref[V], serial uint32) (*Version[V], error) {
	v, err := loadMoving(ctx, r, ref, func(head Head, _ []byte) (*Version[V], error) {
		gens, err := generations(ctx, r, ref, head)
		if err != nil {
			return nil, err
		}
		for _, h := range gens {
			if h.has(serial) {
				return loader[V]{r, ref}.at(ctx, h, serial)
			}
		}
		return nil, ErrNotInHistory
	})
	if err != nil {
		return nil, fmt.Errorf("load %s serial %d: %w", ref.Path, serial, err)
	}
	return v, nil
}

// loadMoving reads the head and calls load with it, again with the newer head when a committer removed the nodes meanwhile.
func loadMoving[V any](ctx context.Context, r store.Reader, ref Ref[V], load func(Head, []byte) (*Version[V], error)) (*Version[V], error) {
	var last []byte
	for {
		head, raw, err := readHead(ctx, r, ref)
		if err != nil {
			return nil, err
		}
		v, err := load(head, raw)
		if err == nil || !errors.Is(err, store.ErrNoNode) || bytes.Equal(raw, last) {
			return v, err
		}
		last = raw
	}
}

func readHead[V any](ctx context.Context, r store.Reader, ref Ref[V]) (Head, []byte, error) {
	node, err := r.Get(ctx, headPath(ref.Path))
	if errors.Is(err, store.ErrNoNode) {
		return Head{}, nil, ErrNoDataset
	}
	if err != nil {
		return Head{}, nil, err
	}
	head, err := ref.parseHead(node.Data)
	return head, node.Data, err
}

// parseHead parses a head and checks that it is of this dataset and by whom it must be. A head that is only not signed as it must be is
// returned with the error.
func (ref Ref[V]) parseHead(b []byte) (Head, error) {
	head, err := ParseHead(b)
	if err != nil {
		return Head{}, err
	}
	if err := ref.Keys.verify(headPurpose, b); err != nil {
		return head, Refusal{head.Serial, ReasonSigned, fmt.Errorf("head: %w", err)}
	}
	if head.Kind != ref.Codec.Kind() || head.Name != ref.Path {
		return Head{}, Refusal{head.Serial, ReasonName,
			fmt.Errorf("head is of %s %s, want %s %s", head.Kind, head.Name, ref.Codec.Kind(), ref.Path)}
	}
	return head, nil
}

// A loader builds values of one dataset from its nodes.
type loader[V any] struct {
	r   store.Reader
	ref Ref[V]
}

// A delta is one step with its change.
type delta struct {
	step
	bytes []byte
}

// reach returns the verified value of head's version: from cur by deltas when the log leads there from it, otherwise, or
// when those deltas turn out wrong, from the image. deltas are those that led from cur, nil if the image was loaded.
func (l loader[V]) reach(ctx context.Context, cur *Version[V], head *Head) (value V, deltas []delta, err error) {
	if cur != nil {
		if steps, ok := head.steps(cur.Head.Serial); ok {
			value, deltas, _, err = l.apply(ctx, cur.Value, steps, head.Inline)
			if err == nil {
				err = l.verify(value, cur.Head.Chain.followAll(deltas), &head.Revision)
			}
			if err == nil || !worthImage(err) {
				return value, deltas, err
			}
		}
	}
	value, chain, err := l.image(ctx, head.Gen, head.Base)
	if err != nil {
		return value, nil, err
	}
	steps, _ := head.steps(head.Base.Serial)
	value, after, _, err := l.apply(ctx, value, steps, head.Inline)
	if err == nil {
		err = l.verify(value, chain.followAll(after), &head.Revision)
	}
	return value, nil, err
}

// worthImage tells whether a failure on the way by deltas says that the image may do better: not so when the store is away.
func worthImage(err error) bool {
	_, refused := asRefusal(err, 0)
	return refused
}

// at returns an earlier version of the generation that head ends.
func (l loader[V]) at(ctx context.Context, head Head, serial uint32) (*Version[V], error) {
	value, chain, err := l.image(ctx, head.Gen, head.Base)
	if err != nil {
		return nil, err
	}
	all, _ := head.steps(head.Base.Serial)
	steps := all[:0:0]
	if serial != head.Base.Serial {
		for _, s := range all {
			steps = append(steps, s)
			if s.to == serial {
				break
			}
		}
	}
	value, deltas, rev, err := l.apply(ctx, value, steps, nil)
	if err != nil {
		return nil, err
	}
	if len(deltas) == 0 {
		m, err := l.manifest(ctx, head.Gen, head.Base)
		if err != nil {
			return nil, err
		}
		rev = m.Revision
	}
	chain = chain.followAll(deltas)
	if err := l.verify(value, chain, &rev); err != nil {
		return nil, err
	}
	if err := l.leadsTo(ctx, chain, all[len(steps):], &head); err != nil {
		return nil, err
	}
	then := head
	then.Revision, then.Inline, then.Log, then.LogBytes = rev, nil, nil, 0
	for _, d := range deltas {
		then.Log = extend(then.Log, d.step)
		then.LogBytes += int64(len(d.bytes))
	}
	raw, err := then.marshal(Keys{})
	if err != nil {
		return nil, err
	}
	return &Version[V]{Value: value, Head: then, HeadBytes: raw, Received: time.Now()}, nil
}

func (l loader[V]) manifest(ctx context.Context, gen int64, base Base) (manifest, error) {
	node, err := l.r.Get(ctx, manifestPath(l.ref.Path, gen))
	if err != nil {
		return manifest{}, missing(ReasonBase, fmt.Errorf("generation %d: manifest: %w", gen, err))
	}
	return parseManifest(node.Data, l.ref.Codec.Kind(), l.ref.Path, base)
}

// leadsTo checks that the deltas of steps lead from chain to the head's. Only heads are signed: an earlier version is vouched for by
// the one that was reached from it.
func (l loader[V]) leadsTo(ctx context.Context, chain Digest, steps []step, head *Head) error {
	if l.ref.Keys.trusted() == "" {
		return nil
	}
	for len(steps) > 0 {
		window := steps[:min(len(steps), applyWindow)]
		steps = steps[len(window):]
		entries, err := l.fetch(ctx, window, head.Inline)
		if err != nil {
			return err
		}
		for _, e := range entries {
			chain = chain.follow(e.delta)
		}
	}
	if chain != head.Chain {
		return refuse(ReasonChain, "generation %d: its changes are not those that led to serial %d", head.Gen, head.Serial)
	}
	return nil
}

// image loads and verifies base/<gen>. chain is the chain at its version.
func (l loader[V]) image(ctx context.Context, gen int64, base Base) (value V, chain Digest, err error) {
	var none V
	m, err := l.manifest(ctx, gen, base)
	if err != nil {
		return none, chain, err
	}
	chunks := make([][]byte, len(m.Chunks))
	if err := l.chunks(ctx, gen, &m, func(i int, b []byte) { chunks[i] = b }); err != nil {
		return none, chain, err
	}
	value, err = l.ref.Codec.Decode(chunks)
	if err != nil {
		return none, chain, refuse(ReasonBase, "generation %d: decode: %w", gen, err)
	}
	if value, err = l.settle(value, m.Serial); err != nil {
		return none, chain, err
	}
	return value, m.Chain, l.verify(value, m.Chain, &m.Revision)
}

// chunks reads the chunks of an image and passes on those that have the manifest's hashes. take is called for each one, concurrently.
func (l loader[V]) chunks(ctx context.Context, gen int64, m *manifest, take func(i int, b []byte)) error {
	return parallel(ctx, len(m.Chunks), fetchers, func(ctx context.Context, i int) error {
		node, err := l.r.Get(ctx, chunkPath(l.ref.Path, gen, i))
		if err != nil {
			return missing(ReasonBase, fmt.Errorf("generation %d: chunk %d: %w", gen, i, err))
		}
		if len(node.Data) != m.Chunks[i].Size || sha256.Sum256(node.Data) != m.Chunks[i].SHA256 {
			return refuse(ReasonBase, "generation %d: chunk %d is damaged: its SHA-256 is not the manifest's", gen, i)
		}
		take(i, node.Data)
		return nil
	})
}

// applyWindow is how many log entries are fetched before they are applied: it bounds what lies in memory to 16 MiB.
const applyWindow = 64

// apply fetches the deltas of steps, or takes them from inline, and applies them in order. rev is the last fetched entry's.
func (l loader[V]) apply(ctx context.Context, value V, steps []step, inline []Inline) (V, []delta, Revision, error) {
	var rev Revision
	deltas := make([]delta, 0, len(steps))
	for len(steps) > 0 {
		window := steps[:min(len(steps), applyWindow)]
		steps = steps[len(window):]
		entries, err := l.fetch(ctx, window, inline)
		if err != nil {
			return value, nil, rev, err
		}
		for i, s := range window {
			if value, err = l.ref.Codec.Apply(value, entries[i].delta); err != nil {
				return value, nil, rev, refuse(ReasonDelta, "apply delta %d→%d: %w", s.from, s.to, err)
			}
			if value, err = l.settle(value, s.to); err != nil {
				return value, nil, rev, err
			}
			deltas = append(deltas, delta{s, entries[i].delta})
			rev = entries[i].header.Revision
		}
	}
	return value, deltas, rev, nil
}

func (l loader[V]) fetch(ctx context.Context, steps []step, inline []Inline) ([]entry, error) {
	out := make([]entry, len(steps))
	var wanted []int
	for i, s := range steps {
		if d := findInline(inline, s); d != nil {
			out[i].delta = d
		} else {
			wanted = append(wanted, i)
		}
	}
	err := parallel(ctx, len(wanted), fetchers, func(ctx context.Context, n int) error {
		i := wanted[n]
		node, err := l.r.Get(ctx, logPath(l.ref.Path, steps[i].to))
		if err != nil {
			return missing(ReasonDelta, fmt.Errorf("log entry %d: %w", steps[i].to, err))
		}
		out[i], err = parseEntry(node.Data, steps[i])
		return err
	})
	return out, err
}

func findInline(inline []Inline, s step) []byte {
	for _, d := range inline {
		if d.From == s.from && d.To == s.to {
			return d.Delta
		}
	}
	return nil
}

// settle gives value the serial that its place in the log says: kinds whose deltas do not carry the serial rely on it.
func (l loader[V]) settle(value V, serial uint32) (V, error) {
	own := l.ref.Codec.Serial(value)
	if own == serial {
		return value, nil
	}
	if l.ref.Codec.Frozen(value) {
		return value, refuse(ReasonSum, "serial %d is signed into the data of version %d", own, serial)
	}
	return l.ref.Codec.WithSerial(value, serial), nil
}

// verify checks that value, reached by the changes that chain is of, is what rev states.
func (l loader[V]) verify(value V, chain Digest, rev *Revision) error {
	sum, items := l.ref.Codec.Sum(value)
	if items != rev.Items || sum != rev.Sum {
		return Refusal{rev.Serial, ReasonSum,
			fmt.Errorf("serial %d has %d items with sum %s, want %d with %s", rev.Serial, items, sum, rev.Items, rev.Sum)}
	}
	if chain != rev.Chain {
		return Refusal{rev.Serial, ReasonChain, fmt.Errorf("serial %d was not reached by the changes that its head names", rev.Serial)}
	}
	return nil
}

// missing makes a Refusal of an error that is about the node, and leaves one that is about the store as it is.
func missing(reason string, err error) error {
	if errors.Is(err, store.ErrNoNode) || errors.Is(err, store.ErrNoAuth) || errors.Is(err, store.ErrTooLarge) {
		return Refusal{Reason: reason, Err: err}
	}
	return err
}
