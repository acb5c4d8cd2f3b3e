package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/popdns/popdns/internal/store"
)

// An Identity tells the Followers of one store which stores it succeeds. It costs nothing until a Follower meets a head of another cluster: only then
// does it read the store's cluster node, and watches it from there on, once for all of them.
type Identity struct {
	s    store.Store
	keys Keys

	wanted chan struct{} // closed when somebody asks for the first time
	once   sync.Once

	mu  sync.Mutex
	now claim
}

// A claim is the cluster node as it was read last.
type claim struct {
	read    bool
	raw     []byte
	cluster Cluster
	err     error         // why there is none
	signed  error         // why it isn't signed as it must be, nil if it is
	changed chan struct{} // closed by the next claim
}

// NewIdentity returns the Identity of s, in which an adoption counts only if one of the keys to verify with, if there are any, signed it.
func NewIdentity(s store.Store, keys Keys) *Identity {
	return &Identity{s: s, keys: keys, wanted: make(chan struct{}), now: claim{changed: make(chan struct{})}}
}

// Run serves the Followers until ctx ends or the store is closed, and returns that error. Call it once; Followers wait for it.
func (i *Identity) Run(ctx context.Context) error {
	select {
	case <-i.wanted:
	case <-ctx.Done():
		return ctx.Err()
	}
	return i.s.Watch(ctx, clusterPath, func(n store.Node, err error) { i.take(n.Data, err) })
}

func (i *Identity) take(raw []byte, err error) {
	next := claim{read: true, raw: raw, changed: make(chan struct{})}
	switch {
	case errors.Is(err, store.ErrNoNode):
		next.err = ErrNoStore
	case err != nil:
		next.err = fmt.Errorf("read the store's identity: %w", err)
	default:
		next.cluster, next.err = parseCluster(raw)
		next.signed = i.keys.verify(clusterPurpose, raw)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.now.read && bytes.Equal(i.now.raw, raw) && fmt.Sprint(i.now.err) == fmt.Sprint(next.err) {
		return // a new session, not a new claim: thousands of Followers need not ask again
	}
	close(i.now.changed)
	i.now = next
}

func (i *Identity) claim() claim {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.now
}

// succeeds returns nil if the store, whose heads are of the cluster id, says that it succeeds the cluster old. Otherwise the error is a Refusal, and
// changed is closed when another answer is possible. It waits for the first reading of the node as long as ctx allows.
func (i *Identity) succeeds(ctx context.Context, id, old string) (changed <-chan struct{}, err error) {
	i.once.Do(func() { close(i.wanted) })
	now := i.claim()
	for !now.read {
		select {
		case <-now.changed:
			now = i.claim()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	switch {
	case now.err != nil:
		err = refuse(ReasonCluster, "head is of cluster %s, served is %s, and whether the store adopts it can't be told: %w", id, old, now.err)
	case now.cluster.ID != id:
		err = refuse(ReasonCluster, "head is of cluster %s, served is %s, and the store says that it is %s", id, old, now.cluster.ID)
	case !now.cluster.Succeeds(old):
		err = refuse(ReasonCluster, "head is of cluster %s, served is %s: if this store replaces that one, run popctl adopt %[2]s; if not, correct the address", id, old)
	case now.signed != nil:
		err = refuse(ReasonSigned, "head is of cluster %s, served is %s, and the store's adoption of it does not count: %w; run popctl adopt %[2]s with --sign-key", id, old, now.signed)
	}
	return now.changed, err
}
