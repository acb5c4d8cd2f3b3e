package zkzone

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/edge"

	"github.com/coredns/caddy"
)

func TestParse(t *testing.T) {
	const source = "source zk://10.0.0.1:2181,10.0.0.2:2181/popdns\n"
	for _, tc := range []struct {
		name, input string
		wantErr     string // "" for none; otherwise a part of the message, which names the line
		origins     []string
		check       func(*ZkZone) bool
	}{
		{"zones of the server block", "zkzone {\n" + source + "}", "", []string{"example.org."}, nil},
		{"zones as arguments", "zkzone Example.NET example.com. {\n" + source + "}", "", []string{"example.com.", "example.net."}, nil},
		{"a zone twice is one", "zkzone example.net example.net {\n" + source + "}", "", []string{"example.net."}, nil},
		{"everything", "zkzone {\n" + source + "cache /var/lib/x/\nstartup_timeout 1s\nmax_stale 168h\nfallthrough example.org\n}", "", []string{"example.org."},
			func(z *ZkZone) bool {
				return z.cfg.CacheDir == "/var/lib/x" && z.startupTimeout == time.Second && z.maxStale == 168*time.Hour &&
					z.Fall.Through("www.example.org.") && !z.Fall.Through("www.example.net.")
			}},
		{"defaults", "zkzone {\n" + source + "}", "", []string{"example.org."}, func(z *ZkZone) bool {
			return z.cfg.CacheDir == "" && z.startupTimeout == 5*time.Second && z.maxStale == 0 && !z.Fall.Through("www.example.org.")
		}},
		{"cache off", "zkzone {\n" + source + "cache off\n}", "", []string{"example.org."}, func(z *ZkZone) bool { return z.cfg.CacheDir == "" }},
		{"directory source", "zkzone {\nsource dir:///srv/popdns\n}", "", []string{"example.org."}, nil},

		{"no source", "zkzone", "source is missing", nil, nil},
		{"no source in a block", "zkzone {\ncache off\n}", "source is missing", nil, nil},
		{"unknown property", "zkzone {\n" + source + "sauce x\n}", `Testfile:3 - Error during parsing: unknown property "sauce"`, nil, nil},
		{"source without URL", "zkzone {\nsource\n}", "source takes exactly one argument", nil, nil},
		{"source with another scheme", "zkzone {\nsource etcd://10.0.0.1\n}", "Testfile:2", nil, nil},
		{"source twice", "zkzone {\n" + source + source + "}", "source is given twice", nil, nil},
		{"cache with two arguments", "zkzone {\n" + source + "cache a b\n}", "cache takes exactly one argument", nil, nil},
		{"startup_timeout not a duration", "zkzone {\n" + source + "startup_timeout 5\n}", `startup_timeout "5" is not a duration`, nil, nil},
		{"max_stale zero", "zkzone {\n" + source + "max_stale 0s\n}", `max_stale "0s" is not a positive duration`, nil, nil},
		{"shrink_guard", "zkzone {\n" + source + "shrink_guard 20%\n}", "", []string{"example.org."}, func(z *ZkZone) bool { return z.cfg.ShrinkGuard == 20 }},
		{"shrink_guard off", "zkzone {\n" + source + "shrink_guard off\n}", "", []string{"example.org."}, func(z *ZkZone) bool { return z.cfg.ShrinkGuard == 100 }},
		{"shrink_guard without a unit", "zkzone {\n" + source + "shrink_guard 50\n}", `Testfile:3 - Error during parsing: shrink_guard "50" is not a share`, nil, nil},
		{"shrink_guard of nothing", "zkzone {\n" + source + "shrink_guard 0%\n}", `shrink_guard "0%" is not a share`, nil, nil},
		{"shrink_guard above all", "zkzone {\n" + source + "shrink_guard 101%\n}", `shrink_guard "101%" is not a share`, nil, nil},
		{"verify with a file that is not there", "zkzone {\n" + source + "verify /nonexistent.pub\n}", "verify: open /nonexistent.pub", nil, nil},
		{"verify with a file that holds no key", "zkzone {\n" + source + "verify setup_test.go\n}", "verify: setup_test.go: holds no PEM block", nil, nil},
		{"tls with no file", "zkzone {\n" + source + "tls\n}", "tls takes CA, CERT KEY or CERT KEY CA", nil, nil},
		{"tls with a file that is not there", "zkzone {\n" + source + "tls /nonexistent.pem\n}", "tls: TLS authorities: open /nonexistent.pem", nil, nil},
		{"tls with a file that holds no certificate", "zkzone {\n" + source + "tls setup_test.go\n}", "setup_test.go holds no PEM certificate", nil, nil},
		{"tls with a file that holds no key", "zkzone {\n" + source + "tls setup_test.go setup_test.go\n}", "tls: TLS certificate setup_test.go", nil, nil},
		{"tls_servername", "zkzone {\n" + source + "tls_servername zk.example.org\n}", "", []string{"example.org."},
			func(z *ZkZone) bool { return z.cfg.TLS.ServerName == "zk.example.org" }},
		{"zkzone twice", "zkzone {\n" + source + "}\nzkzone {\n" + source + "}", "plugin", nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := caddy.NewTestController("dns", tc.input)
			c.ServerBlockKeys = []string{"example.org"}
			z, err := parse(c)
			switch {
			case tc.wantErr == "" && err != nil:
				t.Fatalf("Parse %q: got error %v", tc.input, err)
			case tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)):
				t.Fatalf("Parse %q: got error %v, want one with %q", tc.input, err, tc.wantErr)
			case tc.wantErr != "":
				return
			}
			if !slices.Equal(z.origins, tc.origins) {
				t.Errorf("Parse %q: zones are %v, want %v", tc.input, z.origins, tc.origins)
			}
			if !slices.Equal(z.CacheBypassZones(), tc.origins) {
				t.Errorf("Parse %q: the cache is bypassed for %v, want %v", tc.input, z.CacheBypassZones(), tc.origins)
			}
			if tc.check != nil && !tc.check(z) {
				t.Errorf("Parse %q: got %+v", tc.input, z)
			}
		})
	}
}

func TestOneCacheForTwoSourcesIsRefused(t *testing.T) {
	c := caddy.NewTestController("dns", "zkzone {\nsource dir:///srv/a\ncache /var/cache/x\n}")
	c.ServerBlockKeys = []string{"example.org"}
	if _, err := parse(c); err != nil {
		t.Fatal(err)
	}
	claim := func(url, dir string) error { return claimCache(c, edge.Config{URL: url, CacheDir: dir}) }
	if err := claim("dir:/srv/a", "/var/cache/x"); err != nil {
		t.Errorf("the same source and cache in another block: %v", err)
	}
	if err := claim("dir:/srv/b", "/var/cache/x"); err == nil || !strings.Contains(err.Error(), "belongs to source dir:/srv/a already") {
		t.Errorf("another source with the same cache: got error %v", err)
	}
	if err := claim("dir:/srv/b", "/var/cache/y"); err != nil {
		t.Errorf("another source with a cache of its own: %v", err)
	}
}
