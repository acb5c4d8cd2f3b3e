package test

import (
	"fmt"
	"io"
	"os"
	"sync"
	"text/tabwriter"
	"time"

	"testing"

	"github.com/popdns/popdns/test/benchzone"
)

// A figure is one line of the table that `make bench` ends with.
type figure struct{ what, seen, aim string }

var figures struct {
	mu   sync.Mutex
	list []figure
}

// report adds a figure to the table. aim is "" where there is none.
func report(what, aim, format string, args ...any) {
	figures.mu.Lock()
	defer figures.mu.Unlock()
	figures.list = append(figures.list, figure{what, fmt.Sprintf(format, args...), aim})
}

// printFigures writes the table, if a benchmark reported anything.
func printFigures(w io.Writer) {
	figures.mu.Lock()
	defer figures.mu.Unlock()
	if len(figures.list) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nmeasured\tseen\taim\n")
	for _, f := range figures.list {
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.what, f.seen, f.aim)
	}
	_ = t.Flush()
}

// benchInput is a generated zone and the file it was written to.
type benchInput struct {
	*benchzone.Zone
	path string
}

var benchInputs = map[int]benchInput{}

// benchZone generates the zone of so many records, once in a run.
func benchZone(tb testing.TB, records int) benchInput {
	tb.Helper()
	if in, ok := benchInputs[records]; ok {
		return in
	}
	path := fmt.Sprintf("%s/bench%d.zone", bin, records)
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	z, err := benchzone.Write(f, records)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		tb.Fatal(err)
	}
	benchInputs[records] = benchInput{z, path}
	return benchInputs[records]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond)) }
