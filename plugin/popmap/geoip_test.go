package popmap

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/edge/edgetest"
	"github.com/popdns/popdns/internal/geoip/geoiptest"
	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/caddy"
	"github.com/prometheus/client_golang/prometheus"
)

// newGeo returns a popmap without a map in the store, whose one database says
// that 44.1.0.0/16 is in Amsterdam.
func newGeo(t *testing.T, corefile string) (p *PopMap, st *edgetest.Store, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "city.mmdb")
	writeCity(t, file, 52.37, 4.89)
	st = edgetest.New(t)
	st.PoPs(t, testPoPs)
	st.Zone(t, "example.org.", testZone)
	src := st.Follow(t, "example.org.").Source
	if err := src.PoPs().Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := caddy.NewTestController("dns", strings.ReplaceAll(corefile, "FILE", file))
	c.ServerBlockKeys = []string{"example.org"}
	p, err := parse(c)
	if err != nil {
		t.Fatal(err)
	}
	p.source = src
	p.Next = lookup(src, zone.MustParseName("example.org."))
	if err := p.geo.start(src); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.geo.stop)
	return p, st, file
}

func failuresTotal(t *testing.T) float64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "coredns_popmap_geoip_failures_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("no counter of failures")
	return 0
}

func writeCity(t *testing.T, file string, lat, lon float64) {
	t.Helper()
	w := geoiptest.New("GeoLite2-City")
	w.Add(t, "44.1.0.0/16", geoiptest.Place{Country: "NL", City: "Somewhere", Lat: lat, Lon: lon, Radius: 20}.Record())
	w.Write(t, file)
}

// eventually asks for a name of the client until the answer is wanted.
func eventually(t *testing.T, p *PopMap, want, what string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		m := askPopMap(t, p, "192.0.2.200", "www.example.org.", v4("44.1.2.0", 24))
		if got := addresses(m); got == want {
			return
		} else if time.Now().After(end) {
			t.Fatalf("%s: answer is %q, want %q", what, got, want)
		}
	}
}

func TestGeoIPSteersWithoutAMapAndFollowsFilesAndPoPs(t *testing.T) {
	p, st, file := newGeo(t, "popmap {\ngeoip FILE\ndefault sin1\n}")
	// ams1, iad2 and sin1 are 10.0.0.1, 2 and 3; the block is compiled before the first query.
	m := askPopMap(t, p, "192.0.2.200", "www.example.org.", v4("44.1.2.0", 24))
	if got, scope := addresses(m), subnetOf(m).SourceScope; got != "10.0.0.1" || scope != 16 {
		t.Errorf("a client in Amsterdam: got %s, scope %d, want 10.0.0.1, scope 16", got, scope)
	}
	if got := addresses(askPopMap(t, p, "44.1.2.3", "www.example.org.", nil)); got != "10.0.0.1" {
		t.Errorf("a resolver in Amsterdam: got %s, want 10.0.0.1", got)
	}
	if got := addresses(askPopMap(t, p, "192.0.2.200", "www.example.org.", v4("88.1.2.0", 24))); got != "10.0.0.3" {
		t.Errorf("a client whom the database does not know: got %s, want the default's 10.0.0.3", got)
	}

	compiled := p.geo.current.Load()
	if _, err := st.DrainPoP(t.Context(), "ams1", 100); err != nil {
		t.Fatal(err)
	}
	eventually(t, p, "10.0.0.2", "ams1 drained")
	if p.geo.current.Load() != compiled {
		t.Error("a drain compiled the map anew")
	}
	if _, err := st.DrainPoP(t.Context(), "ams1", 0); err != nil {
		t.Fatal(err)
	}
	writeCity(t, file, 1.3, 103.8)
	eventually(t, p, "10.0.0.3", "the network moved to Singapore")

	failures := failuresTotal(t)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, good[:len(good)/2], 0o600); err != nil { // in place, cut off
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); failuresTotal(t) == failures; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a file that was cut off is not counted")
		}
	}
	eventually(t, p, "10.0.0.3", "the old map stays when a file is cut off")
	if n := failuresTotal(t); n != failures+1 {
		t.Errorf("one broken file is counted %v times", n-failures)
	}
	writeCity(t, file, 39, -77)
	eventually(t, p, "10.0.0.2", "a good file heals it")

	st.PoPs(t, strings.NewReplacer("sin1: {lat: 1, lon: 103}", "sin1: {lat: 39, lon: -77}", "iad2: {lat: 39, lon: -77}", "iad2: {lat: 1, lon: 103}").Replace(testPoPs))
	eventually(t, p, "10.0.0.3", "the PoPs changed places")

	st.Map(t, "edge", "default: [ams1]\n")
	p.source.FollowMap("edge")
	eventually(t, p, "10.0.0.1", "a map of the store comes first")
}

func TestGeoIPBiasAndSeveralDatabases(t *testing.T) {
	mine := filepath.Join(t.TempDir(), "mine.mmdb")
	w := geoiptest.New("mine")
	w.Add(t, "44.1.2.0/24", geoiptest.Place{Country: "SG", City: "Singapore", Lat: 1.3, Lon: 103.8}.Record())
	w.Write(t, mine)
	p, _, _ := newGeo(t, "popmap {\ngeoip "+mine+" FILE\nnear 1 ams1=-99%\n}")
	eventually(t, p, "10.0.0.3", "the first database that knows a network")
	m := askPopMap(t, p, "192.0.2.200", "www.example.org.", v4("44.1.3.0", 24))
	if got := addresses(m); got != "10.0.0.2" {
		t.Errorf("Amsterdam's own PoP counts a hundred times as far: got %s, want 10.0.0.2", got)
	}
	if list := p.geo.current.Load().Default(); len(list) != 3 || list[0] != "ams1*1" {
		t.Errorf("default is %v, want an equal share of each PoP", list)
	}
}

func TestGeoIPDatabaseMissingAtStartIsAnError(t *testing.T) {
	g := newGeoMap()
	if err := g.parse("geoip", []string{"missing.mmdb"}, "/nowhere"); err != nil {
		t.Fatal(err)
	}
	if err := g.start(nil); err == nil || !strings.Contains(err.Error(), "/nowhere/missing.mmdb") {
		t.Errorf("got %v, want an error that names the file", err)
	}
}
