package test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// blastRound is how long each server is asked in one round.
const blastRound = time.Second

// A contender is one server of a benchmark.
type contender struct {
	what string
	d    *daemon
	load *blaster

	answers int
	wall    time.Duration
	cpu     time.Duration
}

func (c *contender) round(b *testing.B) {
	b.Helper()
	before := treeTime(b, c.d)
	answers, lost := c.load.run(blastRound)
	c.cpu += treeTime(b, c.d) - before
	c.wall += blastRound
	n := 0
	for _, of := range answers {
		n += of
	}
	c.answers += n
	if bad := n - answers[dns.RcodeSuccess] - answers[dns.RcodeNameError]; n == 0 || bad > 0 || lost > n/10 {
		b.Fatalf("%s: answers by rcode %v, %d lost", c.what, answers, lost)
	}
}

func (c *contender) rate() float64 { return float64(c.answers) / c.wall.Seconds() }
func (c *contender) micros() float64 {
	return c.cpu.Seconds() * 1e6 / float64(max(c.answers, 1))
}

// tree is a process's number and those of all that it has started, and they.
func tree(pid string) []string {
	all := []string{pid}
	children, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if err != nil {
		return all // it has ended
	}
	for child := range strings.FieldsSeq(string(children)) {
		all = append(all, tree(child)...)
	}
	return all
}

// treeTime is the processor time of a process and all that it has started.
func treeTime(tb testing.TB, d *daemon) (total time.Duration) {
	tb.Helper()
	for _, pid := range tree(strconv.Itoa(d.cmd.Process.Pid)) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			continue
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		var utime, stime int
		if _, err := fmt.Sscan(strings.Join(strings.Fields(after)[11:13], " "), &utime, &stime); err == nil {
			total += time.Duration(utime+stime) * 10 * time.Millisecond
		}
	}
	return total
}

// BenchmarkFastpathAgainstNSD asks NSD, the stock file plugin, zkzone through the chain and zkzone with fastpath the same about the same zone, in turn, each
// with one core, as fast as it answers. Where one core more is all that the machine has for asking, the client is the limit of the fastest: then the
// processor time for a query tells more than the rate.
func BenchmarkFastpathAgainstNSD(b *testing.B) {
	b.Run("100k", func(b *testing.B) { fastpathAgainst(b, 100_000, "1.2 x NSD", "9 x file") })
	b.Run("1M", func(b *testing.B) { fastpathAgainst(b, million, "1.3 x NSD", "") })
}

func fastpathAgainst(b *testing.B, records int, aimNSD, aimFile string) {
	b.Helper()
	in := benchZone(b, records)
	store := "dir://" + b.TempDir()
	popctl(b, store, 0, "init")
	popctl(b, store, 0, "zone", "publish", "example.org", in.path)
	nsdPort, file, chain, fast := freePort(b), freePort(b), freePort(b), freePort(b)
	zkzone := " zkzone {\n source " + store + "\n startup_timeout 60s\n }\n"
	one := "GOMAXPROCS=1" // more would spin on the processor that they are pinned to
	d, _ := launch(b, fmt.Sprintf("example.org:%d {\n bind 127.0.0.1\n%s}\nexample.org:%d {\n bind 127.0.0.1\n fastpath\n%[2]s}\n", chain, zkzone, fast), loopback(fast), in, one)
	// In a process of its own: a collection of its heap of a million records would fall on whoever is asked just then.
	stock, _ := launch(b, fmt.Sprintf("example.org:%d {\n bind 127.0.0.1\n file %s\n}\n", file, in.path), loopback(file), in, one)
	nsd := startNSD(b, nsdPort, zoneFile{"example.org.", in.path})
	pinTree(b, nsd)
	pin(b, stock)
	pin(b, d)
	settled(b, d)

	load := newQueryLoad(b, in)
	nx, odd := &queryLoad{}, &queryLoad{}
	for i := range 10_000 {
		nx.add(b, fmt.Sprintf("nobody%d.%s", i*7919, in.Questions[i].Name), dns.TypeA)
		q := question(in.Questions[i].Name, in.Questions[i].Type)
		q.IsEdns0().Option = append(q.IsEdns0().Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID})
		wire, err := q.Pack()
		if err != nil {
			b.Fatal(err)
		}
		odd.wires = append(odd.wires, wire)
	}
	at := func(what string, d *daemon, port int, l *queryLoad) *contender {
		return &contender{what: what, d: d, load: newBlaster(b, loopback(port), l.wires)}
	}
	static := []*contender{at("NSD", nsd, nsdPort, load), at("file", stock, file, load), at("zkzone, chain", d, chain, load), at("fastpath", d, fast, load)}
	nxdomain := []*contender{at("NSD, NXDOMAIN", nsd, nsdPort, nx), at("fastpath, NXDOMAIN", d, fast, nx)}
	misses := []*contender{at("zkzone, chain, with NSID", d, chain, odd), at("fastpath, with NSID, so through the chain", d, fast, odd)}
	for b.Loop() {
		for _, all := range [][]*contender{static, nxdomain, misses} {
			for _, c := range all {
				c.round(b)
			}
		}
	}
	for _, all := range [][]*contender{static, nxdomain, misses} {
		for _, c := range all {
			report(fmt.Sprintf("%d records, one core: %s", records, c.what), "", "%.0f queries/s, %.2f us of processor each", c.rate(), c.micros())
		}
	}
	ours := static[3]
	ratio := func(what, aim string, ours, other *contender) {
		report(fmt.Sprintf("%d records, one core: %s", records, what), aim, "%.2f x in rate, %.2f x in processor time", ours.rate()/other.rate(), other.micros()/ours.micros())
	}
	ratio("fastpath, of NSD", aimNSD, ours, static[0])
	ratio("fastpath, of file", aimFile, ours, static[1])
	ratio("fastpath, of zkzone through the chain", "", ours, static[2])
	ratio("fastpath, NXDOMAIN, of its static rate", "1 x", nxdomain[1], ours)
	ratio("fastpath's misses, of CoreDNS's own server", "1.3 x", misses[1], misses[0])
	b.ReportMetric(ours.rate()/static[0].rate(), "x-nsd")
	b.ReportMetric(ours.rate()/static[1].rate(), "x-file")
	b.ReportMetric(ours.rate(), "queries/s")
}

// pinTree is pin for a process whose children do the work.
func pinTree(b *testing.B, d *daemon) {
	b.Helper()
	for _, pid := range tree(strconv.Itoa(d.cmd.Process.Pid)) {
		pinProcess(b, "1", pid)
	}
}
