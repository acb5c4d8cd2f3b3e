package test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/geoip/geoiptest"
)

const geoPoPs = `ams1: {lat: 52.3, lon: 4.9}
iad2: {lat: 38.9, lon: -77.4}
sin1: {lat: 1.3, lon: 103.9}
`

const geoZone = `$ORIGIN example.org.
@     60 IN SOA ns h 1 2 3 4 5
@     60 IN NS ns
ns    60 IN A 192.0.2.53
www   60 IN A 192.0.2.1 ;@ pop=ams1 map=edge
www   60 IN A 192.0.2.2 ;@ pop=iad2
www   60 IN A 192.0.2.3 ;@ pop=sin1
plain 60 IN A 192.0.2.80
`

// city writes a database in which 44.1.0.0/16 is at these coordinates and 44.2.0.0/16 in Virginia.
func city(t *testing.T, path string, lat, lon float64) {
	t.Helper()
	w := geoiptest.New("GeoLite2-City")
	w.Add(t, "44.1.0.0/16", geoiptest.Place{Continent: "EU", Country: "NL", City: "Somewhere", Lat: lat, Lon: lon, Radius: 20}.Record())
	w.Add(t, "44.2.0.0/16", geoiptest.Place{Continent: "NA", Country: "US", City: "Ashburn", Lat: 39, Lon: -77.5, Radius: 20}.Record())
	w.Alias("2002::/16")
	w.Write(t, path)
}

// TestGeoIPAtTheEdgeAndInAPublishedMapSteerAlike asks two servers: one compiles a database itself and has no map, the other follows a map that popctl compiled
// and has no database.
func TestGeoIPAtTheEdgeAndInAPublishedMapSteerAlike(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "city.mmdb")
	city(t, db, 52.4, 4.9)
	pops := writeFile(t, "pops.yaml", geoPoPs)
	zone := writeFile(t, "example.org.zone", geoZone)
	serve := func(popmap string, prepare func(url string)) (addr, url string) {
		url = "dir://" + t.TempDir()
		popctl(t, url, 0, "init")
		popctl(t, url, 0, "pop", "apply", pops)
		popctl(t, url, 0, "zone", "publish", "example.org", zone)
		prepare(url)
		port := freePort(t)
		addr = loopback(port)
		startCoreDNS(t, fmt.Sprintf("example.org:%d {\n bind 127.0.0.1\n popmap {\n %s\n }\n zkzone {\n source %s\n }\n errors\n}\n", port, popmap, url), addr)
		return addr, url
	}
	edgeYAML := writeFile(t, "edge.yaml", "default: [sin1]\ngeo:\n  databases: {city: nowhere.mmdb}\n  near: {count: 3}\n")
	publish := func(url string) { popctl(t, url, 0, "map", "publish", "edge", edgeYAML, "--geoip-city", db) }
	atEdge, _ := serve("geoip "+db+"\n default sin1", func(string) {})
	followed, url := serve("default iad2", publish)

	check := func(subnet, want string, scope int) {
		t.Helper()
		for what, addr := range map[string]string{"geoip at the edge": atEdge, "a published map": followed} {
			eventually(t, what+" for "+subnet, func() error {
				r, err := exchange(addr, withECS(question("www.example.org", dns.TypeA), subnet))
				if err != nil {
					return err
				}
				if got := values(r); got != want || ecsScope(r) != scope {
					return fmt.Errorf("got %s with scope %d, want %s with scope %d", got, ecsScope(r), want, scope)
				}
				return nil
			})
		}
	}
	check("44.1.2.0/24", "192.0.2.1", 16)
	check("44.2.2.0/24", "192.0.2.2", 16)
	check("2002:2c01:200::/40", "192.0.2.1", 32) // 6to4: IPv4's list and scope behind the 16 bits
	check("88.1.2.0/24", "192.0.2.3", 2)

	city(t, db, 1, 104) // the network has moved to Singapore
	publish(url)
	check("44.1.2.0/24", "192.0.2.3", 16)
	for what, addr := range map[string]string{"geoip at the edge": atEdge, "a published map": followed} {
		if scope := ecsScope(ask(t, addr, withECS(question("plain.example.org", dns.TypeA), "44.1.2.0/24"))); scope != 0 {
			t.Errorf("%s: a name that is not steered has scope %d", what, scope)
		}
	}
}
