package chaos

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/zktest"

	gozk "github.com/go-zookeeper/zk"
)

// herd is how many other edges there are.
const herd = 1500

// TestHerdComesBackAtOnce restarts an ensemble that a fleet follows: every edge
// has a session again, and reads the head, while ours does.
func TestHerdComesBackAtOnce(t *testing.T) {
	long(t)
	r := newRig(t)
	var up atomic.Int64 // edges with a session
	for range herd {
		var is atomic.Bool
		conn, _, err := gozk.Connect(servers(r.zk), 10*time.Second, gozk.WithLogger(silent{}),
			gozk.WithMaxConnBufferSize(16<<10), gozk.WithMaxBufferSize(64<<10),
			gozk.WithEventCallback(func(e gozk.Event) {
				if has := e.State == gozk.StateHasSession; e.Type == gozk.EventSession && is.CompareAndSwap(!has, has) {
					up.Add(map[bool]int64{true: 1, false: -1}[has])
				}
			}))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go func() { // ends with the connection
			for {
				_, _, changed, err := conn.GetW("/popdns/" + zonePath + "/head")
				switch {
				case errors.Is(err, gozk.ErrClosing) || errors.Is(err, gozk.ErrConnectionClosed) && conn.State() == gozk.StateDisconnected:
					return
				case err == nil:
					<-changed
				}
				time.Sleep(time.Second) // a fleet of the real size has more machines than this one
			}
		}()
	}
	all := func() error {
		if n := up.Load(); n < herd {
			return fmt.Errorf("%d of %d have a session", n, herd)
		}
		return nil
	}
	eventually(t, "the herd is there", all)
	r.zk.Kill()
	r.zk.Restart()
	began := time.Now()
	r.converge("amid the herd")
	eventually(t, "the herd is back", all)
	t.Logf("%d sessions are back %v after the restart", herd, time.Since(began).Round(time.Millisecond))
	r.finish()
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// TestStormOfChanges commits versions as fast as the ensemble takes them, and writes
// thousands of nodes a second elsewhere in the zone, to a reader with slow links.
func TestStormOfChanges(t *testing.T) {
	long(t)
	r := newRig(t)
	live := zonePath + "/live"
	const nodes = 200
	sets := make([]store.Op, 0, nodes+1)
	sets = append(sets, store.Create(live, nil))
	for i := range nodes {
		sets = append(sets, store.Create(fmt.Sprintf("%s/%d", live, i), nil))
	}
	if err := r.pub.st.Commit(t.Context(), sets...); err != nil {
		t.Fatal(err)
	}
	for i := range sets[1:] {
		sets[i+1] = store.Set(sets[i+1].Path, []byte("here"), store.AnyVersion)
	}
	r.each(func(p *zktest.Proxy) { p.Slow(100*time.Millisecond, 0) })
	r.pub.every.Store(int64(time.Millisecond))
	committed, served := r.pub.committed.Load(), len(r.server.log.lines("Serving "))
	stormed := 0
	const lasts = 15 * time.Second
	for end := time.Now().Add(lasts); time.Now().Before(end); stormed += len(sets) - 1 {
		if err := r.pub.st.Commit(t.Context(), sets[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	// What a version needs while it is taken comes and goes; what piles up stays.
	eventually(t, "nothing has grown in the storm", func() error { return r.measure().grownSince(r.before) })
	t.Logf("in %v %d other changes and %d versions, which the reader took in %d steps", lasts, stormed,
		r.pub.committed.Load()-committed, len(r.server.log.lines("Serving "))-served)
	r.pub.every.Store(int64(publishEvery))
	r.converge("after the storm")
	r.heal()
	r.finish()
}
