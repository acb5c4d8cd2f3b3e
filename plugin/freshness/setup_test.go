package freshness

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/caddy"
)

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
			err = f.bind(origins)
			if tc.bindErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.bindErr) {
					t.Fatalf("Bind of %q: got error %v, want one with %q", tc.input, err, tc.bindErr)
				}
				return
			}
			if got := slices.Sorted(maps.Keys(f.zones)); err != nil || !slices.Equal(got, tc.names) {
				t.Errorf("Bind of %q: got %v, error %v; want %v", tc.input, got, err, tc.names)
			}
		})
	}
}

func TestAbsoluteNameSpeaksOfTheClosestZone(t *testing.T) {
	f := &Freshness{label: "x.sub.example.org."}
	if err := f.bind([]zone.Name{zone.MustParseName("example.org."), zone.MustParseName("sub.example.org.")}); err != nil {
		t.Fatal(err)
	}
	if got := f.zones["x.sub.example.org."]; got != zone.MustParseName("sub.example.org.") {
		t.Errorf("x.sub.example.org. speaks of %s, want sub.example.org.", got)
	}
}
