package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store/zktest"
)

const million = 1_000_000

// BenchmarkStart starts servers with a zone of a million records, in turn, and measures the time from exec to the first right answer: from the disk
// cache with the store away, from ZooKeeper, and the stock file plugin from the zone file. Then it looks at what each holds in memory.
func BenchmarkStart(b *testing.B) {
	in := benchZone(b, million)
	zk := zktest.Start(b)
	url := zk.URL("/popdns")
	popctl(b, url, 0, "init")
	popctl(b, url, 0, "zone", "publish", "example.org", in.path)
	cache := filepath.Join(b.TempDir(), "cache")
	port, metrics := freePort(b), freePort(b)
	addr := loopback(port)
	corefile := func(body string) string {
		return fmt.Sprintf("example.org:%d {\n bind 127.0.0.1\n prometheus 127.0.0.1:%d\n%s\n}\n", port, metrics, body)
	}
	fromZK := corefile(fmt.Sprintf(" zkzone {\n source %s\n startup_timeout 60s\n }", url))
	filling := corefile(fmt.Sprintf(" zkzone {\n source %s\n cache %s\n startup_timeout 60s\n }", url, cache))
	fromCache := corefile(fmt.Sprintf(" zkzone {\n source zk://127.0.0.1:1/popdns\n cache %s\n startup_timeout 60s\n }", cache))
	fromFile := corefile(" file " + in.path)

	d, _ := launch(b, filling, addr, in)
	eventually(b, "the disk cache is written", func() error {
		_, err := os.Stat(filepath.Join(cache, "zones", "example.org", "head"))
		return err
	})
	d.stop()

	var disk, zoo, file []time.Duration
	var cpu time.Duration
	for b.Loop() {
		for _, s := range []struct {
			corefile string
			times    *[]time.Duration
		}{{fromCache, &disk}, {fromZK, &zoo}, {fromFile, &file}} {
			d, took := launch(b, s.corefile, addr, in)
			*s.times = append(*s.times, took)
			if s.times == &disk {
				cpu += cpuTime(b, d)
			}
			d.stop()
		}
	}
	middle := func(d []time.Duration) time.Duration { return slices.Sorted(slices.Values(d))[len(d)/2] }
	seconds := func(what, aim string, d []time.Duration) {
		report(what, aim, "%.2f s (%.2f to %.2f), file needs %.1f x", middle(d).Seconds(), slices.Min(d).Seconds(), slices.Max(d).Seconds(),
			middle(file).Seconds()/middle(d).Seconds())
	}
	seconds("1M records, exec to first answer, from the disk cache", "0.6 s", disk)
	seconds("1M records, exec to first answer, from ZooKeeper", "1.5 s", zoo)
	report("1M records, processor time to first answer, from the disk cache", "", "%.2f s", (cpu / time.Duration(len(disk))).Seconds())
	b.ReportMetric(middle(file).Seconds()/middle(disk).Seconds(), "x-file-cache")
	b.ReportMetric(middle(file).Seconds()/middle(zoo).Seconds(), "x-file-zk")

	held := func(corefile string) (perRecord, most, objects float64, mark time.Duration) {
		d, _ := launch(b, corefile, addr, in, "GODEBUG=gctrace=1")
		defer d.stop()
		most = float64(peak(b, d)) / million
		perRecord = float64(settled(b, d)) / million
		return perRecord, most, metric(b, loopback(metrics), "go_memstats_heap_objects"), markTime(b, d)
	}
	per, most, objects, mark := held(filling)
	fper, fmost, fobjects, fmark := held(fromFile)
	report("1M records, resident bytes a record, process and disk cache's writer included", "150", "%.0f (while loading %.0f); file %.0f (%.0f), %.1f x", per, most, fper, fmost, fper/per)
	report("1M records, objects on the heap", "next to none", "%.0f; file %.0f, %.0f x", objects, fobjects, fobjects/objects)
	report("1M records, processor time of one collection", "next to none", "%s; file %s, %.0f x", ms(mark), ms(fmark), fmark.Seconds()/mark.Seconds())
	b.ReportMetric(per, "B/record")
}
