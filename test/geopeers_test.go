package test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestRandomMapsAreAnsweredAsGdnsdAndKnotDo serves random nested maps with gdnsd,
// with Knot's geoip module, and with ours, and asks for clients at both sides of
// each border. The PoP must be the same everywhere, and the scope must be
// gdnsd's; Knot's is that of the row that matched, which is wrong where rows
// nest (RFC 7871 7.2.1), and is compared with that.
func TestRandomMapsAreAnsweredAsGdnsdAndKnotDo(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	pops := []string{"p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"}
	m := randomSteeredMap(rnd, 300, pops)
	ours := m.serve(t, "nets", "", "")
	gdnsd, knot := startGdnsd(t, m), startKnotGeo(t, m)

	clients := m.clients(rnd)
	for _, c := range clients {
		query := withECS(question("a.www.example.org", dns.TypeA), netip.PrefixFrom(c, c.BitLen()).String())
		got := ask(t, ours, query)
		pop, scope := m.popOf(values(got)), ecsScope(got)
		if want := m.pop(c); pop != want {
			t.Errorf("%s gets %s, by hand %s", c, pop, want)
		}
		if want := m.scope(c); scope != want {
			t.Errorf("%s has scope %d, by hand %d", c, scope, want)
		}
		r := ask(t, gdnsd, query)
		if got := m.popOf(values(r)); got != pop {
			t.Errorf("%s gets %s, from gdnsd %s", c, pop, got)
		}
		if got := ecsScope(r); got != scope {
			t.Errorf("%s has scope %d, from gdnsd %d", c, scope, got)
		}
		r = ask(t, knot, query)
		if got := m.popOf(values(r)); got != pop {
			t.Errorf("%s gets %s, from Knot %s", c, pop, got)
		}
		_, row := m.list(c)
		if got := ecsScope(r); got != max(row.Bits(), 0) {
			t.Errorf("%s has scope %d with Knot, want its row's %s", c, got, row)
		}
	}
	t.Logf("%d rows, %d clients", len(m.rows), len(clients))
	if len(clients) < 500 {
		t.Error("too few clients")
	}
}

// startGdnsd serves the map with Debian's gdnsd.
func startGdnsd(t *testing.T, m *steeredMap) (addr string) {
	t.Helper()
	dir, port := t.TempDir(), freePort(t)
	var places, nets strings.Builder
	for _, p := range m.pops {
		fmt.Fprintf(&places, "      %s => { addrs_v4 => [ %s ] }\n", p, m.address(p))
	}
	for _, r := range m.rows {
		fmt.Fprintf(&nets, "%s => [ %s ]\n", r.prefix, r.list)
	}
	// Without a database gdnsd's default is all data centres in this order, which is no row's list.
	order := strings.Split(m.hole, ", ")
	for _, p := range m.pops {
		if !slices.Contains(order, p) {
			order = append(order, p)
		}
	}
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("run/.keep", "")
	write("state/.keep", "")
	write("geoip/nets", nets.String())
	write("zones/example.org", "@ 3600 SOA ns h 1 2 3 4 5\n@ 3600 NS ns\nns 3600 A 192.0.2.254\n*.www 3600 DYNA geoip!res\n")
	write("config", fmt.Sprintf(`options => { listen => 127.0.0.1:%d, udp_threads => 1, tcp_threads => 1, run_dir => %s/run, state_dir => %s/state }
plugins => { geoip => {
  maps => { m => { datacenters => [ %s ], nets => nets } }
  resources => { res => { map => m, service_types => up, dcmap => {
%s    } } }
} }
`, port, dir, dir, strings.Join(order, ", "), &places))
	d := startProcess(t, exec.Command(systemBinary(t, "gdnsd", "gdnsd"), "-c", dir, "start"), dir, nil)
	awaitZones(t, d, port, []zoneFile{{origin: "example.org."}})
	return loopback(port)
}

// startKnotGeo serves the first PoPs of the map's lists with Debian's Knot and
// its module geoip.
func startKnotGeo(t *testing.T, m *steeredMap) (addr string) {
	t.Helper()
	dir, port := t.TempDir(), freePort(t)
	var nets strings.Builder
	nets.WriteString("a.www.example.org:\n")
	for _, r := range m.rows {
		pop, _, _ := strings.Cut(r.list, ",")
		fmt.Fprintf(&nets, "  - net: %s\n    A: %s\n", r.prefix, m.address(pop))
	}
	pop, _, _ := strings.Cut(m.hole, ",")
	for name, text := range map[string]string{
		"nets": nets.String(),
		"zone": fmt.Sprintf("$ORIGIN example.org.\n@ 3600 SOA ns h 1 2 3 4 5\n@ 3600 NS ns\nns 3600 A 192.0.2.254\na.www 3600 A %s\n", m.address(pop)),
		"knot.conf": fmt.Sprintf(`server:
    rundir: %[1]q
    listen: 127.0.0.1@%[2]d
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    edns-client-subnet: on
log:
  - target: stderr
    any: warning
database:
    storage: %[1]q
mod-geoip:
  - id: g
    config-file: nets
    ttl: 3600
    mode: subnet
zone:
  - domain: example.org
    storage: %[1]q
    file: zone
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
    module: mod-geoip/g
`, dir, port),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := startProcess(t, exec.Command(systemBinary(t, "knotd", "knot"), "-c", filepath.Join(dir, "knot.conf")), dir, nil)
	awaitZones(t, d, port, []zoneFile{{origin: "example.org."}})
	return loopback(port)
}
