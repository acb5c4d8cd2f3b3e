package fastpath

import (
	"strings"
	"testing"

	"github.com/coredns/caddy"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		input   string
		workers int
		wrong   string
	}{
		{"fastpath", 0, ""},
		{"fastpath {\n workers 3\n}", 3, ""},
		{"fastpath example.org", 0, "takes no arguments"},
		{"fastpath {\n workers 0\n}", 0, "not a number from 1"},
		{"fastpath {\n workers\n}", 0, "exactly one number"},
		{"fastpath {\n workers 2\n workers 3\n}", 0, "once"},
		{"fastpath {\n turbo\n}", 0, "unknown property"},
		{"fastpath\nfastpath", 0, "once"},
	} {
		opts, err := parse(caddy.NewTestController("dns", tc.input))
		switch {
		case tc.wrong == "" && (err != nil || opts.workers != tc.workers):
			t.Errorf("%s: %+v, %v", tc.input, opts, err)
		case tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)):
			t.Errorf("%s: error %v, want one with %q", tc.input, err, tc.wrong)
		}
	}
}
