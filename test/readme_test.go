package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/geoip/geoiptest"

	"github.com/coredns/caddy"
	_ "github.com/coredns/coredns/core/plugin" // examples name stock plugins
	_ "github.com/popdns/popdns/plugin/fastpath"
	_ "github.com/popdns/popdns/plugin/freshness"
	_ "github.com/popdns/popdns/plugin/popmap"
	_ "github.com/popdns/popdns/plugin/zkzone"
)

var plugins = []string{"zkzone", "popmap", "freshness", "fastpath"}

// TestPluginReadmesHaveCoreDNSsForm holds our READMEs to the rules by which
// CoreDNS makes man pages (its test/readme_test.go).
func TestPluginReadmesHaveCoreDNSsForm(t *testing.T) {
	for _, name := range plugins {
		text := readmeOf(t, name)
		if !strings.HasPrefix(text, "# "+name+"\n") {
			t.Errorf("plugin/%s/README.md: first line is not %q", name, "# "+name)
		}
		if !strings.Contains(text, "\n## Name\n\n*"+name+"* - ") {
			t.Errorf("plugin/%s/README.md: section Name does not begin with %q", name, "*"+name+"* - ")
		}
		at := -1
		for _, section := range []string{"## Name", "## Description", "## Syntax", "## Examples"} {
			i := strings.Index(text, "\n"+section+"\n")
			if i < 0 || i < at {
				t.Errorf("plugin/%s/README.md: section %q is missing or out of order", name, section)
			}
			at = i
		}
		if strings.Contains(text, "Also See") {
			t.Errorf("plugin/%s/README.md: write \"See Also\"", name)
		}
	}
}

// TestPluginReadmesNameEveryMetric compares with the metrics.go beside.
func TestPluginReadmesNameEveryMetric(t *testing.T) {
	metric := regexp.MustCompile(`(?:Name:\s+|= desc\()"([a-z_]+)"`)
	for _, name := range plugins {
		code, err := os.ReadFile(filepath.Join("..", "plugin", name, "metrics.go"))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range metric.FindAllStringSubmatch(string(code), -1) {
			if full := "coredns_" + name + "_" + m[1]; !strings.Contains(readmeOf(t, name), "`"+full) {
				t.Errorf("plugin/%s/README.md does not name %s", name, full)
			}
		}
	}
}

// TestReadmeExamplesStart starts every example Corefile of the plugin READMEs.
// The ensembles and folders that they name are replaced by a directory store
// that holds their zones.
func TestReadmeExamplesStart(t *testing.T) {
	storeURL := "dir://" + t.TempDir()
	popctl(t, storeURL, 0, "init")
	for _, z := range []string{"example.org", "example.net"} {
		popctl(t, storeURL, 0, "zone", "publish", z, writeFile(t, "zone", fmt.Sprintf(
			"$ORIGIN %s.\n@ 60 IN SOA ns h 1 2 3 4 5\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53\n", z)))
	}
	source := regexp.MustCompile(`source (zk|dir):\S+`)
	cache := regexp.MustCompile(`cache popdns-cache`)
	geo := regexp.MustCompile(`geoip \S+`)
	city := filepath.Join(t.TempDir(), "city.mmdb")
	w := geoiptest.New("GeoLite2-City")
	w.Add(t, "44.0.0.0/8", geoiptest.Place{Country: "NL", City: "Amsterdam", Lat: 52.37, Lon: 4.89}.Record())
	w.Write(t, city)
	blocks := 0
	for _, name := range plugins {
		for _, corefile := range corefilesOf(readmeOf(t, name)) {
			blocks++
			corefile = source.ReplaceAllString(corefile, "source "+storeURL)
			corefile = cache.ReplaceAllString(corefile, "cache "+t.TempDir())
			corefile = geo.ReplaceAllString(corefile, "geoip "+city)
			t.Run(fmt.Sprintf("%s %d", name, blocks), func(t *testing.T) { startInProcess(t, corefile) })
		}
	}
	if blocks < 4 {
		t.Errorf("found %d example Corefiles, want at least 4", blocks)
	}
}

// startInProcess starts and stops a Corefile on port 0.
func startInProcess(t *testing.T, corefile string) {
	t.Helper()
	caddy.Quiet = true
	input := caddy.CaddyfileInput{Contents: []byte(portZero(corefile)), Filepath: "Corefile", ServerTypeName: "dns"}
	inst, err := caddy.Start(input)
	if err != nil {
		t.Fatalf("the example does not start: %v\n%s", err, corefile)
	}
	if errs := inst.ShutdownCallbacks(); errs != nil {
		t.Errorf("shutdown: %v", errs)
	}
	if err := inst.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// portZero gives every server block key the port 0.
func portZero(corefile string) string {
	var out []string
	for line := range strings.Lines(corefile) {
		keys, isBlock := strings.CutSuffix(strings.TrimSpace(line), "{")
		if isBlock && !strings.HasPrefix(line, " ") {
			var ported []string
			for k := range strings.FieldsSeq(keys) {
				ported = append(ported, k+":0")
			}
			line = strings.Join(ported, " ") + " {\n"
		}
		out = append(out, line)
	}
	return strings.Join(out, "")
}

// corefilesOf returns the examples marked "~~~ corefile".
func corefilesOf(text string) []string {
	parts := strings.Split(text, "~~~ corefile\n")[1:]
	for i, part := range parts {
		parts[i], _, _ = strings.Cut(part, "~~~\n")
	}
	return parts
}

func readmeOf(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "plugin", name, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
