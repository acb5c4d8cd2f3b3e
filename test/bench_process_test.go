package test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// benchBinary names another coredns to measure, for comparing two builds.
const benchBinary = "POPDNS_BENCH_COREDNS"

// launch starts a server and returns it with the time from its exec to the first right answer to the zone's probe.
func launch(b *testing.B, corefile, addr string, in benchInput, env ...string) (*daemon, time.Duration) {
	b.Helper()
	dir := b.TempDir()
	path := filepath.Join(dir, "Corefile")
	if err := os.WriteFile(path, []byte(corefile), 0o600); err != nil {
		b.Fatal(err)
	}
	exe := filepath.Join(bin, "coredns")
	if other := os.Getenv(benchBinary); other != "" {
		exe = other
	}
	wire, err := question(in.Probe, dns.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	want := net.ParseIP(in.ProbeAddr).To4()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	d := startProcess(b, exec.Command(exe, "-conf", path), dir, env)
	reply := make([]byte, 4096)
	for end := began.Add(time.Minute); time.Now().Before(end); {
		_ = conn.SetDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := conn.Write(wire); err == nil {
			if n, err := conn.Read(reply); err == nil && bytes.Contains(reply[:n], want) {
				return d, time.Since(began)
			}
		}
		time.Sleep(time.Millisecond) // nothing listens there yet
	}
	b.Fatalf("no right answer from %s within a minute:\n%s", addr, d.log)
	return nil, 0
}

// status is a line of /proc/PID/status or smaps_rollup, in bytes.
func status(tb testing.TB, d *daemon, file, key string) int64 {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", d.cmd.Process.Pid, file))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				tb.Fatal(err)
			}
			return kb << 10
		}
	}
	tb.Fatalf("%s has no %s", file, key)
	return 0
}

// resident is what the process takes, its share of what others use too included.
func resident(tb testing.TB, d *daemon) int64 {
	tb.Helper()
	return status(tb, d, "smaps_rollup", "Pss")
}

// peak is the most that was resident since forgetPeak.
func peak(tb testing.TB, d *daemon) int64 {
	tb.Helper()
	return status(tb, d, "status", "VmHWM")
}

func forgetPeak(tb testing.TB, d *daemon) {
	tb.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", d.cmd.Process.Pid), []byte("5"), 0); err != nil {
		tb.Fatal(err)
	}
}

// settled waits until the process has given back what a load took, and returns what is resident then.
func settled(tb testing.TB, d *daemon) int64 {
	tb.Helper()
	low, since := resident(tb, d), time.Now()
	for time.Since(since) < 8*time.Second {
		time.Sleep(500 * time.Millisecond)
		if now := resident(tb, d); now < low-low/50 {
			low, since = now, time.Now()
		}
	}
	return low
}

// cpuTime is the processor time that the process has used.
func cpuTime(tb testing.TB, d *daemon) time.Duration {
	tb.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.cmd.Process.Pid))
	if err != nil {
		tb.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	ticks := 0
	for _, f := range fields[11:13] { // utime and stime, in hundredths of a second
		n, err := strconv.Atoi(f)
		if err != nil {
			tb.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// metric reads an unlabelled metric of a server that has the prometheus plugin on addr.
func metric(tb testing.TB, addr, name string) float64 {
	tb.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(readAll(resp.Body))
	if m == nil {
		tb.Fatalf("no metric %s", name)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

var gcCPU = regexp.MustCompile(`ms clock, [\d.]+\+([\d.]+)/([\d.]+)/[\d.]+\+[\d.]+ ms cpu`)

// markTime is the processor time of the last collection's marking, from the log of a server started with GODEBUG=gctrace=1.
func markTime(tb testing.TB, d *daemon) time.Duration {
	tb.Helper()
	all := gcCPU.FindAllStringSubmatch(d.log.String(), -1)
	if len(all) == 0 {
		tb.Fatal("no collection in the log")
	}
	var total float64
	for _, f := range all[len(all)-1][1:] {
		v, err := strconv.ParseFloat(f, 64)
		if err != nil {
			tb.Fatal(err)
		}
		total += v
	}
	return time.Duration(total * float64(time.Millisecond))
}
