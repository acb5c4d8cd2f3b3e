package dir_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/dir"
	"github.com/popdns/popdns/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDirectoryPassesTheSharedSuite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		t.Helper()
		path := t.TempDir()
		return func() store.Store {
			s, err := dir.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}
