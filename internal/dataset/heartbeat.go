package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/popdns/popdns/internal/store"
)

// HeartbeatPath is the node that the source end stamps: the pulse that tells "nothing changed" from "nothing works".
const HeartbeatPath = "heartbeat"

// HeartbeatEvery is how often it is stamped. Every edge reads each stamp, so it is not much more often.
const HeartbeatEvery = 10 * time.Second

// A Heartbeat is one stamp.
type Heartbeat struct {
	Time time.Time `json:"time"`
	By   string    `json:"by,omitempty"`
	// Cluster is the store that was stamped, so that another store's pulse at the same address makes no data look fresh.
	Cluster string `json:"cluster,omitempty"`
}

// Stamp sets the heartbeat to t, unsigned.
func Stamp(ctx context.Context, s store.Store, t time.Time, by string) error {
	return Keys{}.Stamp(ctx, s, t, by)
}

// Stamp sets the heartbeat to t, signed if there is a key: a forged pulse would make old data look fresh. ErrNoStore when there is no store to stamp.
func (k Keys) Stamp(ctx context.Context, s store.Store, t time.Time, by string) error {
	cluster, err := ReadCluster(ctx, s)
	if err != nil {
		return fmt.Errorf("stamp the heartbeat: %w", err)
	}
	data, err := json.Marshal(Heartbeat{Time: t.UTC().Truncate(time.Millisecond), By: by, Cluster: cluster.ID})
	if err != nil {
		return fmt.Errorf("stamp the heartbeat: %w", err)
	}
	if len(by) > maxByBytes {
		return fmt.Errorf("stamp the heartbeat: name of %d bytes, at most %d", len(by), maxByBytes)
	}
	data = k.seal(heartbeatPurpose, data)
	err = s.Commit(ctx, store.Set(HeartbeatPath, data, store.AnyVersion))
	if errors.Is(err, store.ErrNoNode) {
		if err = s.Commit(ctx, store.Create(HeartbeatPath, data)); errors.Is(err, store.ErrExists) {
			return nil // another's stamp of this very moment
		}
	}
	if err != nil {
		return fmt.Errorf("stamp the heartbeat: %w", err)
	}
	return nil
}

// ParseHeartbeat returns the source time in the heartbeat node's data, whoever signed it.
func ParseHeartbeat(b []byte) (time.Time, error) {
	h, err := Keys{}.ParseHeartbeat(b)
	return h.Time, err
}

// ParseHeartbeat reads the heartbeat node's data. The error is a Refusal if it isn't signed by a trusted key.
func (k Keys) ParseHeartbeat(b []byte) (Heartbeat, error) {
	if err := k.verify(heartbeatPurpose, b); err != nil {
		return Heartbeat{}, refuse(ReasonSigned, "heartbeat: %w", err)
	}
	var h Heartbeat
	if err := decodeJSON(body(b), maxSmallBytes, &h); err != nil {
		return Heartbeat{}, fmt.Errorf("heartbeat: %w", err)
	}
	if h.Time.IsZero() {
		return Heartbeat{}, errors.New("heartbeat: no time")
	}
	return h, nil
}
