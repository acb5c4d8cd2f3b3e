package zkzone

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/popdns/popdns/internal/edge"

	"github.com/prometheus/client_golang/prometheus"
)

// collector tells Prometheus how every open Source and its datasets stand, as
// they do when it is asked: a gauge that events set would go on saying "live"
// of a zone whose store is gone, and stay behind a zone that is not served any
// more.
//
// A dataset has one series, unless it is pooled (see seriesOf), and so has a store. If several Sources follow the
// same (blocks with different stores, or with different cache or verify), it is
// that of the one in the worst state.
type collector struct{ sources *registry }

func init() { prometheus.MustRegister(collector{sources}) }

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		serialDesc, itemsDesc, recordsDesc, publishedDesc, sourceDesc, stateDesc, datasetsDesc,
		heartbeatDesc, connectedDesc, contactDesc, sessionsDesc, cacheWritesDesc, cacheWrittenDesc,
		catalogZonesDesc, catalogRevDesc,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	reports := c.sources.reports(time.Now())
	for _, d := range worstDatasets(reports) {
		if _, own := series.ofDataset(d.Path); own {
			collectDataset(ch, d)
		}
	}
	for _, s := range worstStores(reports) {
		collectStore(ch, s)
	}
}

// stateNumbers are the values of the state metric: the greater, the worse.
var stateNumbers = map[edge.State]int{
	edge.StateLive: 0, edge.StateStale: 1, edge.StateDisk: 2, edge.StateFrozen: 3, edge.StateNone: 4,
}

func collectDataset(ch chan<- prometheus.Metric, d edge.DatasetReport) {
	gauge := func(desc *prometheus.Desc, value float64) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, d.Path)
	}
	gauge(stateDesc, float64(stateNumbers[d.State]))
	if d.State == edge.StateNone {
		return
	}
	gauge(serialDesc, float64(d.Serial))
	gauge(itemsDesc, float64(d.Items))
	gauge(publishedDesc, unixSeconds(d.Published))
	gauge(sourceDesc, unixSeconds(d.SourceTime))
	if d.Kind == "zone" {
		gauge(recordsDesc, float64(d.Records))
	}
}

// A storeReport is what the Sources of one store have in common.
type storeReport struct {
	edge.Report
	states map[kindState]int
}

// kindState is what datasets are counted by.
type kindState struct {
	kind  string
	state edge.State
}

// kinds are those of the codecs.
var kinds = []string{"zone", "map", "canary", "pops"}

func collectStore(ch chan<- prometheus.Metric, s *storeReport) {
	store := strings.ToValidUTF8(s.Store, "\uFFFD") // a directory's name may be anything
	metric := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, kind, value, append([]string{store}, labels...)...)
	}
	connected := 0.0
	if s.Status.Connected {
		connected = 1
	}
	metric(connectedDesc, prometheus.GaugeValue, connected)
	metric(sessionsDesc, prometheus.CounterValue, float64(s.Status.Sessions))
	metric(cacheWritesDesc, prometheus.CounterValue, float64(s.CacheWrites))
	for _, kind := range kinds {
		for state := range stateNumbers {
			metric(datasetsDesc, prometheus.GaugeValue, float64(s.states[kindState{kind, state}]), kind, string(state))
		}
	}
	if s.Catalog != nil {
		metric(catalogZonesDesc, prometheus.GaugeValue, float64(s.Catalog.Zones))
		metric(catalogRevDesc, prometheus.GaugeValue, float64(s.Catalog.Rev))
	}
	for desc, t := range map[*prometheus.Desc]time.Time{contactDesc: s.LastContact, heartbeatDesc: s.Heartbeat, cacheWrittenDesc: s.CacheWrittenAt} {
		if !t.IsZero() { // otherwise absent: no time would be the age of the epoch
			metric(desc, prometheus.GaugeValue, unixSeconds(t))
		}
	}
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// reports are those of all open Sources.
func (r *registry) reports(now time.Time) []edge.Report {
	r.mu.Lock()
	open := make([]*edge.Source, 0, len(r.open))
	for _, s := range r.open {
		open = append(open, s.source)
	}
	r.mu.Unlock()
	reports := make([]edge.Report, 0, len(open))
	for _, s := range open {
		reports = append(reports, s.Report(now))
	}
	return reports
}

// worstDatasets returns one report for each path: of those in the worst state
// the one with the oldest data.
func worstDatasets(reports []edge.Report) map[string]edge.DatasetReport {
	worst := map[string]edge.DatasetReport{}
	for _, r := range reports {
		for _, d := range r.Datasets {
			w, ok := worst[d.Path]
			if !ok || cmp.Or(cmp.Compare(stateNumbers[d.State], stateNumbers[w.State]), w.SourceTime.Compare(d.SourceTime)) > 0 {
				worst[d.Path] = d
			}
		}
	}
	return worst
}

// worstStores returns one report for each store.
func worstStores(reports []edge.Report) []*storeReport {
	stores := map[string]*storeReport{}
	var out []*storeReport
	for _, r := range reports {
		s := stores[r.Store]
		if s == nil {
			s = &storeReport{r, map[kindState]int{}}
			stores[r.Store] = s
			out = append(out, s)
		} else {
			s.Status.Connected = s.Status.Connected && r.Status.Connected
			s.Status.Sessions += r.Status.Sessions
			s.LastContact, s.Heartbeat = older(s.LastContact, r.LastContact), older(s.Heartbeat, r.Heartbeat)
			s.CacheWrites += r.CacheWrites
			if s.Catalog == nil || r.Catalog != nil && r.Catalog.Rev < s.Catalog.Rev {
				s.Catalog = r.Catalog
			}
			s.CacheWrittenAt = slices.MaxFunc([]time.Time{s.CacheWrittenAt, r.CacheWrittenAt}, time.Time.Compare)
		}
		for _, d := range r.Datasets {
			s.states[kindState{d.Kind, d.State}]++
		}
	}
	return out
}

func older(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
