package dataset

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/popdns/popdns/internal/store"
)

const (
	clusterPath = "cluster"
	freezePath  = "freeze"
	blobsDir    = "blobs"

	// maxSmallBytes bounds the small JSON nodes: cluster, freeze, spec, heartbeat.
	maxSmallBytes = 16 << 10
)

// Cluster is a store's identity. Readers keep to the ID of the first head they see, so that a wiped store, or another one at the same
// address, can't replace their data until an operator lets the new store adopt the old one's id; Epoch is raised by an operator who restored the
// store from a backup.
type Cluster struct {
	ID      string    `json:"id"`
	Epoch   int64     `json:"epoch"`
	Created time.Time `json:"created"`
	// Adopts are the stores that this one succeeds: an edge that has a version of one of them takes this one's.
	Adopts []Adoption `json:"adopts,omitempty"`
}

// An Adoption says that a store succeeds another one.
type Adoption struct {
	ID string    `json:"id"` // of the store that is succeeded
	By string    `json:"by,omitempty"`
	At time.Time `json:"at"`
}

// MaxAdoptions bounds Cluster.Adopts: a store has few predecessors whose data some edge still serves.
const MaxAdoptions = 16

// Succeeds tells whether the store takes the place of the one with that id.
func (c *Cluster) Succeeds(id string) bool {
	return slices.ContainsFunc(c.Adopts, func(a Adoption) bool { return a.ID == id })
}

// Init makes a store ready for use: the root, the identity, the catalog and the parents of all datasets. A store that is
// ready is left alone, and created is false. It may be repeated after any error and called by several processes at once.
func Init(ctx context.Context, s store.Store) (cluster Cluster, created bool, err error) {
	fail := func(err error) (Cluster, bool, error) {
		return Cluster{}, false, fmt.Errorf("initialise the store: %w", err)
	}
	for _, dir := range []string{"", zonesDir, mapsDir, canariesDir, PoPsPath, blobsDir} {
		if err := store.MkdirAll(ctx, s, dir); err != nil {
			return fail(err)
		}
	}
	mine := Cluster{ID: newUUID(), Epoch: 1, Created: now()}
	if err := createOnce(ctx, s, clusterPath, mine); err != nil {
		return fail(err)
	}
	cluster, err = ReadCluster(ctx, s)
	if err != nil {
		return fail(err)
	}
	empty := Catalog{Cluster: cluster.ID, Epoch: cluster.Epoch, Zones: []string{}, Maps: []string{}}
	if err := createOnce(ctx, s, catalogPath, empty); err != nil {
		return fail(err)
	}
	return cluster, cluster.ID == mine.ID, nil
}

// createOnce creates a node unless somebody else did. Whether a lost reply meant yes is seen by whoever reads it.
func createOnce(ctx context.Context, s store.Store, path string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	err = s.Commit(ctx, store.Create(path, data))
	if errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrUnknownOutcome) {
		return nil
	}
	return err
}

// ReadCluster returns the store's identity, ErrNoStore if it has none.
func ReadCluster(ctx context.Context, r store.Reader) (Cluster, error) {
	c, _, err := readCluster(ctx, r)
	return c, err
}

func readCluster(ctx context.Context, r store.Reader) (Cluster, int32, error) {
	node, err := getCluster(ctx, r)
	if err != nil {
		return Cluster{}, 0, err
	}
	c, err := parseCluster(node.Data)
	return c, node.Version, err
}

func getCluster(ctx context.Context, r store.Reader) (store.Node, error) {
	node, err := r.Get(ctx, clusterPath)
	if errors.Is(err, store.ErrNoNode) {
		return node, ErrNoStore
	}
	if err != nil {
		return node, fmt.Errorf("read the store's identity: %w", err)
	}
	return node, nil
}

// parseCluster reads the cluster node, whoever signed it.
func parseCluster(b []byte) (Cluster, error) {
	var c Cluster
	if err := decodeJSON(body(b), maxSmallBytes, &c); err != nil {
		return Cluster{}, fmt.Errorf("read the store's identity: %w", err)
	}
	if c.ID == "" || len(c.ID) > maxIDBytes || c.Epoch < 0 || len(c.Adopts) > MaxAdoptions {
		return Cluster{}, fmt.Errorf("read the store's identity: id %.64q, epoch %d, %d adoptions", c.ID, c.Epoch, len(c.Adopts))
	}
	return c, nil
}

// newUUID returns a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// now is the time as it is written into nodes.
func now() time.Time {
	return time.Now().UTC().Truncate(time.Millisecond)
}
