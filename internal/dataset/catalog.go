package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/popdns/popdns/internal/store"
)

const (
	catalogPath = "catalog"
	// maxCatalogCommit is the largest catalog that rides in the commit of a new dataset's first version; together with a
	// delta, two heads and what the store adds it stays below store.MaxNodeBytes. A larger one is set by itself afterwards.
	maxCatalogCommit = 256 << 10
)

// Catalog lists the datasets that exist, by the last component of their paths, sorted.
type Catalog struct {
	Rev   int64    `json:"rev"`
	Zones []string `json:"zones"`
	Maps  []string `json:"maps"`
}

// ReadCatalog returns the catalog, ErrNoStore if there is none.
func ReadCatalog(ctx context.Context, r store.Reader) (Catalog, error) {
	c, _, err := readCatalog(ctx, r)
	return c, err
}

func readCatalog(ctx context.Context, r store.Reader) (Catalog, int32, error) {
	node, err := r.Get(ctx, catalogPath)
	if errors.Is(err, store.ErrNoNode) {
		return Catalog{}, 0, ErrNoStore
	}
	if err != nil {
		return Catalog{}, 0, fmt.Errorf("read the catalog: %w", err)
	}
	var c Catalog
	if err := decodeJSON(node.Data, store.MaxNodeBytes, &c); err != nil {
		return Catalog{}, 0, fmt.Errorf("read the catalog: %w", err)
	}
	return c, node.Version, nil
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

func (c *Catalog) list(dir string) *[]string {
	switch dir {
	case zonesDir:
		return &c.Zones
	case mapsDir:
		return &c.Maps
	}
	return nil
}

// listInCatalog returns the operation that adds the dataset at path to the catalog, nil if it is there or needs no listing.
func listInCatalog(ctx context.Context, r store.Reader, path string) (*store.Op, error) {
	dir, key, _ := strings.Cut(path, "/")
	if (&Catalog{}).list(dir) == nil {
		return nil, nil
	}
	c, version, err := readCatalog(ctx, r)
	if err != nil {
		return nil, err
	}
	list := c.list(dir)
	at, found := slices.BinarySearch(*list, key)
	if found {
		return nil, nil
	}
	*list = slices.Insert(*list, at, key)
	c.Rev++
	data, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	op := store.Set(catalogPath, data, version)
	return &op, nil
}
