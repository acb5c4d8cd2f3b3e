package test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store/storeurl"
	"github.com/popdns/popdns/internal/zone"

	"github.com/miekg/dns"
)

// TestSecondariesFollowThroughNotifyAndIXFR has BIND and NSD transfer a zone of
// 100,000 records and then follow 200 changes, none of them by another AXFR.
func TestSecondariesFollowThroughNotifyAndIXFR(t *testing.T) {
	p := startPrimary(t, 100_000)
	secondaries := p.followedBy(t, time.Minute)
	p.changes(t, secondaries, 10, 20)
	p.check(t, secondaries, time.Minute)
}

// BenchmarkTransferOfAMillionRecords times the AXFR of a million records, after
// BIND and NSD have transferred them and followed 1,000 changes by IXFR.
func BenchmarkTransferOfAMillionRecords(b *testing.B) {
	const records = 1_000_000
	p := startPrimary(b, records)
	secondaries := p.followedBy(b, 5*time.Minute)
	p.changes(b, secondaries, 20, 50)
	p.check(b, secondaries, 5*time.Minute)
	for b.Loop() {
		p.timedAXFR(b)
	}
	b.ReportMetric(records*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// A primary is a coredns that transfers a big zone out of a directory store.
type primary struct {
	url     string
	addr    string
	port    int
	metrics int // port
	toBIND  int
	toNSD   int
	serial  uint32         // the newest
	made    int            // changes so far
	rounds  int            // of changes, each of which BIND got before the next
	before  map[string]int // transfers by kind, before the changes
}

const transferOrigin = "example.org."

// startPrimary publishes a zone of so many addresses and a few names of every
// other sort, and serves it.
func startPrimary(tb testing.TB, records int) *primary {
	tb.Helper()
	p := &primary{url: "dir://" + tb.TempDir(), port: freePort(tb), metrics: freePort(tb), toBIND: freePort(tb), toNSD: freePort(tb)}
	p.addr = loopback(p.port)
	var text strings.Builder
	text.WriteString(`$ORIGIN example.org.
@         3600 IN SOA ns hostmaster 1 7200 900 1209600 60
@         3600 IN NS  ns
ns        3600 IN A   192.0.2.53
*.wild     300 IN TXT "any octet \000\255 \"quoted\""
unknown    300 IN TYPE65280 \# 3 0a0b0c
sub       3600 IN NS  ns.sub
ns.sub    3600 IN AAAA 2001:db8::53
svc        300 IN HTTPS 1 . alpn=h2,h3
steered     60 IN A   10.0.0.1 ;@ pop=ams1
steered     90 IN A   10.0.0.2 ;@ pop=iad2
steered     60 IN A   10.0.0.1
alias       60 IN CNAME ams1.example.net. ;@ pop=ams1
alias       60 IN CNAME iad2.example.net. ;@ pop=iad2
`)
	for i := range records {
		fmt.Fprintf(&text, "h%d.d%d 60 IN A 10.%d.%d.%d\n", i, i%977, i>>16, i>>8&255, i&255)
	}
	popctl(tb, p.url, 0, "init")
	popctl(tb, p.url, 0, "zone", "publish", "example.org", writeFile(tb, "example.org.zone", text.String()))
	startCoreDNS(tb, fmt.Sprintf(`example.org:%d {
    bind 127.0.0.1
    transfer {
        to 127.0.0.1:%d 127.0.0.1:%d
    }
    zkzone {
        source %s
        startup_timeout 60s
    }
    prometheus 127.0.0.1:%d
    errors
}
`, p.port, p.toBIND, p.toNSD, p.url, p.metrics), p.addr)
	p.serial = ask(tb, p.addr, question(transferOrigin, dns.TypeSOA)).Answer[0].(*dns.SOA).Serial
	return p
}

// timedAXFR transfers the zone and returns its records in canonical form.
func (p *primary) timedAXFR(tb testing.TB) []string {
	tb.Helper()
	began := time.Now()
	zone := axfr(tb, p.addr, transferOrigin)
	tb.Logf("AXFR of %d records in %s, received and sorted", len(zone), time.Since(began).Round(time.Millisecond))
	return zone
}

// followedBy starts the secondaries and waits until both have the zone.
func (p *primary) followedBy(tb testing.TB, within time.Duration) []*secondary {
	tb.Helper()
	began := time.Now()
	all := []*secondary{
		startBINDSecondary(tb, transferOrigin, p.port, p.toBIND),
		startNSDSecondary(tb, transferOrigin, p.port, p.toNSD),
	}
	for _, s := range all {
		s.await(tb, transferOrigin, p.serial, within)
		tb.Logf("%s has the zone %s after it was started", s.name, time.Since(began).Round(time.Millisecond))
	}
	p.before = transfersByKind(tb, p.metrics)
	if whole := p.before["axfr"] + p.before["fallback"]; whole < len(all) {
		tb.Fatalf("both secondaries have the zone after %v: the metric does not count", p.before)
	}
	return all
}

// changes makes rounds of so many changes, waiting after each for BIND.
func (p *primary) changes(tb testing.TB, secondaries []*secondary, rounds, each int) {
	tb.Helper()
	began := time.Now()
	for range rounds {
		p.change(tb, each)
		secondaries[0].await(tb, transferOrigin, p.serial, time.Minute)
		p.rounds++
	}
	tb.Logf("BIND followed %d times %d changes in %s", rounds, each, time.Since(began).Round(time.Millisecond))
}

// change commits as many changes as a publisher makes, one after the other. The
// steered names are among what changes.
func (p *primary) change(tb testing.TB, changes int) {
	tb.Helper()
	st, err := storeurl.Open(p.url, storeurl.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	defer st.Close()
	publisher := publish.New(st, publish.Options{By: "test"})
	origin := zone.MustParseName(transferOrigin)
	for i := p.made; i < p.made+changes; i++ {
		record := publish.RecordText{Name: fmt.Sprintf("h%d.d%d", i*3, i*3%977), TTL: "60", Type: "A", Rdata: []string{fmt.Sprintf("11.0.%d.%d", i>>8, i&255)}}
		switch i % 5 {
		case 1:
			record.Name = fmt.Sprintf("new%d", i)
		case 2:
			record.TTL = "120"
		case 3:
			record.Name, record.PoP = "steered", "iad2"
		}
		set, err := publish.ParseRRset(record, origin)
		if err != nil {
			tb.Fatal(err)
		}
		r, err := publisher.SetRecord(tb.Context(), origin, set)
		if err != nil {
			tb.Fatal(err)
		}
		p.serial = r.New
	}
	p.made += changes
}

// settle waits until the secondaries have the newest version. It makes another
// change for one that stays behind: when differences come while NSD 4.6.1
// reloads, it may log "soa serial … update failed, restarting transfer", drop
// them, and come back at the next NOTIFY only, then for the whole zone.
func (p *primary) settle(tb testing.TB, secondaries []*secondary, within time.Duration) {
	tb.Helper()
	const patience = 5 * time.Second
	began, changed := time.Now(), time.Now()
	for behind := secondaries; len(behind) > 0; time.Sleep(10 * time.Millisecond) {
		s := behind[0]
		if serial, err := s.serial(transferOrigin); err == nil && serial == p.serial {
			tb.Logf("%s has serial %d %s after the changes", s.name, p.serial, time.Since(began).Round(time.Millisecond))
			behind = behind[1:]
			continue
		}
		if time.Since(began) > within {
			tb.Fatalf("%s does not have serial %d after %s", s.name, p.serial, within)
		}
		if time.Since(changed) > patience && strings.Contains(s.daemon.log.String(), "restarting transfer") {
			p.change(tb, 1)
			behind, changed = secondaries, time.Now()
		}
	}
}

// check waits until the secondaries have all changes and holds their zones
// against the primary's. Nobody may have asked for the whole zone again.
func (p *primary) check(tb testing.TB, secondaries []*secondary, within time.Duration) {
	tb.Helper()
	p.settle(tb, secondaries, within)
	after := transfersByKind(tb, p.metrics)
	incremental := after["ixfr"] - p.before["ixfr"]
	tb.Logf("transfers by kind: %v before the changes, %v after", p.before, after)
	restarts := strings.Count(secondaries[1].daemon.log.String(), "restarting transfer")
	whole := after["axfr"] - p.before["axfr"]
	if after["fallback"] != p.before["fallback"] || whole > restarts || incremental < p.rounds {
		tb.Errorf("changes went out as whole zones: %v, before them %v, NSD restarted %d times", after, p.before, restarts)
	}
	bind := secondaries[0].daemon.log.String()
	if got, whole := strings.Count(bind, "got incremental response"), strings.Count(bind, "got nonincremental response"); got < p.rounds || whole != 1 {
		tb.Errorf("BIND got %d incremental responses and %d others, want at least %d and 1:\n%s", got, whole, p.rounds, bind)
	}
	nsd := updatesOf(secondaries[1])
	if len(nsd) < 2 || slices.Min(nsd) > nsd[0]/2 {
		tb.Errorf("NSD's updates had %v octets: want a zone and then differences", nsd)
	}
	want := p.timedAXFR(tb)
	for _, s := range secondaries {
		sameZone(tb, s.name, axfr(tb, s.addr, transferOrigin), want)
	}
}

var nsdUpdate = regexp.MustCompile(`received update to serial \d+ at \S+ from \S+ of (\d+) bytes`)

// updatesOf are the sizes of the transfers that NSD logs.
func updatesOf(s *secondary) (octets []int) {
	for _, m := range nsdUpdate.FindAllStringSubmatch(s.daemon.log.String(), -1) {
		n, _ := strconv.Atoi(m[1])
		octets = append(octets, n)
	}
	return octets
}

var transfersMetric = regexp.MustCompile(`(?m)^coredns_zkzone_transfers_total\{kind="(\w+)",zone="example.org."\} (\d+)`)

// transfersByKind reads the server's metric.
func transfersByKind(tb testing.TB, port int) map[string]int {
	tb.Helper()
	kinds := map[string]int{}
	for _, m := range transfersMetric.FindAllStringSubmatch(metricsText(tb, port), -1) {
		kinds[m[1]], _ = strconv.Atoi(m[2])
	}
	return kinds
}
