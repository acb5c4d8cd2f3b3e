package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/popdns/popdns/internal/store"
)

// A CatalogFollower keeps what the catalog says by a reader's rule: what was listed once stays until a tombstone ends it. A catalog that is empty,
// damaged, of another store, not signed as it must be or older changes nothing.
type CatalogFollower struct {
	s    store.Store
	keys Keys
	opts CatalogOptions
	cur  atomic.Pointer[Catalog]

	mu       sync.Mutex // one catalog after the other
	reported report
	retry    retry // of a catalog that was refused for its cluster
}

// CatalogOptions are a CatalogFollower's cache and hooks. All may be zero. The hooks are called one at a time, from LoadCache or Run.
type CatalogOptions struct {
	// Cache keeps what is known for the next start. It is not closed.
	Cache store.Store
	// Identity tells which stores this one succeeds. Without it the catalog of another store is always refused.
	Identity *Identity
	// OnChange is told each catalog after it became current. It must not change it.
	OnChange func(Catalog)
	// OnRefused is told once for each catalog that is refused.
	OnRefused func(Refusal)
	// OnCacheError is told when the cache can't be read or written. It is never fatal.
	OnCacheError func(error)
}

// CatalogPath is where the catalog is.
const CatalogPath = catalogPath

// NewCatalogFollower returns a CatalogFollower of the catalog in s, which a trusted key of keys must have signed, if there are any. It does nothing until
// LoadCache or Run.
func NewCatalogFollower(s store.Store, keys Keys, o CatalogOptions) *CatalogFollower {
	if o.OnChange == nil {
		o.OnChange = func(Catalog) {}
	}
	if o.OnRefused == nil {
		o.OnRefused = func(Refusal) {}
	}
	if o.OnCacheError == nil {
		o.OnCacheError = func(error) {}
	}
	return &CatalogFollower{s: s, keys: keys, opts: o}
}

// Current returns what is known, nil until anything is. The caller must not change it. It may be called at any time by any goroutine.
func (f *CatalogFollower) Current() *Catalog { return f.cur.Load() }

// LoadCache makes what is in the disk cache current: call it before Run to know the zones while the store is out of reach. ErrNoDataset means that there is
// nothing in it.
func (f *CatalogFollower) LoadCache(ctx context.Context) error {
	if f.opts.Cache == nil {
		return ErrNoDataset
	}
	node, err := f.opts.Cache.Get(ctx, catalogPath)
	if errors.Is(err, store.ErrNoNode) {
		return ErrNoDataset
	}
	var c Catalog
	if err == nil {
		c, err = ParseCatalog(node.Data)
	}
	if err != nil {
		err = fmt.Errorf("disk cache: %w", err)
		f.opts.OnCacheError(err)
		return err
	}
	f.cur.Store(&c)
	f.opts.OnChange(c)
	return nil
}

// Run follows the catalog until ctx ends or the store is closed, and returns that error. It waits for all it started. Call it once.
func (f *CatalogFollower) Run(ctx context.Context) error {
	err := f.s.Watch(ctx, catalogPath, func(n store.Node, err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.seen(ctx, n, err)
	})
	f.mu.Lock()
	f.retry.end()
	f.mu.Unlock()
	f.retry.wait()
	return err
}

// seen deals with the catalog as it was read.
func (f *CatalogFollower) seen(ctx context.Context, n store.Node, err error) {
	f.retry.cancel()
	if err != nil {
		f.refuse([]byte(err.Error()), Refusal{Reason: ReasonHead, Err: fmt.Errorf("catalog: %w", err)})
		return
	}
	next, err := f.take(ctx, n.Data)
	if err != nil {
		if r, refused := asRefusal(err, 0); refused {
			f.refuse(n.Data, r)
		}
		return
	}
	f.reported = report{}
	if next == nil {
		return
	}
	f.cur.Store(next)
	f.opts.OnChange(*next)
	if err := f.save(ctx, next); err != nil {
		f.opts.OnCacheError(fmt.Errorf("disk cache: save the catalog: %w", err))
	}
}

// lookAgain reads the catalog without having been told of a change.
func (f *CatalogFollower) lookAgain(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.retry.ended || ctx.Err() != nil {
		return
	}
	n, err := f.s.Get(ctx, catalogPath)
	f.seen(ctx, n, err)
}

func (f *CatalogFollower) refuse(node []byte, r Refusal) {
	now := report{digestOf(node), r.Reason}
	if f.reported != now {
		f.reported = now
		f.opts.OnRefused(r)
	}
}

// take returns what is known after a catalog was read: nil if nothing has changed. The error is a Refusal, or the context's.
func (f *CatalogFollower) take(ctx context.Context, node []byte) (*Catalog, error) {
	cur := f.cur.Load()
	of := digestOf(node)
	if len(node) <= store.MaxNodeBytes {
		if err := f.keys.verify(catalogPurpose, node); err != nil {
			return nil, refuse(ReasonSigned, "catalog: %w", err)
		}
	}
	if cur != nil && cur.Of == of {
		return nil, nil
	}
	next, err := ParseCatalog(node)
	if err != nil {
		return nil, err
	}
	next.Of = of
	adopted, err := f.adopted(ctx, cur, &next)
	if err != nil {
		return nil, err
	}
	return cur.step(next, adopted)
}

// adopted tells whether next is of another store than cur, which says that it succeeds cur's. Its error refuses next, or is the context's; when
// another answer is possible, the catalog is looked at again.
func (f *CatalogFollower) adopted(ctx context.Context, cur, next *Catalog) (bool, error) {
	if cur == nil || next.Cluster == "" || next.Cluster == cur.Cluster || f.opts.Identity == nil {
		return false, nil
	}
	changed, err := f.opts.Identity.succeeds(ctx, next.Cluster, cur.Cluster)
	if err != nil && changed != nil {
		f.retry.when(changed, func() { f.lookAgain(ctx) })
	}
	return err == nil, err
}

// step returns what is known after next, c being what was known before, nil for nothing. The cluster is that of the first catalog, the disk cache's
// included, unless next's store adopted it. The revision never goes back within an epoch of a cluster: after a restore, for which an operator raises the
// epoch, it may.
func (c *Catalog) step(next Catalog, adopted bool) (*Catalog, error) {
	if next.Cluster == "" {
		return nil, refuse(ReasonCluster, "catalog names no cluster: an earlier popctl wrote it; publish a new zone with this one")
	}
	if c == nil {
		return &next, nil
	}
	switch {
	case adopted:
	case next.Cluster != c.Cluster:
		return nil, refuse(ReasonCluster, "catalog is of cluster %s, served is %s", next.Cluster, c.Cluster)
	case next.Epoch < c.Epoch:
		return nil, refuse(ReasonCluster, "catalog is of epoch %d, served is %d", next.Epoch, c.Epoch)
	case next.Epoch == c.Epoch && next.Rev < c.Rev:
		return nil, refuse(ReasonSerial, "catalog has revision %d, older than the known %d", next.Rev, c.Rev)
	case next.Epoch == c.Epoch && next.Rev == c.Rev:
		return nil, refuse(ReasonSerial, "catalog has other content under the known revision %d", next.Rev)
	}
	next.Zones = next.keep(zonesDir, c.Zones)
	next.Maps = next.keep(mapsDir, c.Maps)
	return &next, nil
}

// keep returns c's list of dir with those of known that no tombstone ends.
func (c *Catalog) keep(dir string, known []string) []string {
	list := *c.list(dir)
	var missing []string
	for _, key := range known {
		path := store.Join(dir, key)
		if _, dead := c.tombstone(path); !dead && !c.Lists(path) {
			missing = append(missing, key)
		}
	}
	if missing == nil {
		return list
	}
	list = slices.Concat(list, missing)
	slices.SortFunc(list, strings.Compare)
	return list
}

// save writes what is known to the disk cache; unsigned, like all that is in it.
func (f *CatalogFollower) save(ctx context.Context, c *Catalog) error {
	if f.opts.Cache == nil {
		return nil
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	err = f.opts.Cache.Commit(ctx, store.Set(catalogPath, data, store.AnyVersion))
	if errors.Is(err, store.ErrNoNode) {
		if err = store.MkdirAll(ctx, f.opts.Cache, ""); err == nil {
			err = f.opts.Cache.Commit(ctx, store.Create(catalogPath, data))
		}
	}
	return err
}
