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

type heartbeat struct {
	Time time.Time `json:"time"`
	By   string    `json:"by,omitempty"`
}

// Stamp sets the heartbeat to t, unsigned.
func Stamp(ctx context.Context, s store.Store, t time.Time, by string) error {
	return Keys{}.Stamp(ctx, s, t, by)
}

// Stamp sets the heartbeat to t, signed if there is a key: a forged pulse would make old data look fresh.
func (k Keys) Stamp(ctx context.Context, s store.Store, t time.Time, by string) error {
	data, err := json.Marshal(heartbeat{Time: t.UTC().Truncate(time.Millisecond), By: by})
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
func ParseHeartbeat(b []byte) (time.Time, error) { return Keys{}.ParseHeartbeat(b) }

// ParseHeartbeat returns the source time in the heartbeat node's data. The error is a Refusal if it isn't signed by a trusted key.
func (k Keys) ParseHeartbeat(b []byte) (time.Time, error) {
	if err := k.verify(heartbeatPurpose, b); err != nil {
		return time.Time{}, refuse(ReasonSigned, "heartbeat: %w", err)
	}
	var h heartbeat
	if err := decodeJSON(body(b), maxSmallBytes, &h); err != nil {
		return time.Time{}, fmt.Errorf("heartbeat: %w", err)
	}
	if h.Time.IsZero() {
		return time.Time{}, errors.New("heartbeat: no time")
	}
	return h.Time, nil
}
