package dataset

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"
)

// follow makes a version of a head: nil if it is the current one already. deltas led to it from the current version; nil means
// that an image was loaded, or that the store confirmed what the disk cache held.
func (f *Follower[V]) follow(ctx context.Context, raw []byte) (v *Version[V], deltas []delta, err error) {
	cur := f.Current()
	if cur != nil && cur.Source == Live && bytes.Equal(cur.HeadBytes, raw) {
		return nil, nil, nil
	}
	head, err := f.ref.parseHead(raw)
	if err != nil {
		return nil, nil, err
	}
	v = &Version[V]{Head: head, HeadBytes: raw, Source: Live, Received: time.Now()}
	from := cur // the version that deltas may lead from
	if cur != nil {
		adopted, err := f.adopted(ctx, &cur.Head, &head)
		if err != nil {
			return nil, nil, err
		}
		if err := mayFollow(&cur.Head, &head, adopted); err != nil {
			return nil, nil, Refusal{head.Serial, err.Reason, err.Err}
		}
		if cur.Head.sameVersion(&head) {
			v.Value = cur.Value
			return v, nil, nil
		}
		if adopted {
			from = nil // another store's log goes on from its own versions
		}
	}
	v.Value, deltas, err = loader[V]{f.s, f.ref}.reach(ctx, from, &head)
	if err != nil {
		if r, refused := asRefusal(err, head.Serial); refused {
			err = Refusal{head.Serial, r.Reason, err}
		}
		return nil, nil, err
	}
	if err := f.opts.Accept(cur, v); err != nil {
		return nil, nil, Refusal{head.Serial, ReasonGuard, fmt.Errorf("serial %d: %w", head.Serial, err)}
	}
	return v, deltas, nil
}

// passed yields the values that deltas, which were applied before without error, make of value one after the other.
func (f *Follower[V]) passed(value V, deltas []delta) iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, d := range deltas {
			var err error
			if value, err = f.ref.Codec.Apply(value, d.bytes); err != nil {
				return // not a second time
			}
			if value, err = (loader[V]{f.s, f.ref}).settle(value, d.to); err != nil || !yield(value) {
				return
			}
		}
	}
}

// adopted tells whether next is of another store than cur, which says that it succeeds cur's. Its error refuses next, or is the context's; what
// f.identity announces may end the refusal.
func (f *Follower[V]) adopted(ctx context.Context, cur, next *Head) (bool, error) {
	f.identity = nil
	if next.Cluster == cur.Cluster {
		return false, nil
	}
	if f.opts.Identity == nil {
		return false, Refusal{next.Serial, ReasonCluster, fmt.Errorf("head is of cluster %s, served is %s", next.Cluster, cur.Cluster)}
	}
	changed, err := f.opts.Identity.succeeds(ctx, next.Cluster, cur.Cluster)
	f.identity = changed
	if r, refused := asRefusal(err, next.Serial); refused {
		err = Refusal{next.Serial, r.Reason, err}
	}
	return err == nil, err
}

// mayFollow tells whether a head may come after the current one, which is of the same cluster unless it was adopted. The serial never goes back,
// adoption included, and neither does the epoch, which counts within a cluster. A serial stands for one content: after a restore an operator must publish
// above what the edges already serve.
func mayFollow(cur, next *Head, adopted bool) *Refusal {
	fail := func(reason, format string, args ...any) *Refusal {
		r := refuse(reason, format, args...)
		return &r
	}
	switch {
	case !adopted && next.Epoch < cur.Epoch:
		return fail(ReasonCluster, "head is of epoch %d, served is %d: if an older store was restored on purpose, run popctl adopt --epoch %[2]d and publish again",
			next.Epoch, cur.Epoch)
	case next.sameVersion(cur), newer(next.Serial, cur.Serial), adopted && next.sameContent(cur):
		return nil
	case next.Serial == cur.Serial:
		return fail(ReasonSerial, "head has other content under the served serial %d: publish with a higher one", cur.Serial)
	}
	return fail(ReasonSerial, "head has serial %d, older than the served %d: publish with a higher one", next.Serial, cur.Serial)
}

// MayFollow tells why an edge that serves cur would refuse next for what the two heads say, nil if it wouldn't. A next of another cluster counts as
// adopted. The error is a Refusal.
func MayFollow(cur, next *Head) error {
	if r := mayFollow(cur, next, cur.Cluster != next.Cluster); r != nil {
		return *r
	}
	return nil
}

// backoff returns how long to wait after a number of failures in a row: twice as long each time, plus or minus a quarter so
// that edges do not ask in step.
func backoff(failures int) time.Duration {
	d := retryMax
	if failures < 10 {
		d = min(retryMin<<failures, retryMax)
	}
	return d - d/4 + rand.N(d/2) //nolint:gosec // jitter needs no secrecy
}
