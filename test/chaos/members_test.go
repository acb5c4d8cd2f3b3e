package chaos

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/popdns/popdns/internal/store/zktest"
)

// TestMemberLeavesAndJoinsTheEnsemble takes the server that the reader is connected
// to out of the ensemble, ends it, and lets it join again.
func TestMemberLeavesAndJoinsTheEnsemble(t *testing.T) {
	long(t)
	r := setup{member: func(s *zktest.Server) { s.Configure("reconfigEnabled=true", "skipACL=yes") }}.rig(t)
	conn := r.connect("")
	leaver := r.zk.Follower()
	r.only(leaver)
	r.converge("from the member that is to leave")
	members, _, err := conn.Get("/zookeeper/config")
	if err != nil {
		t.Fatal(err)
	}
	id := 0
	for i, s := range r.zk.Servers {
		if s == leaver {
			id = i + 1
		}
	}
	line := regexp.MustCompile(fmt.Sprintf(`(?m)^server\.%d=127\.0\.0\.1:\d+:\d+`, id)).Find(members)
	if line == nil {
		t.Fatalf("no member %d in %s", id, members)
	}
	if _, err := conn.IncrementalReconfig(nil, []string{fmt.Sprint(id)}, -1); err != nil {
		t.Fatal(err)
	}
	r.heal()
	_ = leaver.Kill()
	r.pub.must(t, filler)
	r.converge("from the two members that are left")
	if err := leaver.Launch(); err != nil {
		t.Fatal(err)
	}
	join := fmt.Sprintf("%s:participant;%s", line, leaver.Addr())
	eventually(t, "the ensemble takes it back", func() error {
		_, err := conn.IncrementalReconfig([]string{join}, nil, -1)
		return err
	})
	r.zk.Restart() // waits until it serves
	r.only(leaver)
	r.pub.must(t, filler)
	r.converge("from the member that has joined")
	r.heal()
	r.finish()
}
