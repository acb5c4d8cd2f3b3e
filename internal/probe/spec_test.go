package probe

import (
	"strings"
	"testing"
	"time"
)

func TestReadSpec(t *testing.T) {
	const text = `interval: 20s
down_thresh: 3
checks:
  - service: web
    url: https://www.example.org/health
    status: [200, 204]
    verify: false
    pops: {ams1: 192.0.2.1, iad2: "[2001:db8::1]:8443"}
  - tcp: 25
    interval: 5s
    timeout: 500ms
    up_thresh: 2
    pops:
      ams1: 192.0.2.25
`
	spec, err := ReadSpec(strings.NewReader(text), "probes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(spec.Checks) != 3 {
		t.Fatalf("%d checks, want 3", len(spec.Checks))
	}
	a, b, c := spec.Checks[0], spec.Checks[1], spec.Checks[2]
	if a.Target.String() != "ams1/web" || a.Address.String() != "192.0.2.1:443" || a.URL.Host != "www.example.org" || len(a.Status) != 2 || !a.Insecure ||
		a.Interval != 20*time.Second || a.Timeout != 5*time.Second || a.Thresholds != (Thresholds{20, 10, 3}) {
		t.Errorf("%+v", a)
	}
	if b.Address.String() != "[2001:db8::1]:8443" {
		t.Errorf("%+v", b)
	}
	if c.Target.String() != "ams1" || c.URL != nil || c.Address.String() != "192.0.2.25:25" || c.Interval != 5*time.Second || c.Timeout != 500*time.Millisecond ||
		c.Thresholds != (Thresholds{2, 10, 3}) {
		t.Errorf("%+v", c)
	}
}

func TestBadSpecsAreFoundWithTheirLines(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "p: the file is empty",
		"a: [":                             "p:1: not YAML",
		"- a":                              "p:1: the file: want a mapping",
		"interval: 10s":                    "p:1: there are no checks",
		"checks: 5":                        "p:1: checks: want a list",
		"checks: []":                       "p:1: there are no checks",
		"checks:\n - 5":                    "p:2: a check: want a mapping",
		"up_tresh: 3\nchecks: []":          `p:1: unknown key "up_tresh" (did you mean up_thresh?)`,
		"up_thresh: 0\nchecks: []":         `p:1: up_thresh: "0": want 1 to 65535`,
		"interval: 1\nchecks: []":          `p:1: interval: "1": want a time from 1s to 1h0m0s, like 10s`,
		"interval: [1]\nchecks: []":        "p:1: interval:",
		"interval: 9s\ninterval: 8s":       "p:2: interval is in line 1 already: keep one of them",
		"checks:\n - {pops: {a: 1.2.3.4}}": "p:2: a check has either url: https://NAME/PATH or tcp: PORT",
		"checks:\n - {tcp: 1, url: http://a/, pops: {a: 1.2.3.4}}":           "p:2: a check has either url",
		"checks:\n - {tcp: 99999, pops: {a: 1.2.3.4}}":                       `p:2: tcp: "99999": want a port, 1 to 65535`,
		"checks:\n - {tcp: 1, status: 200, pops: {a: 1.2.3.4}}":              "p:2: status, verify and ca are for a url, not for tcp",
		"checks:\n - {url: http://a/, verify: true, pops: {a: 1.2.3.4}}":     "p:2: verify and ca are for https",
		"checks:\n - {url: ftp://a/, pops: {a: 1.2.3.4}}":                    `p:2: url: "ftp://a/": want http://NAME/PATH or https://NAME/PATH`,
		"checks:\n - {url: http://u:p@a/, pops: {a: 1.2.3.4}}":               "p:2: url:",
		"checks:\n - {url: http://a/, status: 42, pops: {a: 1.2.3.4}}":       `p:2: status: "42": want a code from 100 to 599, or a list of them`,
		"checks:\n - {url: http://a/, status: [], pops: {a: 1.2.3.4}}":       "p:2: status: want 1 to 20 codes",
		"checks:\n - {url: https://a/, verify: maybe, pops: {a: 1.2.3.4}}":   `p:2: verify: "maybe": want true or false`,
		"checks:\n - {url: https://a/, ca: nowhere.pem, pops: {a: 1.2.3.4}}": "p:2: ca: open nowhere.pem",
		"checks:\n - {tcp: 1, timeout: 11s, pops: {a: 1.2.3.4}}":             "p:2: timeout 11s is longer than the interval, 10s",
		"checks:\n - {tcp: 1, service: Web, pops: {a: 1.2.3.4}}":             `p:2: service: "Web": want 1 to 63`,
		"checks:\n - {tcp: 1}":                                                      "p:2: pops is missing",
		"checks:\n - {tcp: 1, pops: {}}":                                            "p:2: pops is empty",
		"checks:\n - {tcp: 1, pops: [a]}":                                           "p:2: pops: want a mapping",
		"checks:\n - {tcp: 1, pops: {AMS1: 1.2.3.4}}":                               "p:2: pop name \"AMS1\"",
		"checks:\n - tcp: 1\n   pops:\n     a: www.example.org":                     `p:4: pop a: "www.example.org": want an IP address`,
		"checks:\n - {tcp: 1, pops: {a: 1.2.3.4}}\n - {tcp: 2, pops: {a: 1.2.3.5}}": "p:3: a is checked in line 2 already: keep one of them",
	} {
		_, err := ReadSpec(strings.NewReader(text), "p")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %s", text, err, want)
		}
	}
}

func FuzzReadSpec(f *testing.F) {
	f.Add("checks:\n - {tcp: 1, pops: {a: 1.2.3.4}}")
	f.Add("interval: &a 10s\nchecks:\n - {url: 'https://a/', status: [200], timeout: *a, pops: {a: '[::1]:8'}}")
	f.Fuzz(func(t *testing.T, text string) {
		spec, err := ReadSpec(strings.NewReader(text), "p")
		if err != nil {
			return
		}
		seen := map[Target]bool{}
		for _, c := range spec.Checks {
			if seen[c.Target] || !c.Address.IsValid() || c.Address.Port() == 0 || c.Interval < MinInterval || c.Timeout <= 0 || c.Timeout > c.Interval ||
				c.Up < 1 || c.OK < 1 || c.Down < 1 || c.URL == nil && c.Roots != nil {
				t.Fatalf("%+v", c)
			}
			seen[c.Target] = true
		}
	})
}
