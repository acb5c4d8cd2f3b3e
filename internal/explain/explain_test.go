package explain

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"
)

func TestStringsAreBoundedWhateverIsExplained(t *testing.T) {
	list := make([]string, 0, steer.MaxListLen)
	for i := range steer.MaxListLen {
		list = append(list, fmt.Sprintf("pop-%s-%d", strings.Repeat("x", 50), i))
	}
	pops, err := steer.NewPoPs(1, []steer.PoP{{Name: "elsewhere"}})
	if err != nil {
		t.Fatal(err)
	}
	records := "@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns.example.net.\n"
	for i := range 50 {
		records += fmt.Sprintf("www 60 TXT \"%d%s\" ;@ pop=elsewhere\n", i, strings.Repeat("\\\\", 120))
	}
	z, err := zonefile.Read(strings.NewReader(records), "z", zone.MustParseName("example.org"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := Explain(Data{Fallback: list, PoPs: pops, Zone: z}, Question{Map: "edge", Resolver: netip.MustParseAddr("192.0.2.1"), Name: zone.MustParseName("www.example.org"), Type: 16})
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Passed) != steer.MaxListLen || len(e.Answer.Records) != 50 {
		t.Fatalf("passed %d PoPs, %d records: the test is of nothing", len(e.Passed), len(e.Answer.Records))
	}
	total := 0
	for _, s := range e.Strings() {
		if len(s) > 255 {
			t.Errorf("a string of %d octets: %s", len(s), s)
		}
		total += 1 + len(s)
	}
	if total > 4096 {
		t.Errorf("%d octets in all", total)
	}
	joined := strings.Join(e.Strings(), "\n")
	for _, want := range []string{"passed=and 56 more", "record=and 46 more", "reason=no-map", "...\n"} {
		if !strings.Contains(joined, want) {
			t.Errorf("%q is missing in\n%s", want, joined)
		}
	}
}

func TestMapOfIsTheFirstThatALookupNames(t *testing.T) {
	z, err := zonefile.Read(strings.NewReader(`@ 60 SOA ns h 1 2 3 4 5 ;@ map=apex
@ 60 NS ns.example.net.
www 60 A 192.0.2.1 ;@ pop=ams1 map=edge
bare 60 A 192.0.2.1 ;@ pop=ams1
plain 60 A 192.0.2.1
alias 60 CNAME www
`), "z", zone.MustParseName("example.org"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"www": "edge", "bare": "apex", "plain": "", "alias": "edge", "missing": ""} {
		if got := MapOf(z, zone.MustParseName(name+".example.org"), 1); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
