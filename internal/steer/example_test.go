package steer_test

import (
	"fmt"
	"net/netip"

	"github.com/popdns/popdns/internal/steer"
)

// A client's subnet decides, the reply's scope says for whom the answer holds, and a PoP that is down is passed over.
func Example() {
	b := steer.NewMapBuilder("edge")
	_ = b.Default([]string{"iad2", "ams1"})
	_ = b.Add(steer.ECS, netip.MustParsePrefix("44.0.0.0/8"), []string{"ams1", "iad2"})
	_ = b.Add(steer.ECS, netip.MustParsePrefix("44.1.0.0/16"), []string{"sin3", "ams1"})
	m, err := b.Build(1)
	if err != nil {
		fmt.Println(err)
		return
	}
	pops, err := steer.NewPoPs(1, []steer.PoP{{Name: "ams1"}, {Name: "iad2"}, {Name: "sin3", State: steer.Down}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, subnet := range []string{"44.2.3.0/24", "44.1.2.0/24", "88.0.113.0/24"} {
		d := m.Decide(steer.Client{Resolver: netip.MustParseAddr("9.9.9.9"), ECS: netip.MustParsePrefix(subnet), HasECS: true})
		pop, passed := d.Explain(pops, "", func(string) bool { return true })
		fmt.Println(subnet, "→", pop, "for", d.Block, d.Reason, passed)
	}
	// Output:
	// 44.2.3.0/24 → ams1 for 44.2.0.0/15 ecs []
	// 44.1.2.0/24 → ams1 for 44.1.0.0/16 ecs [{sin3 down}]
	// 88.0.113.0/24 → iad2 for 64.0.0.0/2 hole []
}
