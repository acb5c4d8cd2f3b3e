package edge_test

import (
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/edge/edgetest"
	"github.com/popdns/popdns/internal/mapfile"
	"github.com/popdns/popdns/internal/steer"
)

func TestCanaryIsServedFromTheDiskCacheToo(t *testing.T) {
	st := edgetest.New(t)
	st.PoPs(t, "ams1: {}\niad2: {}\n")
	st.Map(t, "edge", "default: [ams1]\n")
	next, err := mapfile.ReadMap(strings.NewReader("default: [iad2]\n"), "test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.StageMap(t.Context(), next.WithName("edge"), steer.CanaryRule{Edges: []string{"lab*"}}); err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	open := func(url string) *edge.Source {
		src, err := edge.Open(edge.Config{URL: url, CacheDir: cache}, &edgetest.Observer{})
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
	first := open(st.URL())
	first.FollowMap("edge")
	until(t, "the canary is there", func() bool { _, c := first.Map("edge"); return c.Map() != nil })
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := open("dir://" + t.TempDir()) // a store without anything
	defer second.Close()
	second.FollowMap("edge")
	v, c := second.Map("edge")
	if v == nil || c.Map() == nil || !c.Rule().Names("lab1") {
		t.Fatalf("from the disk cache: map %v, canary %v", v, c)
	}
	if d := c.Decide(v.Value, "lab1", steer.Client{}); d.List[0] != "iad2" {
		t.Errorf("the lab's edge decides for %v", d.List)
	}
}
