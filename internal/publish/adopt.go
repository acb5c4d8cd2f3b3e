package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store"
)

// An IdentityReceipt says what a change of the store's identity did.
type IdentityReceipt struct {
	dataset.Cluster
	Changed  bool
	OldEpoch int64
	Added    []string // ids that are adopted now
	Removed  []string // ids that are not adopted any more
	// Dropped are adoptions that were not signed by a key that is trusted, and went because something else was written.
	Dropped []string
}

// ErrOwnIdentity is wrapped by the error of Adopt when a store shall adopt itself.
var ErrOwnIdentity = errors.New("that is this store's own id: its edges follow it already; if it went back to an older state, see --restore and --epoch")

// Adopt lets the store succeed those with the ids, so that edges with their data take this store's.
func (p *Publisher) Adopt(ctx context.Context, ids ...string) (*IdentityReceipt, error) {
	return p.identity(ctx, func(c *dataset.Cluster) error {
		for _, id := range ids {
			if id == c.ID {
				return fmt.Errorf("adopt %s: %w", id, ErrOwnIdentity)
			}
			if err := c.Adopt(id, p.o.By); err != nil {
				return fmt.Errorf("adopt %s: %w", id, err)
			}
		}
		return nil
	})
}

// UndoAdopt takes adoptions back. Edges that have followed stay; those that have not are frozen again.
func (p *Publisher) UndoAdopt(ctx context.Context, ids ...string) (*IdentityReceipt, error) {
	return p.identity(ctx, func(c *dataset.Cluster) error {
		c.Adopts = slices.DeleteFunc(c.Adopts, func(a dataset.Adoption) bool { return slices.Contains(ids, a.ID) })
		if len(c.Adopts) == 0 {
			c.Adopts = nil
		}
		return nil
	})
}

// maxEpochStep bounds by how much an epoch is raised at once: it can't be lowered, so a slip of the finger must not use them up.
const maxEpochStep = 1000

// ErrEpoch is wrapped by the error of RaiseEpoch when the store is beyond it.
var ErrEpoch = errors.New("the epoch never goes back")

// RaiseEpoch sets the store's epoch, which what is committed from now on bears: an edge that has seen it takes nothing of an earlier epoch.
func (p *Publisher) RaiseEpoch(ctx context.Context, epoch int64) (*IdentityReceipt, error) {
	return p.identity(ctx, func(c *dataset.Cluster) error {
		switch {
		case epoch < c.Epoch:
			return fmt.Errorf("epoch %d: %w, and it is %d", epoch, ErrEpoch, c.Epoch)
		case epoch-c.Epoch > maxEpochStep:
			return fmt.Errorf("epoch %d: it is %d, and raised by at most %d at once, since it can't be lowered", epoch, c.Epoch, maxEpochStep)
		}
		c.Epoch = epoch
		return nil
	})
}

// Identity reads the store's.
func (p *Publisher) Identity(ctx context.Context) (dataset.Cluster, error) {
	return dataset.ReadCluster(ctx, p.s)
}

func (p *Publisher) identity(ctx context.Context, edit func(*dataset.Cluster) error) (*IdentityReceipt, error) {
	if err := checkFreeze(ctx, p.s); err != nil {
		return nil, err
	}
	r := &IdentityReceipt{}
	var before dataset.Cluster
	c, changed, dropped, err := dataset.AmendCluster(ctx, p.s, p.o.Keys, func(c *dataset.Cluster) error {
		before = *c
		before.Adopts = slices.Clone(c.Adopts)
		return edit(c)
	})
	if err != nil {
		return nil, err
	}
	r.Cluster, r.Changed, r.OldEpoch = c, changed, before.Epoch
	for _, a := range c.Adopts {
		if !before.Succeeds(a.ID) {
			r.Added = append(r.Added, a.ID)
		}
	}
	for _, a := range before.Adopts {
		if !c.Succeeds(a.ID) {
			r.Removed = append(r.Removed, a.ID)
		}
	}
	for _, a := range dropped {
		if !c.Succeeds(a.ID) && changed {
			r.Dropped = append(r.Dropped, a.ID)
		}
	}
	return r, nil
}

// A Cached is one dataset of an edge's disk cache, compared with the store.
type Cached struct {
	Path   string `json:"path"`
	Serial uint32 `json:"serial"` // in the cache
	Items  int    `json:"items"`
	Stored uint32 `json:"stored_serial"` // in the store, 0 for none
	// Refused tells why an edge with this cache refuses what is in the store, "" if it doesn't.
	Refused string `json:"refused,omitempty"`
	// New is the serial under which the cache's version was published, 0 if it wasn't.
	New uint32 `json:"new_serial,omitempty"`

	head dataset.Head
}

// A CacheReceipt says what adopting the stores of a disk cache did.
type CacheReceipt struct {
	*IdentityReceipt
	Datasets []Cached
}

// CompareCache tells of each dataset in an edge's disk cache whether that edge takes what the store has, adoption provided. It writes nothing. The error
// wraps dataset.ErrNoDataset when there is nothing in the cache.
func (p *Publisher) CompareCache(ctx context.Context, cache store.Reader) ([]Cached, error) {
	paths, err := dataset.ListPaths(ctx, cache)
	if err != nil {
		return nil, fmt.Errorf("disk cache: %w", err)
	}
	var out []Cached
	for _, path := range paths {
		head, err := readHead(ctx, cache, path)
		if errors.Is(err, store.ErrNoNode) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("disk cache: %s: %w", path, err)
		}
		c := Cached{Path: path, Serial: head.Serial, Items: head.Items, head: *head}
		stored, err := readHead(ctx, p.s, path)
		var refusal dataset.Refusal
		switch {
		case errors.Is(err, store.ErrNoNode):
			c.Refused = "the store does not have it"
		case errors.As(err, &refusal):
			c.Refused = refusal.Error()
		case err != nil:
			return nil, fmt.Errorf("%s: %w", path, err)
		default:
			c.Stored = stored.Serial
			if err := dataset.MayFollow(head, stored); err != nil {
				c.Refused = err.Error()
			}
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("disk cache: %w", dataset.ErrNoDataset)
	}
	return out, nil
}

func readHead(ctx context.Context, r store.Reader, path string) (*dataset.Head, error) {
	node, err := r.Get(ctx, store.Join(path, "head"))
	if err != nil {
		return nil, err
	}
	head, err := dataset.ParseHead(node.Data)
	return &head, err
}

// AdoptCache lets the store succeed all those that the disk cache has data of. With restore it first publishes, under higher serials, what
// is in the cache and would be refused in the store: at the edge everything changes at once, by the adoption at the end. If it was this store, before it
// went back to an older state, its epoch is raised above the cache's, so that no copy of it can come back.
func (p *Publisher) AdoptCache(ctx context.Context, cache store.Reader, restore bool) (*CacheReceipt, error) {
	own, err := p.Identity(ctx)
	if err != nil {
		return nil, err
	}
	datasets, err := p.CompareCache(ctx, cache)
	if err != nil {
		return nil, err
	}
	out := &CacheReceipt{Datasets: datasets}
	ids, epoch := predecessors(datasets, own)
	raised := &IdentityReceipt{Cluster: own, OldEpoch: own.Epoch}
	if epoch > own.Epoch {
		if raised, err = p.RaiseEpoch(ctx, epoch); err != nil {
			return nil, err
		}
	}
	if restore {
		for i := range datasets {
			if err := p.restore(ctx, cache, &datasets[i]); err != nil {
				return nil, fmt.Errorf("%w; what came before it is published, and nothing is adopted yet: run this again", err)
			}
		}
	}
	if out.IdentityReceipt, err = p.Adopt(ctx, ids...); err != nil {
		return nil, err
	}
	out.OldEpoch, out.Changed = raised.OldEpoch, out.Changed || raised.Changed
	out.Dropped = append(out.Dropped, raised.Dropped...)
	return out, nil
}

// predecessors returns the other stores that datasets come from, and the epoch that the store needs if it is one of them, in an older state.
func predecessors(datasets []Cached, own dataset.Cluster) (ids []string, epoch int64) {
	behind := false
	for _, d := range datasets {
		if d.head.Cluster != own.ID {
			ids = append(ids, d.head.Cluster)
			continue
		}
		epoch, behind = max(epoch, d.head.Epoch), behind || d.Refused != ""
	}
	if behind {
		epoch++
	}
	slices.Sort(ids)
	return slices.Compact(ids), epoch
}

// An AdoptionPlan is what AdoptCache would do.
type AdoptionPlan struct {
	Datasets []Cached `json:"datasets"`
	Restore  bool     `json:"restore"` // those that are refused would be published
	Adopt    []string `json:"adopt"`   // ids that are not adopted yet
	OldEpoch int64    `json:"old_epoch"`
	Epoch    int64    `json:"epoch"`
}

// Empty tells that nothing would be written.
func (a *AdoptionPlan) Empty() bool {
	refused := slices.ContainsFunc(a.Datasets, func(d Cached) bool { return d.Refused != "" })
	return len(a.Adopt) == 0 && a.Epoch == a.OldEpoch && (!a.Restore || !refused)
}

// PlanAdoption tells what AdoptCache would do, without writing.
func (p *Publisher) PlanAdoption(ctx context.Context, cache store.Reader, restore bool) (*AdoptionPlan, error) {
	own, err := p.Identity(ctx)
	if err != nil {
		return nil, err
	}
	datasets, err := p.CompareCache(ctx, cache)
	if err != nil {
		return nil, err
	}
	ids, epoch := predecessors(datasets, own)
	ids = slices.DeleteFunc(ids, own.Succeeds)
	return &AdoptionPlan{Datasets: datasets, Restore: restore, Adopt: append([]string{}, ids...), OldEpoch: own.Epoch, Epoch: max(epoch, own.Epoch)}, nil
}
