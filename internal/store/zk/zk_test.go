package zk_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/storetest"
	"github.com/popdns/popdns/internal/store/zk"
	"github.com/popdns/popdns/internal/store/zktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, zktest.Leaks()...) }

// quick are options under which faults show, and heal, within a second or two.
func quick(t *testing.T) zk.Options {
	t.Helper()
	return zk.Options{
		SessionTimeout:   2 * time.Second,
		RequestTimeout:   3 * time.Second,
		HandshakeTimeout: 500 * time.Millisecond,
		Logf:             func(format string, args ...any) { t.Logf(format, args...) },
	}
}

func open(t *testing.T, o zk.Options, root string, servers ...string) *zk.Store {
	t.Helper()
	s, err := zk.Open(servers, root, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestEnsemblePassesTheSharedSuite(t *testing.T) {
	srv := zktest.Start(t)
	var roots atomic.Int32
	for _, auth := range []string{"", "publisher:secret"} {
		name := "WithoutCredentials"
		if auth != "" {
			name = "WithCredentials"
		}
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) func() store.Store {
				t.Helper()
				root := fmt.Sprintf("/a/b/test%d", roots.Add(1))
				o := quick(t)
				o.SessionTimeout, o.Auth, o.Logf = 10*time.Second, auth, nil
				return func() store.Store { return open(t, o, root, srv.Addr()) }
			})
		})
	}
}

// env is one test of TestStore.
type env struct {
	t   *testing.T
	srv *zktest.Server // is to be left well
}

// TestStore runs, side by side as they mostly wait, the tests that leave their server well; the trouble comes from proxies.
func TestStore(t *testing.T) {
	srv := zktest.Start(t)
	tests := map[string]func(env){
		"HungServerIsLeftAfterTheHandshakeTimeout":          hungServerIsLeftAfterTheHandshakeTimeout,
		"TooLargeCommitIsNotSent":                           tooLargeCommitIsNotSent,
		"LostReplyIsAnUnknownOutcome":                       lostReplyIsAnUnknownOutcome,
		"LockIsFoundHeldWhenTheReplyToItsCommitIsLost":      lockIsFoundHeldWhenTheReplyToItsCommitIsLost,
		"ChangeDuringALostSessionIsDelivered":               changeDuringALostSessionIsDelivered,
		"EveryNewSessionIsToldToTheWatchEvenWithoutAChange": everyNewSessionIsToldToTheWatchEvenWithoutAChange,
		"FlappingConnectionLosesNothing":                    flappingConnectionLosesNothing,
		"FlappingConnectionLeavesOneWatchPerPath":           flappingConnectionLeavesOneWatchPerPath,
		"WatchIsSetAgainWhenTheLibraryLostIt":               watchIsSetAgainWhenTheLibraryLostIt,
		"OldHoldersCommitFailsAfterItsSessionDied":          oldHoldersCommitFailsAfterItsSessionDied,
		"CredentialsProtectWhatTheyCreated":                 credentialsProtectWhatTheyCreated,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(env{t, srv})
		})
	}
}
