package freshness

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/caddy"
)

// zones is a provider of zones without data.
type zones []zone.Name

func (zones) EdgeSource() (*edge.Source, error) { return nil, errors.New("no source") }

func (z zones) Origins() []zone.Name { return z }

func (z zones) Match(name zone.Name) (origin zone.Name, data *edge.Dataset[*zone.Snapshot]) {
	for _, o := range z {
		if name.IsSubdomainOf(o) && len(o) > len(origin) {
			origin, data = o, new(edge.Dataset[*zone.Snapshot])
		}
	}
	return origin, data
}

func TestParseAndBind(t *testing.T) {
	origins := []zone.Name{zone.MustParseName("example.org."), zone.MustParseName("sub.example.org."), zone.MustParseName("example.net.")}
	for _, tc := range []struct {
		name, input string
		parseErr    string
		bindErr     string
		names       []string // sorted
	}{
		{"default", "freshness", "", "", []string{"_freshness.example.net.", "_freshness.example.org.", "_freshness.sub.example.org."}},
		{"relative", "freshness Age", "", "", []string{"age.example.net.", "age.example.org.", "age.sub.example.org."}},
		{"absolute", "freshness x.sub.example.org.", "", "", []string{"x.sub.example.org."}},
		{"absolute elsewhere", "freshness x.example.com.", "", "lies in none", nil},

		{"two names", "freshness a b", "at most one name", "", nil},
		{"no name", "freshness a..b", "is not a domain name", "", nil},
		{"a block", "freshness {\nname x\n}", `Testfile:2 - Error during parsing: unknown property "name"`, "", nil},
		{"twice", "freshness\nfreshness", "plugin", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := caddy.NewTestController("dns", tc.input)
			c.ServerBlockKeys = []string{"example.org"}
			f, err := parse(c)
			if tc.parseErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.parseErr) {
					t.Fatalf("Parse %q: got error %v, want one with %q", tc.input, err, tc.parseErr)
				}
				return
			}
			if err != nil {
				t.Fatalf("Parse %q: got error %v", tc.input, err)
			}
			err = f.bind(zones(origins))
			if tc.bindErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.bindErr) {
					t.Fatalf("Bind of %q: got error %v, want one with %q", tc.input, err, tc.bindErr)
				}
				return
			}
			var got []string
			for _, below := range []string{"", "sub.", "www."} {
				for _, origin := range []string{"example.com.", "example.net.", "example.org."} {
					for _, label := range []string{"_freshness.", "age.", "x.", "agex.", ""} {
						name := label + below + origin
						if _, data := f.zoneOf(strings.ToUpper(name)); data != nil {
							got = append(got, name)
						}
					}
				}
			}
			slices.Sort(got)
			if err != nil || !slices.Equal(got, tc.names) {
				t.Errorf("Bind of %q: answers for %v, error %v; want %v", tc.input, got, err, tc.names)
			}
		})
	}
}

func TestAbsoluteNameSpeaksOfTheClosestZone(t *testing.T) {
	f := &Freshness{label: "x.sub.example.org."}
	if err := f.bind(zones{zone.MustParseName("example.org."), zone.MustParseName("sub.example.org.")}); err != nil {
		t.Fatal(err)
	}
	if got, _ := f.zoneOf("x.sub.example.org."); got != zone.MustParseName("sub.example.org.") {
		t.Errorf("x.sub.example.org. speaks of %s, want sub.example.org.", got)
	}
}
