package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// holderName is the node of a lock's directory that only one can have.
const holderName = "holder"

// A Lock is a held election: an ephemeral node "holder" for mutual exclusion, and beside it an ephemeral node of a unique name whose existence is
// the fence. Both go together when the holder's session ends.
//
// Holding a Lock is no proof of holding it still: a paused process may wake after its session died and another took over. Therefore every commit
// made under the lock carries Fence, and the store itself decides.
type Lock struct {
	s      Store
	dir    string
	unique string
}

// holder is the data of the holder node.
type holder struct {
	Who   string `json:"who"`
	Fence string `json:"fence"`
}

// Acquire takes the lock of directory dir, which is created when missing, for who (a name for people: host, process, user). While somebody else
// holds it Acquire waits; when ctx ends first the error wraps ErrLocked and ctx.Err() and names the holder. A Store that holds the lock already
// waits for itself: locks are not re-entrant.
func Acquire(ctx context.Context, s Store, dir, who string) (*Lock, error) {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	l := &Lock{s: s, dir: dir, unique: hex.EncodeToString(id[:])}
	data, err := json.Marshal(holder{Who: who, Fence: l.unique})
	if err != nil {
		return nil, fmt.Errorf("lock %q: %w", dir, err)
	}
	for {
		err := s.Commit(ctx, CreateEphemeral(Join(dir, holderName), data), CreateEphemeral(l.fencePath(), nil))
		switch {
		case err == nil:
			return l, nil
		case errors.Is(err, ErrExists):
			mine, err := l.wait(ctx)
			if err != nil {
				return nil, err
			}
			if mine {
				return l, nil
			}
		case errors.Is(err, ErrNoNode):
			if err := MkdirAll(ctx, s, dir); err != nil {
				return nil, fmt.Errorf("lock %q: %w", dir, err)
			}
		case errors.Is(err, ErrUnknownOutcome):
			// The fence's name is ours alone: if it is there, and of this session, the commit happened.
			if n, gerr := s.Get(ctx, l.fencePath()); gerr == nil && n.Mine {
				return l, nil
			} else if gerr != nil && !errors.Is(gerr, ErrNoNode) {
				return nil, fmt.Errorf("lock %q: %w", dir, err)
			}
		default:
			return nil, fmt.Errorf("lock %q: %w", dir, err)
		}
	}
}

// Passing returns the operations that begin and end a commit which takes the lock of dir for itself alone: it fails with ErrExists, naming the first
// operation, while somebody holds the lock, and with ErrNoNode when nobody ever held it. A change that needs no more than one commit is as exclusive
// this way as under Acquire, for one write instead of three.
func Passing(dir, who string) (enter, leave Op, err error) {
	data, err := json.Marshal(holder{Who: who})
	if err != nil {
		return Op{}, Op{}, fmt.Errorf("lock %q: %w", dir, err)
	}
	path := Join(dir, holderName)
	return Create(path, data), Delete(path, AnyVersion), nil
}

// wait returns when the holder node is gone, or when it turns out to be ours: a commit of unknown outcome may come true late.
func (l *Lock) wait(ctx context.Context) (mine bool, err error) {
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gone, who := false, "unknown"
	err = l.s.Watch(wctx, Join(l.dir, holderName), func(n Node, err error) {
		if errors.Is(err, ErrNoNode) {
			gone = true
			cancel()
			return
		}
		var h holder
		if err != nil || json.Unmarshal(n.Data, &h) != nil {
			return // somebody holds it, whoever that is
		}
		who = h.Who
		if mine = n.Mine && h.Fence == l.unique; mine {
			cancel()
		}
	})
	if gone || mine {
		return mine, nil
	}
	return false, fmt.Errorf("lock %q is held by %s: %w (%w)", l.dir, who, ErrLocked, err)
}

func (l *Lock) fencePath() string { return Join(l.dir, l.unique) }

// Fence returns the operation that makes a commit fail with ErrNoNode, naming this operation, once the lock is no longer held.
func (l *Lock) Fence() Op { return Check(l.fencePath(), AnyVersion) }

// Release gives the lock up. A lock that was lost already is no error, and another's is never touched: both nodes go in one commit that fails when
// the fence is gone. After another error the lock ends with the session.
func (l *Lock) Release(ctx context.Context) error {
	err := l.s.Commit(ctx, Delete(l.fencePath(), AnyVersion), Delete(Join(l.dir, holderName), AnyVersion))
	if err == nil || errors.Is(err, ErrNoNode) {
		return nil
	}
	return fmt.Errorf("release lock %q: %w", l.dir, err)
}
