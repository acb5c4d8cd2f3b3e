package chaos

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// resources are what a process must not use more and more of.
type resources struct {
	goroutines  int
	descriptors int
	heap        int64 // bytes that live after a collection
	resident    int64 // bytes of the process
}

// slack is what queries that are in flight and a garbage collector make of noise. It is tight, for it is asked until once nothing has
// grown; TestExpiredSessionIsReplaced reconnects more often than this.
var slack = resources{goroutines: 4, descriptors: 4, heap: 8 << 20, resident: 48 << 20}

func (now resources) grownSince(before resources) error {
	if now.goroutines > before.goroutines+slack.goroutines ||
		now.descriptors > before.descriptors+slack.descriptors ||
		now.heap > before.heap+slack.heap ||
		now.resident > before.resident+slack.resident {
		return fmt.Errorf("%v, was %v", now, before)
	}
	return nil
}

func (now resources) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d KiB of heap, %d KiB resident", now.goroutines, now.descriptors, now.heap>>10, now.resident>>10)
}

var (
	goroutineGroup = regexp.MustCompile(`(?m)^(\d+) @ `)
	heapAlloc      = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)`)
)

// measure asks the server's pprof plugin and the kernel. The goroutines of HTTP
// servers don't count: they answer us.
func (r *rig) measure() resources {
	r.t.Helper()
	var m resources
	for group := range strings.SplitSeq(r.profile("goroutine?debug=1"), "\n\n") {
		if n := goroutineGroup.FindStringSubmatch(group); n != nil && !strings.Contains(group, "net/http.") {
			count, _ := strconv.Atoi(n[1])
			m.goroutines += count
		}
	}
	if n := heapAlloc.FindStringSubmatch(r.profile("heap?debug=1&gc=1")); n != nil {
		m.heap, _ = strconv.ParseInt(n[1], 10, 64)
	}
	proc := filepath.Join("/proc", strconv.Itoa(r.server.cmd.Process.Pid))
	descriptors, err := os.ReadDir(filepath.Join(proc, "fd"))
	if statm, err := os.ReadFile(filepath.Join(proc, "statm")); err == nil { // proc(5): size, resident, … in pages
		pages, _ := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
		m.resident = pages * int64(os.Getpagesize())
	}
	if err != nil || m.goroutines == 0 || m.heap == 0 || m.resident == 0 {
		r.t.Fatalf("the server's resources are not to be had: %v, %v", m, err)
	}
	m.descriptors = len(descriptors)
	return m
}

func (r *rig) profile(what string) string {
	r.t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + r.pprof + "/debug/pprof/" + what)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}
