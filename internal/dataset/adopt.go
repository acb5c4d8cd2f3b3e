package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/popdns/popdns/internal/store"
)

// amendTries bounds how often a change of the identity is repeated because somebody else's came first.
const amendTries = 5

// ErrUnsignedIdentity is returned by AmendCluster when it would take a signature away.
var ErrUnsignedIdentity = errors.New("the store's identity is signed, and would not be any more; give --sign-key")

// AmendCluster changes the store's identity by edit, which may be called several times and whose error is returned as it is, and signs it if there is a
// key. Nothing is written when nothing changes. Adoptions that aren't signed as keys demand are not there for edit: otherwise somebody without a key could have
// them signed by waiting for the next change. dropped are those; they stay if nothing else changes.
func AmendCluster(ctx context.Context, s store.Store, keys Keys, edit func(*Cluster) error) (c Cluster, changed bool, dropped []Adoption, err error) {
	unanswered := false // an earlier try may have written it
	for range amendTries {
		node, err := getCluster(ctx, s)
		if err != nil {
			return c, false, nil, err
		}
		if c, err = parseCluster(node.Data); err != nil {
			return c, false, nil, err
		}
		signed := len(body(node.Data)) != len(node.Data)
		dropped = nil
		if keys.verify(clusterPurpose, node.Data) != nil {
			c.Adopts, dropped = nil, c.Adopts
		}
		before, _ := json.Marshal(c) // plain data
		if err := edit(&c); err != nil {
			return c, false, dropped, err
		}
		after, err := json.Marshal(c)
		if err != nil {
			return c, false, dropped, fmt.Errorf("write the store's identity: %w", err)
		}
		if string(before) == string(after) {
			return c, unanswered, dropped, nil
		}
		if len(after) > maxSmallBytes-signatureBytes {
			return c, false, dropped, fmt.Errorf("write the store's identity: %d bytes, at most %d", len(after), maxSmallBytes-signatureBytes)
		}
		if signed && keys.Sign == nil {
			return c, false, dropped, ErrUnsignedIdentity
		}
		err = s.Commit(ctx, store.Set(clusterPath, keys.seal(clusterPurpose, after), node.Version))
		switch {
		case err == nil:
			return c, true, dropped, nil
		case !errors.Is(err, store.ErrVersion) && !errors.Is(err, store.ErrUnknownOutcome):
			return c, false, dropped, fmt.Errorf("write the store's identity: %w", err)
		}
		unanswered = unanswered || errors.Is(err, store.ErrUnknownOutcome)
	}
	return c, false, dropped, fmt.Errorf("write the store's identity: %w", ErrConflict)
}

// Adopt adds an adoption of the cluster id, unless it is there already.
func (c *Cluster) Adopt(id, by string) error {
	switch {
	case id == "" || len(id) > maxIDBytes:
		return fmt.Errorf("cluster id of %d bytes, want 1 to %d", len(id), maxIDBytes)
	case len(by) > maxByBytes:
		return fmt.Errorf("name of %d bytes, at most %d", len(by), maxByBytes)
	case c.Succeeds(id):
		return nil
	case len(c.Adopts) >= MaxAdoptions:
		return fmt.Errorf("it adopts %d stores already, and no more fit: take one away whose data no edge has any more (popctl adopt --undo %s)", MaxAdoptions, c.Adopts[0].ID)
	}
	c.Adopts = append(c.Adopts, Adoption{ID: id, By: by, At: now()})
	return nil
}
