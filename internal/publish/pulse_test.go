package publish

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store"
)

// pulseStore is a store with an identity that counts stamps, and fails them while fail is set.
type pulseStore struct {
	store.Store
	mu     sync.Mutex
	fail   error
	stamps []time.Time
}

func (s *pulseStore) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *pulseStore) stamped() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.stamps)
}

func (s *pulseStore) Get(context.Context, string) (store.Node, error) {
	return store.Node{Data: []byte(`{"id":"x","epoch":1,"created":"2026-01-01T00:00:00Z"}`)}, nil
}

func (s *pulseStore) Commit(_ context.Context, ops ...store.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	at, err := dataset.ParseHeartbeat(ops[0].Data)
	s.stamps = append(s.stamps, at)
	return err
}

func TestPulseStampsEveryIntervalAndReportsChangesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &pulseStore{}
		var reports []error
		p := &Pulse{Store: s, By: "test", Every: 10 * time.Second, OnChange: func(err error) { reports = append(reports, err) }}
		start := time.Now()
		ended := make(chan error)
		go func() { ended <- p.Run(ctx) }()

		time.Sleep(25 * time.Second)
		synctest.Wait()
		if stamps := s.stamped(); len(stamps) != 3 || !stamps[2].Equal(start.Add(20*time.Second)) {
			t.Errorf("after 25 s: stamps %v, want at 0, 10 and 20 s of %v", stamps, start)
		}
		s.setFail(store.ErrUnavailable)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		s.setFail(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(s.stamped()); n != 4 {
			t.Errorf("after the outage: %d stamps, want 4", n)
		}
		if len(reports) != 3 || reports[0] != nil || !errors.Is(reports[1], store.ErrUnavailable) || reports[2] != nil {
			t.Errorf("reports %v, want working, unavailable, working", reports)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("ended with %v, want nil", err)
		}
	})
}
