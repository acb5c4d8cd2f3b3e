package probe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are a prober's. Labels are bounded by the spec.
type Metrics struct {
	checks   *prometheus.CounterVec
	up       *prometheus.GaugeVec
	seconds  *prometheus.HistogramVec
	probers  prometheus.Gauge
	suspect  prometheus.Gauge
	held     prometheus.Gauge
	changes  prometheus.Counter
	failures prometheus.Counter
	synced   prometheus.Gauge
}

// NewMetrics registers a prober's metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "popdns", Subsystem: "probe", Name: name, Help: help}
	}
	gauge := func(name, help string) prometheus.GaugeOpts { return prometheus.GaugeOpts(counter(name, help)) }
	return &Metrics{
		checks: f.NewCounterVec(counter("checks_total", "Counter of checks by target and result (ok, failed)."), []string{"pop", "service", "result"}),
		up:     f.NewGaugeVec(gauge("up", "1 while this prober thinks the target up, else 0."), []string{"pop", "service"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "popdns", Subsystem: "probe", Name: "check_seconds", Help: "Histogram of how long checks took, by service.",
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"service"}),
		probers:  f.NewGauge(gauge("live_probers", "Probers whose views count.")),
		suspect:  f.NewGauge(gauge("suspect", "1 while everything fails here, so that this prober's view doesn't count, else 0.")),
		held:     f.NewGauge(gauge("held_targets", "Targets that stay as they are although some probers think otherwise.")),
		changes:  f.NewCounter(counter("published_changes_total", "Counter of changes of the PoP table by this prober.")),
		failures: f.NewCounter(counter("store_failures_total", "Counter of failures to read or write the store.")),
		synced:   f.NewGauge(gauge("last_view_timestamp_seconds", "Unix time at which this prober's view was last written.")),
	}
}

func (m *Metrics) checked(t Target, h Health, took time.Duration, err error) {
	result, up := "ok", 1.0
	if err != nil {
		result = "failed"
	}
	if h.Down {
		up = 0
	}
	m.checks.WithLabelValues(t.PoP, t.Service, result).Inc()
	m.up.WithLabelValues(t.PoP, t.Service).Set(up)
	m.seconds.WithLabelValues(t.Service).Observe(took.Seconds())
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
