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
	if cur != nil {
		if err := mayFollow(&cur.Head, &head); err != nil {
			return nil, nil, Refusal{head.Serial, err.Reason, err.Err}
		}
		if cur.Head.sameVersion(&head) {
			v.Value = cur.Value
			return v, nil, nil
		}
	}
	ref := f.ref
	if cur != nil {
		ref = ref.serving()
	}
	v.Value, deltas, err = loader[V]{f.s, ref}.reach(ctx, cur, &head)
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

// mayFollow tells whether a head may come after the current one. The cluster is that of the first version, the disk cache's
// included: a store that was wiped or replaced changes nothing. The epoch and the serial never go back, and a serial stands for
// one content: after a restore an operator must publish above what the edges already serve.
func mayFollow(cur, next *Head) *Refusal {
	fail := func(reason, format string, args ...any) *Refusal {
		r := refuse(reason, format, args...)
		return &r
	}
	switch {
	case next.Cluster != cur.Cluster:
		return fail(ReasonCluster, "head is of cluster %s, served is %s: remove the disk cache and restart to adopt it", next.Cluster, cur.Cluster)
	case next.Epoch < cur.Epoch:
		return fail(ReasonCluster, "head is of epoch %d, served is %d", next.Epoch, cur.Epoch)
	case next.sameVersion(cur), newer(next.Serial, cur.Serial):
		return nil
	case next.Serial == cur.Serial:
		return fail(ReasonSerial, "head has other content under the served serial %d: publish with a higher one", cur.Serial)
	}
	return fail(ReasonSerial, "head has serial %d, older than the served %d: publish with a higher one", next.Serial, cur.Serial)
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
