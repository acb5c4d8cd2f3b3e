package test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// fastpathPair serves the same with fastpath and without, from one process.
type fastpathPair struct {
	fast, chain string // addresses
	prometheus  int
	server      *daemon
	dir         string
	corefile    string
}

// startPair starts a server block for some zones twice: with fastpath and without. In what more there is in the Corefile FASTPORT stands for the first one's port.
func startPair(t *testing.T, zones, block, more string) *fastpathPair {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("fastpath is for Linux")
	}
	fast, chain, p := freePort(t), freePort(t), &fastpathPair{prometheus: freePort(t), dir: t.TempDir()}
	p.fast, p.chain = loopback(fast), loopback(chain)
	keys := func(port int) string {
		var all []string
		for z := range strings.FieldsSeq(zones) {
			all = append(all, fmt.Sprintf("%s:%d", z, port))
		}
		return strings.Join(all, " ")
	}
	p.corefile = fmt.Sprintf("%s {\n bind 127.0.0.1\n prometheus %s\n fastpath {\n workers 2\n }\n%s}\n%s {\n bind 127.0.0.1\n%s}\n%s",
		keys(fast), loopback(p.prometheus), block, keys(chain), block, strings.ReplaceAll(more, "FASTPORT", strconv.Itoa(fast)))
	p.server = startCoreDNSIn(t, p.dir, p.corefile, p.chain)
	eventually(t, "fastpath answers", func() error {
		_, err := exchange(p.fast, question("probe.invalid.", dns.TypeA))
		if err == nil && !strings.Contains(p.server.log.String(), "Answering at") {
			err = fmt.Errorf("not yet:\n%s", p.server.log)
		}
		return err
	})
	return p
}

// sum adds up the series of a metric of which the labels hold all of with.
func (p *fastpathPair) sum(t *testing.T, name string, with ...string) (total float64) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^`+name+`(\{.*\}) (\S+)$`).FindAllStringSubmatch(metricsText(t, p.prometheus), -1) {
		all := true
		for _, w := range with {
			all = all && strings.Contains(m[1], w)
		}
		if v, err := strconv.ParseFloat(m[2], 64); err == nil && all {
			total += v
		}
	}
	return total
}

// series are a metric's values at one address, by the other labels.
func (p *fastpathPair) series(t *testing.T, name, addr string) map[string]string {
	t.Helper()
	all, server := map[string]string{}, fmt.Sprintf(`server="dns://%s"`, addr)
	for _, m := range regexp.MustCompile(`(?m)^`+name+`\{(.*)\} (\S+)$`).FindAllStringSubmatch(metricsText(t, p.prometheus), -1) {
		if strings.Contains(m[1], server) {
			all[strings.Replace(m[1], server, "", 1)] = m[2]
		}
	}
	return all
}

// compare puts the queries to both, some at a time, and compares the replies octet for octet. Their IDs are set. A query may get no reply, but then
// from neither.
func (p *fastpathPair) compare(t *testing.T, queries [][]byte) (answered int) {
	t.Helper()
	const atOnce = 100
	for len(queries) > 0 {
		some := queries[:min(len(queries), atOnce)]
		queries = queries[len(some):]
		var replies [2][][]byte
		var wg sync.WaitGroup
		for i, addr := range []string{p.fast, p.chain} {
			wg.Go(func() { replies[i] = volley(t, addr, some) })
		}
		wg.Wait()
		for i, q := range some {
			if got, want := replies[0][i], replies[1][i]; !bytes.Equal(got, want) {
				t.Fatalf("query  % x\nfast   % x\nchain  % x\n%s", q, got, want, readable(got)+readable(want))
			} else if want != nil {
				answered++
			}
		}
	}
	return answered
}

func readable(wire []byte) string {
	m := new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		return err.Error() + "\n"
	}
	return m.String() + "\n"
}

// volley sends the queries at once, numbered by their IDs, and returns the replies, nil for none.
func volley(t *testing.T, addr string, queries [][]byte) [][]byte {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer conn.Close()
	replies := make([][]byte, len(queries))
	silent := 0
	for i, q := range queries {
		if len(q) >= 2 {
			binary.BigEndian.PutUint16(q, uint16(i))
		}
		if len(q) < 12 || q[2]&0x80 != 0 {
			silent++
		}
		if _, err := conn.Write(q); err != nil {
			t.Error(err)
		}
	}
	buf := make([]byte, 65535)
	for n := range queries {
		wait := 3 * time.Second
		if n >= len(queries)-silent {
			wait = 50 * time.Millisecond // nothing more is due
		}
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		k, err := conn.Read(buf)
		if err != nil {
			break
		}
		if id := int(binary.BigEndian.Uint16(buf)); id < len(replies) {
			replies[id] = bytes.Clone(buf[:k])
		}
	}
	return replies
}

// queryMaker makes queries in every form that a client may give them.
type queryMaker struct{ *rand.Rand }

var fuzzSubnets = []string{"", "0001 18 00 2c0102", "0001 18 00 580071", "0002 38 00 2a0f0db8000200", "0001 00 00", "0000 00 00", "0001 18 00 0a0102", "0001 20 00 2c010203"}

func (r queryMaker) query(t *testing.T, name string, typ uint16) []byte {
	t.Helper()
	d := differential{rnd: r.Rand}
	m := d.query(d.mixCase(name), typ)
	size := []uint16{0, 100, 512, 1232, 1232, 1232, 1400, 4096, 65535}[r.IntN(9)]
	if size > 0 {
		m.SetEdns0(size, r.IntN(2) == 0)
		opt := m.IsEdns0()
		if r.IntN(10) == 0 {
			opt.Hdr.Ttl |= 0x4000 // the CO bit, unknown to the plugins
		}
		if r.IntN(4) == 0 {
			opt.Option = append(opt.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"})
		}
		if r.IntN(10) == 0 {
			opt.Option = append(opt.Option, &dns.EDNS0_PADDING{Padding: make([]byte, r.IntN(60))})
		}
		if r.IntN(20) == 0 {
			opt.Option = append(opt.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID})
		}
	}
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if size > 0 && r.IntN(3) > 0 {
		wire = r.withSubnet(wire)
	}
	return wire
}

// withSubnet appends a client subnet to the OPT record that a query without TSIG ends with, now and then a malformed one.
func (r queryMaker) withSubnet(wire []byte) []byte {
	options := []string{fuzzSubnets[r.IntN(len(fuzzSubnets))]}
	if r.IntN(10) == 0 {
		for _, options = range malformedSubnets { // any of them
			break
		}
	}
	opt := rawQuery(".", options...)[12+5+11:] // what follows the OPT record's length
	if options[0] == "" && len(options) == 1 {
		return wire
	}
	m := new(dns.Msg)
	if m.Unpack(wire) != nil || m.IsEdns0() == nil {
		return wire
	}
	at := len(wire) - int(m.IsEdns0().Hdr.Rdlength) - 2
	binary.BigEndian.PutUint16(wire[at:], m.IsEdns0().Hdr.Rdlength+uint16(len(opt)))
	return append(wire, opt...)
}

// TestFastpathAnswersAsTheChainDoes puts random zones, signed and not, and a steered one behind fastpath and behind the plugin chain, and asks both
// the same: the replies are the same to the bit, and most are given without the chain.
func TestFastpathAnswersAsTheChainDoes(t *testing.T) {
	seed := *conformanceSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	keys := newKeyFiles(t)
	files := make([]zoneFile, 0, 7)
	var names []string
	for i := range 6 {
		z := makeConformanceZone(t, rnd, keys, fmt.Sprintf("z%d.test.", i), []int{unsigned, withNSEC, withNSEC3}[i%3])
		files = append(files, zoneFile{z.origin, z.path})
		names = append(names, z.names()...)
	}
	long := strings.Repeat(` "`+strings.Repeat("x", 250)+`"`, 8)
	text := fmt.Sprintf(ecsZone, long)
	for i := range 60 { // RRsets of all sizes
		for j := range i {
			text += fmt.Sprintf("set%d 60 IN A 192.0.2.%d\ntxt%d 60 IN TXT \"%d%s\"\n", i, j, i, j, strings.Repeat(`\200`, i/5))
		}
		names = append(names, fmt.Sprintf("set%d.example.org.", i), fmt.Sprintf("txt%d.example.org.", i))
	}
	for _, n := range []string{"www", "a.wild", "alias", "plain", "missing", "x.child", "child", "many", "_freshness", "www.example.org._explain"} {
		names = append(names, n+".example.org.", n+".example.org.", n+".example.org.")
	}
	names = append(names, "example.org.", "elsewhere.invalid.", ".", "sub.z0.test.")
	files = append(files, zoneFile{"example.org.", writeFile(t, "example.org.zone", text)})

	block := publishedBlock(t, 1, files)
	_, block, _ = strings.Cut(block, "bind 127.0.0.1\n")
	block = strings.TrimSuffix(strings.TrimSpace(block), "}")
	url := regexp.MustCompile(`source (\S+)`).FindStringSubmatch(block)[1]
	popctl(t, url, 0, "pop", "apply", writeFile(t, "pops.yaml", "ams1: {lat: 52, lon: 4}\niad2: {lat: 39, lon: -77}\nsin1: {lat: 1, lon: 103}\n"))
	popctl(t, url, 0, "map", "publish", "edge", writeFile(t, "edge.yaml", ecsMap))
	origins := make([]string, 0, len(files))
	for _, z := range files {
		origins = append(origins, z.origin)
	}
	p := startPair(t, strings.Join(origins, " "), " freshness\n popmap {\n map edge\n explain _explain 10.0.0.0/8\n }\n"+block, "")

	maker := queryMaker{rnd}
	const asked = 30_000
	queries := make([][]byte, 0, asked)
	for range asked {
		name := names[rnd.IntN(len(names))]
		typ := conformanceTypes[rnd.IntN(len(conformanceTypes))]
		if rnd.IntN(2) == 0 {
			typ = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT}[rnd.IntN(3)]
		}
		if strings.HasPrefix(name, "_freshness") && typ == dns.TypeTXT {
			typ = dns.TypeA // its TXT changes by the second
		}
		queries = append(queries, maker.query(t, name, typ))
	}
	if n := p.compare(t, queries); n != asked {
		t.Errorf("%d of %d were answered", n, asked)
	}
	eventually(t, "the counts are told", func() error {
		if n := p.sum(t, "coredns_fastpath_hits_total") + p.sum(t, "coredns_fastpath_misses_total"); n < asked {
			return fmt.Errorf("%v of %d", n, asked)
		}
		return nil
	})
	hits := p.sum(t, "coredns_fastpath_hits_total")
	t.Logf("%v of %d answered without the chain", hits, asked)
	for _, reason := range regexp.MustCompile(`(?m)^coredns_fastpath_misses_total.*$`).FindAllString(metricsText(t, p.prometheus), -1) {
		t.Log(reason)
	}
	if hits < asked/2 {
		t.Errorf("only %v of %d queries were answered without the chain", hits, asked)
	}
	if stock := p.sum(t, "coredns_dns_requests_total", `proto="udp"`); stock < asked {
		t.Errorf("the stock counter says %v requests, %d were sent", stock, asked)
	}
	if n := p.sum(t, "coredns_fastpath_drops_total"); n > 0 {
		t.Errorf("%v queries were dropped", n)
	}

	for _, name := range []string{"coredns_zkzone_answers_total", "coredns_popmap_choices_total", "coredns_popmap_unmapped_total", "coredns_popmap_ecs_scope_length_bucket"} {
		fast, chain := p.series(t, name, p.fast), p.series(t, name, p.chain)
		if !maps.Equal(fast, chain) || len(fast) == 0 {
			t.Errorf("%s counts, by fastpath\n%v\nby the chain\n%v", name, fast, chain)
		}
	}

	t.Run("random datagrams", func(t *testing.T) {
		damaged := make([][]byte, 0, 4000)
		for range 4000 {
			q := bytes.Clone(queries[rnd.IntN(len(queries))])
			for range 1 + rnd.IntN(4) {
				q[2+rnd.IntN(len(q)-2)] = byte(rnd.Uint32())
			}
			switch rnd.IntN(10) {
			case 0:
				q = q[:2+rnd.IntN(len(q)-2)]
			case 1:
				q = append(q, q[2:]...)
			case 2:
				for i := range q[2:] {
					q[2+i] = byte(rnd.Uint32())
				}
			}
			damaged = append(damaged, q)
		}
		n := p.compare(t, damaged)
		t.Logf("%d of %d damaged queries got a reply", n, len(damaged))
	})
}

// flood asks one question again and again from several sockets until stopped, never twice without an answer between, and never again for a lost one.
type flood struct {
	sent, answered atomic.Int64
	wrong          atomic.Pointer[string]
	stop           chan struct{}
	wg             sync.WaitGroup
}

// startFlood asks all the while, at most window queries of each of six sockets under way; check says what is wrong with a reply.
func startFlood(t *testing.T, addr string, wire []byte, check func(reply []byte) string) *flood {
	t.Helper()
	f := &flood{stop: make(chan struct{})}
	for range 6 {
		conn, err := net.Dial("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.UDPConn).SetReadBuffer(4 << 20)
		query := bytes.Clone(wire)
		f.wg.Go(func() {
			defer conn.Close()
			buf := make([]byte, 4096)
			for id := uint16(0); ; {
				select {
				case <-f.stop:
					return
				default:
				}
				const window = 8
				for range window {
					id++
					binary.BigEndian.PutUint16(query, id)
					if _, err := conn.Write(query); err == nil {
						f.sent.Add(1)
					}
				}
				for range window {
					_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
					n, err := conn.Read(buf)
					if err != nil {
						break
					}
					f.answered.Add(1)
					if wrong := check(buf[:n]); wrong != "" {
						f.wrong.Store(&wrong)
					}
				}
			}
		})
	}
	return f
}

// end stops asking and tells what went wrong.
func (f *flood) end(t *testing.T) {
	t.Helper()
	close(f.stop)
	f.wg.Wait()
	t.Logf("%d queries sent, %d answered", f.sent.Load(), f.answered.Load())
	if sent, answered := f.sent.Load(), f.answered.Load(); sent != answered {
		t.Errorf("%d of %d queries were not answered", sent-answered, sent)
	}
	if wrong := f.wrong.Load(); wrong != nil {
		t.Error(*wrong)
	}
}

// TestNoQueryIsLostAcrossReloadsAndVersions asks all the while a server is reloaded, gets new versions of its zone, and has fastpath taken out of
// its Corefile and put back. Each answer has two records of one version.
func TestNoQueryIsLostAcrossReloadsAndVersions(t *testing.T) {
	store := "dir://" + t.TempDir()
	popctl(t, store, 0, "init")
	publish := func(version int) {
		popctl(t, store, 0, "zone", "publish", "example.org", writeFile(t, "zone", fmt.Sprintf(
			"$ORIGIN example.org.\n@ 60 IN SOA ns h 1 2 3 4 5\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53\nwww 60 IN A 10.0.0.%[1]d\nwww 60 IN A 10.0.1.%[1]d\n", version)))
	}
	publish(1)
	p := startPair(t, "example.org", fmt.Sprintf(" zkzone {\n source %s\n }\n errors\n", store), "")
	wire, err := question("www.example.org", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	f := startFlood(t, p.fast, wire, func(reply []byte) string {
		m := new(dns.Msg)
		if err := m.Unpack(reply); err != nil || len(m.Answer) != 2 {
			return fmt.Sprintf("% x: %v", reply, err)
		}
		if a, b := m.Answer[0].(*dns.A).A.To4(), m.Answer[1].(*dns.A).A.To4(); a[3] != b[3] {
			return fmt.Sprintf("an answer from two versions:\n%s", m)
		}
		return ""
	})
	write := func(corefile string) {
		if err := os.WriteFile(filepath.Join(p.dir, "Corefile"), []byte(corefile), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reloads := 0
	again := func() {
		reloads++
		reload(t, p.server, reloads)
	}
	for version := 2; version < 6; version++ {
		publish(version)
		again()
	}
	without := strings.Replace(p.corefile, " fastpath {\n workers 2\n }\n", "", 1)
	for range 3 {
		write(without)
		again()
		write(p.corefile)
		again()
		publish(6 + reloads)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	write(p.corefile + fmt.Sprintf("example.net:%d {\n bind 127.0.0.1\n fastpath\n zkzone {\n source %s\n startup_timeout 0s\n }\n}\n", taken.Addr().(*net.TCPAddr).Port, store))
	signal(t, p.server, "Restart failed", 1)
	write(p.corefile)
	again()
	f.end(t)
	eventually(t, "it is counted that fastpath answered", func() error { // for about half of the time there was none
		if hits := p.sum(t, "coredns_fastpath_hits_total"); hits < float64(f.answered.Load())/10 {
			return fmt.Errorf("%v of %d answers", hits, f.answered.Load())
		}
		return nil
	})
}

// TestFastpathSaysWhatKeepsItOff starts blocks that it leaves alone, and they are answered all the same.
func TestFastpathSaysWhatKeepsItOff(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("fastpath is for Linux")
	}
	store := "dir://" + t.TempDir()
	publishExample(t, store)
	for plugin, why := range map[string]string{
		"log":                               "the plugin log ",
		"acl {\n allow net 127.0.0.0/8\n }": "the plugin acl ",
		"bufsize 1232":                      "the plugin bufsize ",
		"loadbalance":                       "the plugin loadbalance ",
	} {
		port := freePort(t)
		d := startCoreDNS(t, fmt.Sprintf("example.org:%d {\n bind 127.0.0.1\n fastpath\n %s\n zkzone {\n source %s\n }\n}\n", port, plugin, store), loopback(port))
		if n := strings.Count(d.log.String(), why); n != 1 {
			t.Errorf("%s: %q is said %d times:\n%s", plugin, why, n, d.log)
		}
		if got := values(ask(t, loopback(port), question("api.example.org", dns.TypeA))); got != "192.0.2.80" {
			t.Errorf("%s: got %q", plugin, got)
		}
	}
}

// TestFastpathRepliesFromTheAddressThatWasAsked binds to no address, so that one socket has all of the machine's, of both families: a connected client
// takes no reply from another address than the one it asked.
func TestFastpathRepliesFromTheAddressThatWasAsked(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("fastpath is for Linux")
	}
	store := "dir://" + t.TempDir()
	publishExample(t, store)
	port, prometheus := freePort(t), freePort(t)
	startCoreDNS(t, fmt.Sprintf("example.org:%d {\n fastpath\n prometheus %s\n multisocket 2\n zkzone {\n source %s\n }\n}\nexample.net:%[1]d {\n fastpath\n bind 127.0.0.7 127.0.0.8\n zkzone example.org {\n source %[3]s\n }\n}\n",
		port, loopback(prometheus), store), loopback(port))
	p := &fastpathPair{prometheus: prometheus}
	asked := 0
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "127.1.2.3", "::1"} {
		for range 20 {
			for _, name := range []string{"api.example.org", "elsewhere.invalid"} { // a hit, and a miss
				r := ask(t, net.JoinHostPort(host, strconv.Itoa(port)), question(name, dns.TypeA))
				if len(r.Answer) == 0 && name == "api.example.org" {
					t.Fatalf("%s: %s", host, r)
				}
			}
			asked++
		}
	}
	for _, host := range []string{"127.0.0.7", "127.0.0.8"} {
		if r := ask(t, net.JoinHostPort(host, strconv.Itoa(port)), question("api.example.org", dns.TypeA)); r.Rcode != dns.RcodeRefused {
			t.Errorf("%s, where example.net is served: %s", host, r)
		}
	}
	eventually(t, "all were answered by fastpath", func() error {
		if n := p.sum(t, "coredns_fastpath_hits_total", fmt.Sprintf(`server="dns://:%d"`, port)); n < float64(asked) {
			return fmt.Errorf("%v of %d", n, asked)
		}
		return nil
	})
}

// TestMissesThatPileUpDoNotHoldUpHits sends more queries to another block of the same socket than its plugin can answer soon, and asks for what
// fastpath answers meanwhile.
func TestMissesThatPileUpDoNotHoldUpHits(t *testing.T) {
	store := "dir://" + t.TempDir()
	publishExample(t, store)
	p := startPair(t, "example.org", fmt.Sprintf(" zkzone {\n source %s\n }\n", store),
		"slow.test:FASTPORT {\n bind 127.0.0.1\n erratic {\n drop 0\n truncate 0\n delay 1 4s\n }\n}\n")
	slow, err := question("x.slow.test", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", p.fast)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const misses = 20_000
	for range misses {
		_, _ = conn.Write(slow)
	}
	began := time.Now()
	for range 500 {
		if got := values(ask(t, p.fast, question("api.example.org", dns.TypeA))); got != "192.0.2.80" {
			t.Fatalf("got %q", got)
		}
	}
	t.Logf("500 hits, one after the other, took %s", time.Since(began))
	eventually(t, "all misses are counted", func() error {
		if n := p.sum(t, "coredns_fastpath_misses_total", `reason="block"`); n < misses/10 {
			return fmt.Errorf("%v", n)
		}
		return nil
	})
	t.Logf("%v misses dropped", p.sum(t, "coredns_fastpath_drops_total"))
}

// TestNoQueryIsLostWhilePoPsAreDrained asks for a steered name while its PoPs come and go. Each answer has two records of one PoP, and each of the
// PoPs answers at some time.
func TestNoQueryIsLostWhilePoPsAreDrained(t *testing.T) {
	store := "dir://" + t.TempDir()
	popctl(t, store, 0, "init")
	popctl(t, store, 0, "pop", "apply", writeFile(t, "pops.yaml", "ams1: {lat: 52, lon: 4}\niad2: {lat: 39, lon: -77}\n"))
	popctl(t, store, 0, "map", "publish", "edge", writeFile(t, "edge.yaml", "default: [ams1, iad2]\necs:\n  44.0.0.0/8: [ams1, iad2]\n"))
	popctl(t, store, 0, "zone", "publish", "example.org", writeFile(t, "zone", `$ORIGIN example.org.
@   60 IN SOA ns h 1 2 3 4 5
@   60 IN NS ns
ns  60 IN A 192.0.2.53
www 60 IN A 10.1.0.1 ;@ pop=ams1 map=edge
www 60 IN A 10.1.0.2 ;@ pop=ams1
www 60 IN A 10.2.0.1 ;@ pop=iad2
www 60 IN A 10.2.0.2 ;@ pop=iad2
`))
	p := startPair(t, "example.org", fmt.Sprintf(" popmap {\n map edge\n }\n zkzone {\n source %s\n }\n", store), "")
	wire, err := withECS(question("www.example.org", dns.TypeA), "44.1.2.0/24").Pack()
	if err != nil {
		t.Fatal(err)
	}
	var byPoP [3]atomic.Int64
	f := startFlood(t, p.fast, wire, func(reply []byte) string {
		m := new(dns.Msg)
		if err := m.Unpack(reply); err != nil || len(m.Answer) != 2 || ecsScope(m) < 1 {
			return fmt.Sprintf("% x: %v", reply, err)
		}
		a, b := m.Answer[0].(*dns.A).A.To4(), m.Answer[1].(*dns.A).A.To4()
		if a[1] != b[1] || a[1] < 1 || a[1] > 2 {
			return fmt.Sprintf("an answer from two PoPs:\n%s", m)
		}
		byPoP[a[1]].Add(1)
		return ""
	})
	for range 5 {
		popctl(t, store, 0, "pop", "down", "ams1")
		seen := byPoP[2].Load()
		eventually(t, "iad2 answers", func() error {
			if byPoP[2].Load() == seen {
				return fmt.Errorf("%d answers", seen)
			}
			return nil
		})
		popctl(t, store, 0, "pop", "up", "ams1")
	}
	f.end(t)
	t.Logf("%d answers from ams1, %d from iad2", byPoP[1].Load(), byPoP[2].Load())
	if byPoP[1].Load() == 0 {
		t.Error("none was from ams1")
	}
}
