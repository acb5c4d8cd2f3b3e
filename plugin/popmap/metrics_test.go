package popmap

import (
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// gathered returns all of popmap's metrics by name and labels; a histogram as its count and its sum.
func gathered(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		name, ours := strings.CutPrefix(f.GetName(), "coredns_popmap_")
		if !ours {
			continue
		}
		for _, m := range f.GetMetric() {
			key := name
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			if h := m.GetHistogram(); h != nil {
				all[key+" count"], all[key+" sum"] = float64(h.GetSampleCount()), h.GetSampleSum()
			} else {
				all[key] = m.GetCounter().GetValue()
			}
		}
	}
	return all
}

func TestWhatIsCounted(t *testing.T) {
	p, _ := newPopMap(t)
	const other = "192.0.2.200"
	// Labels are in alphabetical order, and the server's address is "" here.
	for _, tc := range []struct {
		what string
		ask  func()
		want map[string]float64
	}{
		{"a client of the ecs plane", func() { askPopMap(t, p, other, "www.example.org.", v4("44.1.2.0", 24)) },
			map[string]float64{"choices_total iad2 ecs ": 1, "ecs_scope_length ipv4  count": 1, "ecs_scope_length ipv4  sum": 16}},
		{"one in IPv6", func() { askPopMap(t, p, other, "www.example.org.", v6("2001:db8:1::", 56)) },
			map[string]float64{"choices_total ams1 ecs ": 1, "ecs_scope_length ipv6  count": 1, "ecs_scope_length ipv6  sum": 48}},
		{"a resolver that no row covers", func() { askPopMap(t, p, other, "www.example.org.", nil) },
			map[string]float64{"choices_total sin1 default ": 1, "unmapped_total ": 1}},
		{"a hole, and a resolver that no row covers", func() { askPopMap(t, p, other, "www.example.org.", v4("88.0.113.0", 24)) },
			map[string]float64{"choices_total sin1 hole ": 1, "unmapped_total ": 1, "ecs_scope_length ipv4  count": 1, "ecs_scope_length ipv4  sum": 2}},
		{"no map", func() { askPopMap(t, p, other, "bare.example.org.", v4("44.1.2.0", 24)) },
			map[string]float64{"choices_total iad2 no-map ": 1, "ecs_scope_length ipv4  count": 1}},
		{"an unsteered name", func() { askPopMap(t, p, other, "plain.example.org.", v4("44.1.2.0", 24)) }, nil},
		{"a missing name", func() { askPopMap(t, p, other, "missing.example.org.", v4("44.1.2.0", 24)) }, nil},
		{"a malformed option", func() {
			subnet := v4("44.1.2.0", 24)
			subnet.SourceScope = 1
			askPopMap(t, p, other, "www.example.org.", subnet)
		}, map[string]float64{"ecs_formerrs_total ": 1}},
	} {
		before := gathered(t)
		tc.ask()
		got := map[string]float64{}
		for name, v := range gathered(t) {
			if d := v - before[name]; d != 0 {
				got[name] = d
			}
		}
		if !maps.Equal(got, tc.want) {
			t.Errorf("%s: counted %v, want %v", tc.what, got, tc.want)
		}
	}
}

func TestManyQueriesAtOnceLoseNoCount(t *testing.T) {
	p := &PopMap{}
	const workers, each = 8, 500
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range each {
				p.tallies("s").choice(choice{"ams1", "ecs"}).Inc()
				p.tallies("t").choice(choice{"pop" + string(rune('a'+i%20)), "ecs"}).Inc()
			}
		})
	}
	wg.Wait()
	all := gathered(t)
	if got := all["choices_total ams1 ecs s"]; got != workers*each {
		t.Errorf("counted %v, want %d", got, workers*each)
	}
	if got := all["choices_total popa ecs t"]; got != workers*each/20 {
		t.Errorf("counted %v, want %d", got, workers*each/20)
	}
}

func TestMetricsAreFitForPrometheus(t *testing.T) {
	newTallies("lint").choice(choice{"ams1", "ecs"}).Inc()
	formErrs.WithLabelValues("lint").Inc()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "coredns_popmap_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}
