package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.yaml.in/yaml/v3"
)

// dashboard is what of a Grafana dashboard must be right.
type dashboard struct {
	Title, UID string
	Annotations,
	Templating struct {
		List []struct {
			Name, Type, Expr, Definition string
		}
	}
	Panels []struct {
		ID                       int
		Type, Title, Description string
		GridPos                  struct{ X, Y, W, H int }
		Targets                  []struct{ RefID, Expr string }
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	raw, err := os.ReadFile("../docs/grafana/popdns.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// alerts is a Prometheus rule file.
type alerts struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr         string
			For                 string
			Labels, Annotations map[string]string
		}
	}
}

func readAlerts(t *testing.T) alerts {
	t.Helper()
	f, err := os.Open("../docs/grafana/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var a alerts
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	if err := dec.Decode(&a); err != nil {
		t.Fatal(err)
	}
	return a
}

// expressions are all PromQL that users are given, by where it stands.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	d := readDashboard(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			out["panel "+p.Title+" "+target.RefID] = target.Expr
		}
	}
	for _, a := range d.Annotations.List {
		out["annotation "+a.Name] = a.Expr
	}
	for _, group := range readAlerts(t).Groups {
		for _, r := range group.Rules {
			out["alert "+r.Alert] = r.Expr
		}
	}
	code := regexp.MustCompile("`([^`]*coredns_[^`]*)`")
	for _, name := range plugins {
		for i, m := range code.FindAllStringSubmatch(readmeOf(t, name), -1) {
			if strings.ContainsAny(m[1], "()[]=>") { // otherwise it is a metric's name and labels
				out[fmt.Sprintf("README of %s %d", name, i)] = m[1]
			}
		}
	}
	return out
}

// metricLabels are our metrics as the READMEs list them, with their labels, and those of CoreDNS that the dashboard shows.
func metricLabels(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{
		"coredns_dns_requests_total":  {"server"},
		"coredns_dns_responses_total": {"rcode"},
	}
	listed := regexp.MustCompile("(?m)^\\* `(coredns_[a-z_]+)(?:\\{([a-z, ]+)\\})?` - (counter|gauge|histogram)")
	for _, name := range plugins {
		for _, m := range listed.FindAllStringSubmatch(readmeOf(t, name), -1) {
			var labels []string
			if m[2] != "" {
				labels = strings.Split(m[2], ", ")
			}
			out[m[1]] = labels
			if m[3] == "histogram" {
				out[m[1]+"_bucket"] = append(slices.Clone(labels), "le")
			}
		}
	}
	return out
}

var (
	metricInExpr   = regexp.MustCompile(`(coredns_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	matcherInExpr  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	groupingInExpr = regexp.MustCompile(`\b(?:by|on|group_left|group_right|without)\s*\(([^)]*)\)`)
	labelInText    = regexp.MustCompile(`\$labels\.([a-z_]+)`)
)

// TestDashboardAlertsAndReadmesNameOnlyWhatThereIs goes through every
// expression: the metrics exist, and have the labels that are asked for.
func TestDashboardAlertsAndReadmesNameOnlyWhatThereIs(t *testing.T) {
	known := metricLabels(t)
	used := map[string]bool{}
	for where, expr := range expressions(t) {
		expr = strings.ReplaceAll(expr, "$__rate_interval", "5m")
		if strings.Count(expr, "(") != strings.Count(expr, ")") || strings.Count(expr, "{") != strings.Count(expr, "}") || strings.Count(expr, "[") != strings.Count(expr, "]") {
			t.Errorf("%s: unbalanced: %s", where, expr)
		}
		labels := []string{"instance", "job"}
		metrics := metricInExpr.FindAllStringSubmatch(expr, -1)
		if len(metrics) == 0 {
			t.Errorf("%s: no metric in %s", where, expr)
		}
		for _, m := range metrics {
			own, ok := known[m[1]]
			if !ok {
				t.Errorf("%s: there is no metric %s", where, m[1])
				continue
			}
			used[strings.TrimSuffix(m[1], "_bucket")] = true
			labels = append(labels, own...)
			for _, l := range matcherInExpr.FindAllStringSubmatch(m[2], -1) {
				if l[1] != "instance" && !slices.Contains(own, l[1]) {
					t.Errorf("%s: %s has no label %s", where, m[1], l[1])
				}
			}
		}
		for _, g := range groupingInExpr.FindAllStringSubmatch(expr, -1) {
			for l := range strings.SplitSeq(g[1], ",") {
				if l = strings.TrimSpace(l); l != "" && !slices.Contains(labels, l) {
					t.Errorf("%s: none of its metrics has a label %s: %s", where, l, expr)
				}
			}
		}
	}
	for _, group := range readAlerts(t).Groups {
		for _, r := range group.Rules {
			checkAlert(t, r.Alert, r.Expr, r.For, r.Labels, r.Annotations, known)
		}
	}
	for name := range known {
		if !used[name] && !strings.HasSuffix(name, "_bucket") {
			t.Errorf("%s is in no panel, alert or example", name)
		}
	}
}

// checkAlert checks what is not an expression: a person reads it at night.
func checkAlert(t *testing.T, name, expr, wait string, labels, texts map[string]string, known map[string][]string) {
	t.Helper()
	if name == "" || labels["severity"] == "" || texts["summary"] == "" || texts["description"] == "" {
		t.Errorf("alert %q lacks a name, severity, summary or description", name)
	}
	if wait != "" {
		if _, err := time.ParseDuration(wait); err != nil {
			t.Errorf("alert %s: for: %v", name, err)
		}
	}
	have := []string{"instance"}
	for _, m := range metricInExpr.FindAllStringSubmatch(expr, -1) {
		have = append(have, known[m[1]]...)
	}
	for _, l := range labelInText.FindAllStringSubmatch(texts["summary"]+texts["description"], -1) {
		if !slices.Contains(have, l[1]) {
			t.Errorf("alert %s: its series have no label %s", name, l[1])
		}
	}
}

// TestDashboardCanBeImported checks what Grafana does not forgive.
func TestDashboardCanBeImported(t *testing.T) {
	d := readDashboard(t)
	if d.Title == "" || d.UID == "" || len(d.Panels) == 0 || len(d.Templating.List) == 0 {
		t.Fatalf("title %q, uid %q, %d panels, %d variables", d.Title, d.UID, len(d.Panels), len(d.Templating.List))
	}
	ids := map[int]bool{}
	cells := map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q has an id of another", p.Title)
		}
		ids[p.ID] = true
		if p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("panel %q has no description, or no expression", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies over %q, or beyond the edge", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
	}
}

// TestListedMetricsAreExported compares the READMEs with what a server gives
// that has been asked, in both ways.
func TestListedMetricsAreExported(t *testing.T) {
	url := "dir://" + t.TempDir()
	publishExample(t, url)
	popctl(t, url, 0, "pulse", "--once")
	web := loopback(freePort(t))
	corefile, addr := corefileFor(t, url, t.TempDir(), "prometheus "+web, "transfer {\n to *\n }")
	corefile += fmt.Sprintf(".:%d {\n bind 127.0.0.1\n zkzone {\n source %s\n zones catalog\n }\n}\n", freePort(t), url)
	startCoreDNS(t, corefile, addr)
	ask(t, addr, question("www.example.org", dns.TypeA))
	popctl(t, url, 0, "zone", "set", "example.org", "new", "60", "A", "192.0.2.1")
	var text string
	eventually(t, "the cache is written, and a change followed", func() error {
		text = scrape(t, web)
		for _, want := range []string{"coredns_zkzone_cache_write_timestamp_seconds{", "coredns_zkzone_follow_seconds_bucket{", `coredns_zkzone_state{dataset="zones/example.org"} 0`} {
			if !strings.Contains(text, want) {
				return fmt.Errorf("no %s in\n%s", want, text)
			}
		}
		return nil
	})
	// What a sound server has nothing to count of.
	silent := []string{
		"coredns_zkzone_refused_total", "coredns_zkzone_transfers_total", "coredns_zkzone_notify_errors_total", "coredns_popmap_ecs_formerrs_total",
		"coredns_popmap_geoip_database_timestamp_seconds", // without geoip
	}
	known := metricLabels(t)
	for name, labels := range known {
		sample := regexp.MustCompile(`(?m)^` + name + `(_bucket)?(?:\{(.*)\})? [0-9.e+-]+$`).FindStringSubmatch(text)
		switch {
		case sample == nil && !slices.Contains(silent, name):
			t.Errorf("%s is listed and not exported", name)
		case sample != nil:
			for _, l := range labels {
				if !strings.Contains(","+sample[2], ","+l+"=") {
					t.Errorf("%s has no label %s: %s", name, l, sample[0])
				}
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (coredns_(?:zkzone|popmap|freshness)_[a-z_]+) `).FindAllStringSubmatch(text, -1) {
		if _, ok := known[m[1]]; !ok {
			t.Errorf("%s is exported and in no README's list", m[1])
		}
	}
}

func scrape(t *testing.T, addr string) string {
	t.Helper()
	r, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestGrafanaFolderIsDescribed: the folder's README names its files.
func TestGrafanaFolderIsDescribed(t *testing.T) {
	files, err := filepath.Glob("../docs/grafana/*")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	text, err := os.ReadFile("../docs/grafana/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := filepath.Base(f); name != "README.md" && !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/grafana/README.md does not name %s", name)
		}
	}
}
