package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"

	"golang.org/x/sync/errgroup"
)

const (
	// batchWriters is how many zones of a batch are committed at once: a ZooKeeper gathers what comes at the same time into one write to its disk.
	batchWriters = 32
	// zoneFileSuffix is what the names of a batch's files end in.
	zoneFileSuffix = ".zone"
)

// A ZoneFile is one zone of a batch.
type ZoneFile struct {
	Origin zone.Name
	Source Source
}

// ZoneFiles returns a directory's files NAME.zone, each for the zone NAME, by name; an octet that a file's name can't have is written %XX, as in the
// store. ignored counts what else is there.
func ZoneFiles(dir string) (files []ZoneFile, ignored int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, err
	}
	seen := map[zone.Name]string{}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), zoneFileSuffix)
		if !ok || e.IsDir() {
			ignored++
			continue
		}
		path := filepath.Join(dir, e.Name())
		origin, err := zone.ParseName(dataset.ZoneName(name))
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %q is no zone name", path, name)
		}
		if other, twice := seen[origin]; twice {
			return nil, 0, fmt.Errorf("%s: is the same zone as %s", path, other)
		}
		seen[origin] = path
		files = append(files, ZoneFile{origin, Source{Name: path, Open: func() (io.ReadCloser, error) { return os.Open(path) }}})
	}
	return files, ignored, nil
}

// An Outcome is what became of one zone of a batch.
type Outcome struct {
	ZoneFile
	Receipt *ZoneReceipt
	Err     error
}

// PublishZones makes each zone what its file says. Nothing is written before all files were read without error; then zones are committed side by side,
// each as by PublishZone within limit, and those that fail leave the others alone. New zones come into the catalog together, at the end. The outcomes are
// in the order of files; the error is one that concerns all of them, and what Err of an outcome says holds even then. progress may be nil.
func (p *Publisher) PublishZones(ctx context.Context, files []ZoneFile, format Format, limit time.Duration, progress func(done, total int)) ([]Outcome, error) {
	out := make([]Outcome, len(files))
	for i, f := range files {
		out[i].ZoneFile = f
	}
	pops, err := LoadPoPs(ctx, p.s)
	if err != nil {
		return nil, err
	}
	if p.o.Force {
		pops = nil
	}
	tick := counted(progress, 2*len(files))
	zones := make([]*zone.Snapshot, len(files))
	if err := sideBySide(ctx, len(files), runtime.GOMAXPROCS(0), func(i int) error {
		zones[i], out[i].Err = ReadZone(files[i].Source, format, files[i].Origin, pops, nil)
		tick()
		return nil
	}); err != nil {
		return out, err
	}
	if failed(out) {
		return out, nil
	}
	if err := dataset.Prepare(ctx, p.s, paths(files)); err != nil {
		return out, err
	}
	workers := make(chan *Publisher, batchWriters)
	for range batchWriters {
		own := New(p.s, p.o)
		own.o.Progress = nil
		workers <- own
	}
	broken := sideBySide(ctx, len(files), batchWriters, func(i int) error {
		w := <-workers
		defer func() { workers <- w }()
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		out[i].Receipt, out[i].Err = w.publishUnlisted(ctx, zones[i])
		zones[i] = nil
		tick()
		if errors.Is(out[i].Err, store.ErrUnavailable) || errors.Is(out[i].Err, dataset.ErrFrozen) {
			return out[i].Err // the rest would only wait for the same
		}
		return nil
	})
	for i := range out {
		if out[i].Receipt == nil && out[i].Err == nil {
			out[i].Err = fmt.Errorf("zone %s: not tried", files[i].Origin)
		}
	}
	// Also after an error: what was committed is to be seen.
	if err := dataset.ListAll(ctx, p.s, p.o.Keys, committed(out), p.o.Force); err != nil {
		return out, errors.Join(broken, fmt.Errorf("%d zones are committed but not in the catalog; publish the same again: %w", len(committed(out)), err))
	}
	return out, broken
}

// publishUnlisted is PublishZone for a zone that is listed later. It keeps no writer: each zone comes once.
func (p *Publisher) publishUnlisted(ctx context.Context, next *zone.Snapshot) (*ZoneReceipt, error) {
	defer delete(p.zones, next.Origin())
	c := p.commit()
	c.MinSerial, c.Unlisted = next.Serial(), true
	return p.commitZone(ctx, next.Origin(), c, guardZone, func(*zone.Snapshot) (*zone.Snapshot, error) { return next, nil })
}

func paths(files []ZoneFile) []string {
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = ZoneRef(f.Origin).Path
	}
	return out
}

// committed are the paths of the zones that are as their files say.
func committed(out []Outcome) []string {
	var files []ZoneFile
	for _, o := range out {
		if o.Receipt != nil {
			files = append(files, o.ZoneFile)
		}
	}
	return paths(files)
}

func failed(out []Outcome) bool {
	for _, o := range out {
		if o.Err != nil {
			return true
		}
	}
	return false
}

// counted returns what is called, concurrently, for each thing that is done.
func counted(progress func(done, total int), total int) func() {
	var mu sync.Mutex
	done := 0
	return func() {
		mu.Lock()
		defer mu.Unlock()
		done++
		if progress != nil {
			progress(done, total)
		}
	}
}

// sideBySide calls fn for 0 … n-1, at most limit at a time, and waits. The first error ends the rest and is returned.
func sideBySide(ctx context.Context, n, limit int, fn func(i int) error) error {
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(limit)
	for i := range n {
		g.Go(func() error {
			if err := within.Err(); err != nil {
				return err
			}
			return fn(i)
		})
	}
	return g.Wait()
}
