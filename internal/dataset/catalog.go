package dataset

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/popdns/popdns/internal/store"
)

const (
	catalogPath = "catalog"
	// maxCatalogCommit is the largest catalog that rides in the commit of a new dataset's first version; together with a
	// delta, two heads and what the store adds it stays below store.MaxNodeBytes. A larger one is set by itself afterwards.
	maxCatalogCommit = 256 << 10
	// maxTombstones bounds a catalog's tombstones: some 400 KB, which leaves room for 20,000 zones.
	maxTombstones = 4096
	// keepTombstones is how long a tombstone stays at least: a reader that was away for longer may go on serving what was removed.
	keepTombstones = 7 * 24 * time.Hour
	// catalogTries bounds how often an update is repeated because somebody else's came first: several publishers at once.
	catalogTries = 20
)

// Catalog lists the datasets that exist, by the last component of their paths, and those that were removed on purpose. All lists are sorted.
// That something is in no list says nothing about it: only a tombstone ends a dataset.
type Catalog struct {
	Cluster string      `json:"cluster"` // as in heads
	Epoch   int64       `json:"epoch"`
	Rev     int64       `json:"rev"` // grows with each change
	Zones   []string    `json:"zones"`
	Maps    []string    `json:"maps"`
	Removed []Tombstone `json:"removed,omitempty"`
	// Of is the SHA-256 of the catalog that a disk cache's was made of; nothing in the store states it.
	Of Digest `json:"of,omitzero"`
}

// A Tombstone says that a dataset was removed on purpose. It goes when the dataset is published again, which has a newer serial.
type Tombstone struct {
	Path   string    `json:"path"`             // "zones/example.org"
	Serial uint32    `json:"serial,omitempty"` // of its last version, 0 if nobody could tell
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"`
}

// ParseCatalog reads and checks a catalog, but not its signature. Fields that it does not know are left alone. The error is a Refusal.
func ParseCatalog(b []byte) (Catalog, error) {
	var c Catalog
	if len(b) > store.MaxNodeBytes {
		return c, refuse(ReasonSize, "catalog of %d bytes, at most %d", len(b), store.MaxNodeBytes)
	}
	if err := json.Unmarshal(body(b), &c); err != nil {
		return Catalog{}, refuse(ReasonHead, "catalog: %w", err)
	}
	if err := c.check(); err != nil {
		return Catalog{}, refuse(ReasonHead, "catalog: %w", err)
	}
	return c, nil
}

func (c *Catalog) check() error {
	if len(c.Cluster) > maxIDBytes || c.Epoch < 0 || c.Rev < 0 {
		return fmt.Errorf("cluster id of %d bytes, epoch %d, revision %d", len(c.Cluster), c.Epoch, c.Rev)
	}
	if len(c.Removed) > maxTombstones {
		return fmt.Errorf("%d tombstones, at most %d", len(c.Removed), maxTombstones)
	}
	for _, dir := range []string{zonesDir, mapsDir} {
		for i, key := range *c.list(dir) {
			if err := checkKey(dir, key); err != nil {
				return err
			}
			if i > 0 && (*c.list(dir))[i-1] >= key {
				return fmt.Errorf("%s: %q is not in order, or twice", dir, key)
			}
		}
	}
	for i, t := range c.Removed {
		dir, key, _ := strings.Cut(t.Path, "/")
		list := c.list(dir)
		if list == nil {
			return fmt.Errorf("tombstone of %q", t.Path)
		}
		if err := checkKey(dir, key); err != nil {
			return err
		}
		if i > 0 && c.Removed[i-1].Path >= t.Path {
			return fmt.Errorf("tombstone of %q is not in order, or twice", t.Path)
		}
		if _, listed := slices.BinarySearch(*list, key); listed {
			return fmt.Errorf("%q is listed and has a tombstone", t.Path)
		}
		if len(t.By) > maxByBytes {
			return fmt.Errorf("tombstone of %q: a name of %d bytes, at most %d", t.Path, len(t.By), maxByBytes)
		}
	}
	return nil
}

// checkKey tells whether key can be the last component of a path in dir, in the one form that ZonePath or MapPath gives it.
func checkKey(dir, key string) error {
	if key == "" || len(key) > maxNameBytes-len(dir)-1 || strings.ContainsRune(key, '/') || store.CheckPath(key) != nil {
		return fmt.Errorf("%s: %.100q is no key", dir, key)
	}
	if dir == zonesDir && zoneKey(ZoneName(key)) != key {
		return fmt.Errorf("%s: %.100q is not how a zone's name is written", dir, key)
	}
	return nil
}

// list returns the list of the datasets in dir, nil when the catalog has none of it.
func (c *Catalog) list(dir string) *[]string {
	switch dir {
	case zonesDir:
		return &c.Zones
	case mapsDir:
		return &c.Maps
	}
	return nil
}

// Tombstone returns the tombstone of the dataset at path.
func (c *Catalog) Tombstone(path string) (Tombstone, bool) {
	if i, found := c.tombstone(path); found {
		return c.Removed[i], true
	}
	return Tombstone{}, false
}

func (c *Catalog) tombstone(path string) (int, bool) {
	return slices.BinarySearchFunc(c.Removed, path, func(t Tombstone, path string) int { return strings.Compare(t.Path, path) })
}

// Lists tells whether the dataset at path is in the catalog.
func (c *Catalog) Lists(path string) bool {
	dir, key, _ := strings.Cut(path, "/")
	list := c.list(dir)
	if list == nil {
		return false
	}
	_, found := slices.BinarySearch(*list, key)
	return found
}

// add lists the dataset at path, which ends its tombstone. It reports whether that changed anything.
func (c *Catalog) add(path string) bool {
	dir, key, _ := strings.Cut(path, "/")
	list := c.list(dir)
	if list == nil {
		return false
	}
	at, listed := slices.BinarySearch(*list, key)
	if !listed {
		*list = slices.Insert(*list, at, key)
	}
	i, dead := c.tombstone(path)
	if dead {
		c.Removed = slices.Delete(c.Removed, i, i+1)
	}
	return dead || !listed
}

// bury takes the dataset off its list and puts up the tombstone. Where there is no room, the oldest tombstones go, if they stood long enough; dropped are
// their paths.
func (c *Catalog) bury(t Tombstone) (dropped []string, err error) {
	dir, key, _ := strings.Cut(t.Path, "/")
	list := c.list(dir)
	if list == nil {
		return nil, fmt.Errorf("%s is in no list of the catalog", t.Path)
	}
	if at, listed := slices.BinarySearch(*list, key); listed {
		*list = slices.Delete(*list, at, at+1)
	}
	i, dead := c.tombstone(t.Path)
	if dead {
		c.Removed[i] = t
		return nil, nil
	}
	for len(c.Removed) >= maxTombstones {
		oldest := 0
		for j := range c.Removed {
			if c.Removed[j].At.Before(c.Removed[oldest].At) {
				oldest = j
			}
		}
		if age := t.At.Sub(c.Removed[oldest].At); age < keepTombstones {
			return nil, fmt.Errorf("%d datasets were removed within %d days, and the catalog keeps no more tombstones: wait until the oldest, of %s, is older",
				maxTombstones, keepTombstones/(24*time.Hour), c.Removed[oldest].At.Format(time.RFC3339))
		}
		dropped = append(dropped, c.Removed[oldest].Path)
		c.Removed = slices.Delete(c.Removed, oldest, oldest+1)
	}
	i, _ = c.tombstone(t.Path)
	c.Removed = slices.Insert(c.Removed, i, t)
	return dropped, nil
}

// marshal returns the node, signed if there is a key.
func (c *Catalog) marshal(keys Keys) ([]byte, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	if b = keys.seal(catalogPurpose, b); len(b) > store.MaxNodeBytes {
		return nil, fmt.Errorf("catalog of %d zones, %d maps and %d tombstones: %d bytes, at most %d: %w",
			len(c.Zones), len(c.Maps), len(c.Removed), len(b), store.MaxNodeBytes, store.ErrTooLarge)
	}
	return b, nil
}

// ReadCatalog returns the catalog, ErrNoStore if there is none, whoever signed it.
func ReadCatalog(ctx context.Context, r store.Reader) (Catalog, error) {
	c, err := readCatalog(ctx, r, Keys{})
	return c.Catalog, err
}

// ListDatasets returns the keys of the datasets in dir ("zones" or "maps") that the catalog lists; see ZoneName.
func ListDatasets(ctx context.Context, r store.Reader, dir string) ([]string, error) {
	c, err := ReadCatalog(ctx, r)
	if err != nil {
		return nil, err
	}
	list := c.list(dir)
	if list == nil {
		return nil, fmt.Errorf("the catalog has no list of %q", dir)
	}
	return *list, nil
}

// A catalogNode is the catalog as a writer finds it.
type catalogNode struct {
	Catalog
	version int32
	fault   error // why it is not signed as the keys want it
}

func readCatalog(ctx context.Context, r store.Reader, keys Keys) (catalogNode, error) {
	node, err := r.Get(ctx, catalogPath)
	if errors.Is(err, store.ErrNoNode) {
		return catalogNode{}, ErrNoStore
	}
	c := catalogNode{version: node.Version}
	if err == nil {
		c.Catalog, err = ParseCatalog(node.Data)
	}
	if err != nil {
		return catalogNode{}, fmt.Errorf("read the catalog: %w", err)
	}
	c.fault = keys.verify(catalogPurpose, node.Data)
	return c, nil
}

// mayBuild tells whether a writer may change the catalog and sign it. One that no trusted key signed is no ground to build on, see Keys.trusted, unless
// it says nothing yet, or force takes it as it is.
func (c *catalogNode) mayBuild(force bool) error {
	if c.fault == nil || force || c.Rev == 0 {
		return nil
	}
	return refuse(ReasonSigned, "catalog: %w; look at what it lists (popctl zone list --removed), then --force signs it as it is", c.fault)
}

// set returns the operation that puts c, changed, in the place of what was read.
func (c *catalogNode) set(keys Keys, cluster Cluster) (store.Op, error) {
	c.Cluster, c.Epoch = cluster.ID, cluster.Epoch
	c.Rev++
	data, err := c.marshal(keys)
	if err != nil {
		return store.Op{}, err
	}
	return store.Set(catalogPath, data, c.version), nil
}

// listInCatalog returns the operation that adds the dataset at path to the catalog, nil if it is there or needs no listing.
func listInCatalog(ctx context.Context, r store.Reader, keys Keys, cluster Cluster, path string, force bool) (*store.Op, error) {
	dir, _, _ := strings.Cut(path, "/")
	if (&Catalog{}).list(dir) == nil {
		return nil, nil
	}
	c, err := readCatalog(ctx, r, keys)
	if err != nil {
		return nil, err
	}
	// One that is not signed as it must be holds up no version that needs no change of it.
	if !c.add(path) && (c.fault == nil || !force) {
		return nil, nil
	}
	if err := c.mayBuild(force); err != nil {
		return nil, err
	}
	op, err := c.set(keys, cluster)
	return &op, err
}

// ListAll adds the datasets at paths to the catalog and ends their tombstones, in one write. It is what a [Commit] that was Unlisted still owes. Repeating
// it is harmless.
func ListAll(ctx context.Context, s store.Store, keys Keys, paths []string, force bool) error {
	for range catalogTries {
		cluster, version, err := readCluster(ctx, s)
		if err != nil {
			return err
		}
		if err := checkFreeze(ctx, s); err != nil {
			return err
		}
		c, err := readCatalog(ctx, s, keys)
		if err == nil {
			err = c.mayBuild(force)
		}
		if err != nil {
			return err
		}
		changed := c.fault != nil
		for _, path := range paths {
			changed = c.add(path) || changed
		}
		if !changed {
			return nil
		}
		op, err := c.set(keys, cluster)
		if err != nil {
			return err
		}
		err = s.Commit(ctx, store.Check(clusterPath, version), op)
		if !errors.Is(err, store.ErrVersion) && !errors.Is(err, store.ErrUnknownOutcome) {
			return err // nil too
		}
	}
	return fmt.Errorf("change the catalog: %w", ErrConflict)
}

// digestOf identifies what a catalog node says, whoever signed it.
func digestOf(node []byte) Digest { return sha256.Sum256(body(node)) }
