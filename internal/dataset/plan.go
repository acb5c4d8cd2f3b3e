package dataset

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/popdns/popdns/internal/store"
)

const (
	// compactEntries and compactShare say when the log has grown enough to write a new image: by number, and by its bytes as
	// a part of the image's. Below compactBytes the share does not count, or a tiny dataset would be imaged at each commit.
	compactEntries = 5000
	compactShare   = 4
	compactBytes   = 256 << 10
)

// A plan is a commit that is ready to be sent.
type plan[V any] struct {
	old     *Head // the head it replaces, nil at the first commit or if that one is unreadable
	loaded  bool  // old was verified and loaded: only such a head goes, with our signature, into history
	version int32 // of the head node it replaces
	create  bool  // there is no head node

	value   V
	delta   []byte // nil: no log entry
	image   bool   // a new image carries it
	head    Head   // Gen and Base are filled in when the image is written
	raw     []byte
	bytes   int
	cluster int32 // version of the cluster node
}

// plan decides how value becomes the current version; nil if it is that already.
func (a *attempt[V]) plan(st *state, old *Head, value V) (*plan[V], error) {
	p := &plan[V]{old: old, loaded: a.w.cur != nil, version: st.head.Version, create: !st.hasHead, cluster: st.clusterVersion}
	rev := a.rev
	if err := a.stamp(&rev, old); err != nil {
		return nil, err
	}
	changed, err := a.number(p, &rev, value)
	if err != nil || !changed {
		return nil, err
	}
	rev.Sum, rev.Items = a.w.ref.Codec.Sum(p.value)
	p.head = Head{V: formatVersion, Kind: a.w.ref.Codec.Kind(), Name: a.w.ref.Path,
		Cluster: st.cluster.ID, Epoch: st.cluster.Epoch, Revision: rev}
	if p.delta, err = a.delta(p.value, &rev); err != nil {
		return nil, err
	}
	p.chain(a.c.Force)
	return p, nil
}

// stamp sets the times of a revision.
func (a *attempt[V]) stamp(rev *Revision, old *Head) error {
	rev.Published = a.w.now()
	if old != nil && rev.Published.Before(old.Published) {
		if back := old.Published.Sub(rev.Published); back > maxClockBack {
			return fmt.Errorf("%w by %s (%s); set the clock", ErrClock, back.Round(time.Millisecond), old.Published.Format(time.RFC3339))
		}
		rev.Published = old.Published
	}
	rev.SourceTime = a.c.SourceTime.UTC().Truncate(time.Millisecond)
	if a.c.SourceTime.IsZero() {
		rev.SourceTime = rev.Published
	}
	return nil
}

// number gives the value its serial and tells whether it differs from the current version.
func (a *attempt[V]) number(p *plan[V], rev *Revision, value V) (changed bool, err error) {
	codec, cur := a.w.ref.Codec, a.w.cur
	frozen, own := codec.Frozen(value), codec.Serial(value)
	if cur != nil {
		same := value
		if !frozen {
			same = codec.WithSerial(value, cur.Head.Serial)
		}
		d, err := codec.Diff(cur.Value, same)
		if err != nil {
			return false, fmt.Errorf("compare with the current version: %w", err)
		}
		renew := a.c.Renew && !frozen && a.c.MinSerial != 0 && newer(a.c.MinSerial, cur.Head.Serial)
		if d == nil && !renew {
			return false, nil
		}
	}
	switch {
	case frozen:
		if own == 0 || p.old != nil && !newer(own, p.old.Serial) {
			return false, fmt.Errorf("%w: the signed data has serial %d, and %d is published; raise the serial and sign again", ErrSerial, own, serialOf(p.old))
		}
		p.value, rev.Serial = value, own
		return true, nil
	case p.old != nil:
		rev.Serial = nextSerial(p.old.Serial, a.c.MinSerial)
	case a.c.MinSerial != 0:
		rev.Serial = a.c.MinSerial
	default:
		rev.Serial = max(own, 1)
	}
	p.value = codec.WithSerial(value, rev.Serial)
	return true, nil
}

func serialOf(h *Head) uint32 {
	if h == nil {
		return 0
	}
	return h.Serial
}

// delta returns the change from the current version, nil if it must go into an image: there is nothing to change but a serial that deltas don't
// carry, the change is too big, or applying it does not give the value. The last would be a fault of the codec, found here and not at the edges.
func (a *attempt[V]) delta(value V, rev *Revision) ([]byte, error) {
	cur := a.w.cur
	if cur == nil || a.logExists {
		return nil, nil
	}
	d, err := a.w.ref.Codec.Diff(cur.Value, value)
	if err != nil {
		return nil, fmt.Errorf("compute the change: %w", err)
	}
	if d == nil || len(d) > MaxDeltaBytes {
		return nil, nil
	}
	l := loader[V]{a.w.s, a.w.ref}
	applied, err := a.w.ref.Codec.Apply(cur.Value, d)
	if err == nil {
		applied, err = l.settle(applied, rev.Serial)
	}
	if err == nil {
		err = l.verify(applied, rev.Chain, rev) // no chain to compare yet
	}
	if err != nil {
		return nil, nil
	}
	return d, nil
}

// chain links the new head to the old one: log, inline deltas, and whether a new image is due.
func (p *plan[V]) chain(force bool) {
	h := &p.head
	if force {
		h.ForcedSerial = h.Serial
	} else if p.old != nil && h.Serial-p.old.ForcedSerial < 1<<30 {
		h.ForcedSerial = p.old.ForcedSerial // one further back would soon count as newer
	}
	if p.old != nil {
		h.Chain = p.old.Chain
	}
	if p.delta == nil || p.old == nil {
		p.image = true
		return
	}
	h.Chain = h.Chain.follow(p.delta)
	s := step{p.old.Serial, h.Serial}
	p.image = imageDue(p.old, s, len(p.delta))
	if p.image {
		kept := p.old.afterBase()
		h.Log = extend(kept[max(0, len(kept)-keptRuns):], s)
	} else {
		h.Gen, h.Base = p.old.Gen, p.old.Base
		h.Log, h.LogBytes = extend(p.old.Log, s), p.old.LogBytes+int64(len(p.delta))
	}
	h.Inline = inline(p.old.Inline, Inline{s.from, s.to, p.delta})
}

// imageDue tells whether the log after old's image, with another delta of size bytes, has grown enough for a new image.
func imageDue(old *Head, s step, size int) bool {
	return entries(old.afterBase()) >= compactEntries ||
		len(extend(old.Log, s)) > compactRuns ||
		old.LogBytes+int64(size) > max(old.Base.Bytes/compactShare, compactBytes)
}

// inline returns the newest inline deltas within their bounds.
func inline(old []Inline, next Inline) []Inline {
	all := append(slices.Clone(old), next)
	total, from := 0, len(all)
	for from > 0 && len(all)-from < maxInlines && total+len(all[from-1].Delta) <= maxInlineBytes {
		from--
		total += len(all[from].Delta)
	}
	return all[from:]
}

// ops returns the operations of the commit: all or nothing.
func (p *plan[V]) ops(ctx context.Context, a *attempt[V]) ([]store.Op, error) {
	path := a.w.ref.Path
	var err error
	if p.raw, err = p.head.marshal(a.w.ref.Keys); err != nil {
		return nil, err
	}
	ops := []store.Op{store.Check(clusterPath, p.cluster), a.guard.first}
	if p.delta != nil {
		e := entry{header: entryHeader{From: p.old.Serial, Revision: p.head.Revision}, delta: p.delta}
		b, err := e.marshal()
		if err != nil {
			return nil, err
		}
		ops = append(ops, store.Create(logPath(path, p.head.Serial), b))
	}
	if p.image && p.loaded {
		archived := p.old.archived()
		b, err := archived.marshal(a.w.ref.Keys)
		if err != nil {
			return nil, err
		}
		ops = append(ops, store.Create(historyPath(path, p.old.Gen), b))
	}
	if p.create {
		ops = append(ops, store.Create(headPath(path), p.raw))
	} else {
		ops = append(ops, store.Set(headPath(path), p.raw, p.version))
	}
	if p.image {
		listing, err := listInCatalog(ctx, a.w.s, path)
		if err != nil {
			return nil, err
		}
		if listing != nil && len(listing.Data) <= maxCatalogCommit {
			ops = append(ops, *listing)
		}
	}
	if a.guard.last != nil {
		ops = append(ops, *a.guard.last)
	}
	p.bytes = 0
	for _, op := range ops {
		p.bytes += len(op.Data)
	}
	return ops, nil
}
