package popmap

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/geoip"
	"github.com/popdns/popdns/internal/steer"

	clog "github.com/coredns/coredns/plugin/pkg/log"
)

// startWait bounds how long a start waits for the PoP table of a store that
// does not answer and that is not in the disk cache either.
const startWait = time.Second

var log = clog.NewWithPlugin(pluginName)

// geoMap is a map that this server compiles itself, from GeoIP databases and
// the places of the PoPs: each network gets the PoPs nearest to it. It is
// compiled anew when a file or a place changes, by one goroutine, and swapped
// as a whole; what fails to compile leaves it as it is.
type geoMap struct {
	files    []string // the first that knows a network counts
	near     geoip.Near
	fallback []string // the block's default list, nil for none

	current atomic.Pointer[steer.Map] // nil until the PoP table has come

	source *edge.Source
	wake   chan struct{}
	cancel context.CancelFunc
	wg     sync.WaitGroup

	// Of the last attempt; only the goroutine's.
	state  geoip.State
	places []place
}

// place is what of a PoP the map depends on: a drain compiles nothing.
type place struct {
	name     string
	lat, lon float64
}

func newGeoMap() *geoMap {
	return &geoMap{near: geoip.Near{Count: geoip.DefaultCount, Bias: map[string]geoip.Bias{}}, wake: make(chan struct{}, 1)}
}

// parse reads one of the properties "geoip FILE..." and "near COUNT [POP=PERCENT...]".
func (g *geoMap) parse(property string, args []string, root string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s takes arguments: geoip FILE... and near COUNT [POP=PERCENT...]", property)
	}
	if property == "geoip" {
		for _, file := range args {
			if !filepath.IsAbs(file) {
				file = filepath.Join(root, file)
			}
			g.files = append(g.files, file)
		}
		return nil
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 || n > geoip.MaxCount {
		return fmt.Errorf("near: %q is no number of PoPs from 1 to %d", args[0], geoip.MaxCount)
	}
	g.near.Count = n
	for _, arg := range args[1:] {
		pop, percent, _ := strings.Cut(arg, "=")
		n, err := strconv.Atoi(strings.TrimSuffix(percent, "%"))
		if _, twice := g.near.Bias[pop]; twice || err != nil || n < -geoip.MaxBias || n > geoip.MaxBias {
			return fmt.Errorf("near: bias %q: write POP=PERCENT once for each PoP, from -%d to %d", arg, geoip.MaxBias, geoip.MaxBias)
		}
		g.near.Bias[pop] = geoip.Bias{Percent: n}
	}
	return nil
}

// start compiles what can be compiled now and follows the files and the PoP
// table until stop. A database that can't be read is an error here, as a
// mistake in the Corefile would be.
func (g *geoMap) start(src *edge.Source) error {
	g.source = src
	for _, file := range g.files {
		if _, err := geoip.Open(file); err != nil {
			return err
		}
	}
	// Before the first query, if it can be: a store that is there has answered long before.
	settle, settled := context.WithTimeout(context.Background(), startWait)
	_ = src.PoPs().Settle(settle)
	settled()
	g.update()
	ctx, cancel := context.WithCancel(context.Background())
	nudge := func() {
		select {
		case g.wake <- struct{}{}:
		default:
		}
	}
	stopPoPs := src.OnPoPs(nudge)
	nudge() // a table may have come in between
	g.cancel = func() { stopPoPs(); cancel() }
	since := g.state
	g.wg.Go(func() { geoip.Watch(ctx, g.files, since, nudge) })
	g.wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-g.wake:
				g.update()
			}
		}
	})
	return nil
}

func (g *geoMap) stop() {
	if g.cancel != nil {
		g.cancel()
		g.wg.Wait()
	}
}

// update compiles the map if something that it is made of has changed since
// the last attempt.
func (g *geoMap) update() {
	state := geoip.Look(g.files)
	v := g.source.PoPs().Current()
	if v == nil {
		g.state = state
		return
	}
	places := placesOf(v.Value)
	if state.Same(g.state) && slices.Equal(places, g.places) {
		return
	}
	g.state, g.places = state, places
	m, from, err := g.compile(v.Value)
	if err != nil {
		geoipFailures.Inc()
		kept := "clients get the default list"
		if g.current.Load() != nil {
			kept = "the map that was compiled before stays"
		}
		log.Errorf("geoip: %v; %s", err, kept)
		return
	}
	g.current.Store(m)
	log.Infof("geoip: compiled a map of %d rows from %s", m.Len(), strings.Join(from, ", "))
}

func placesOf(pops *steer.PoPs) []place {
	var out []place
	for p := range pops.All() {
		out = append(out, place{p.Name, p.Lat, p.Lon})
	}
	return out
}

// compile makes the map anew and names the databases that it came from.
func (g *geoMap) compile(pops *steer.PoPs) (m *steer.Map, from []string, err error) {
	b := steer.NewMapBuilder("")
	list := g.fallback
	if list == nil {
		list = shared(pops)
	}
	if len(list) == 0 {
		return nil, nil, errors.New("the PoP table is empty")
	}
	if err := b.Default(list); err != nil {
		return nil, nil, err
	}
	for _, file := range g.files {
		db, err := geoip.Open(file)
		if err != nil {
			return nil, nil, err
		}
		rules := geoip.Rules{File: file, Near: &g.near}
		if _, err := rules.Compile(b, geoip.Databases{City: db}, pops); err != nil {
			return nil, nil, err
		}
		geoipTimestamp.WithLabelValues(filepath.Base(file)).Set(float64(db.Built().Unix()))
		from = append(from, db.String())
	}
	m, err = b.Build(0)
	return m, from, err
}

// shared is the list of whom no database knows, where the Corefile has none:
// all PoPs, each with an equal share.
func shared(pops *steer.PoPs) []string {
	var list []string
	for p := range pops.All() {
		if len(list) < steer.MaxListLen {
			list = append(list, p.Name+"*1")
		}
	}
	return list
}

// Ready implements ready.Readiness: a server that should steer by databases is
// ready once it does.
func (p *PopMap) Ready() bool { return p.geo == nil || p.geo.current.Load() != nil }
