package popmap

import (
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, input string
		wantErr     string
		zones       []string
		mapName     string
		fallback    []string
	}{
		{"bare", "popmap", "", []string{"example.org."}, "", nil},
		{"zones", "popmap example.net", "", []string{"example.net."}, "", nil},
		{"all", "popmap {\nmap edge\ndefault ams1 iad2\n}", "", []string{"example.org."}, "edge", []string{"ams1", "iad2"}},

		{"unknown property", "popmap {\nmaps edge\n}", `Testfile:2 - Error during parsing: unknown property "maps"`, nil, "", nil},
		{"map without name", "popmap {\nmap\n}", "map takes exactly one name", nil, "", nil},
		{"two maps", "popmap {\nmap a b\n}", "map takes exactly one name", nil, "", nil},
		{"map twice", "popmap {\nmap a\nmap b\n}", "map is given twice", nil, "", nil},
		{"bad map name", "popmap {\nmap ../zones\n}", "map:", nil, "", nil},
		{"default without PoPs", "popmap {\ndefault\n}", "default takes the names", nil, "", nil},
		{"a PoP twice", "popmap {\ndefault ams1 ams1\n}", "default:", nil, "", nil},
		{"near without geoip", "popmap {\nnear 3\n}", "near is of use with geoip only", nil, "", nil},
		{"geoip without a file", "popmap {\ngeoip\n}", "geoip FILE...", nil, "", nil},
		{"near of no PoP", "popmap {\ngeoip a\nnear 0\n}", `"0" is no number of PoPs`, nil, "", nil},
		{"bias beyond", "popmap {\ngeoip a\nnear 3 ams1=100\n}", `bias "ams1=100": write POP=PERCENT`, nil, "", nil},
		{"edge", "popmap {\nedge ams1-a.example.net\n}", "", []string{"example.org."}, "", nil},
		{"edge without a name", "popmap {\nedge\n}", "edge takes exactly one name", nil, "", nil},
		{"bad edge name", "popmap {\nedge AMS1\n}", "edge:", nil, "", nil},
		{"popmap twice", "popmap\npopmap", "plugin", nil, "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := caddy.NewTestController("dns", tc.input)
			c.ServerBlockKeys = []string{"example.org"}
			p, err := parse(c)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("Parse %q: got error %v, want one with %q", tc.input, err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatalf("Parse %q: got error %v", tc.input, err)
			}
			if !slices.Equal(p.zones, tc.zones) || p.mapName != tc.mapName || !slices.Equal(p.fallback, tc.fallback) {
				t.Errorf("Parse %q: got zones %v map %q default %v, want %v %q %v", tc.input, p.zones, p.mapName, p.fallback, tc.zones, tc.mapName, tc.fallback)
			}
		})
	}
}
