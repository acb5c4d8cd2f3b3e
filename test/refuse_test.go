package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/storeurl"
	"github.com/popdns/popdns/internal/store/zktest"

	"github.com/miekg/dns"
)

const zonePath = "zones/example.org"

// A fault is something wrong that whoever can write to the store publishes.
type fault struct {
	name   string
	reason string // as logged
	// publish does the wrong and returns what undoes it beside the head.
	publish func(t *testing.T, st store.Store, head map[string]any) (mend func())
}

var faults = []fault{
	{"garbage head", "head", func(t *testing.T, st store.Store, _ map[string]any) func() {
		t.Helper()
		set(t, st, zonePath+"/head", []byte("\x00\xff no head at all"))
		return nil
	}},
	{"truncated head", "head", func(t *testing.T, st store.Store, head map[string]any) func() {
		t.Helper()
		b := marshal(t, head)
		set(t, st, zonePath+"/head", b[:len(b)/2])
		return nil
	}},
	{"head of another zone", "name", func(t *testing.T, st store.Store, head map[string]any) func() {
		t.Helper()
		head["name"] = "zones/example.net"
		set(t, st, zonePath+"/head", marshal(t, head))
		return nil
	}},
	{"head of another store", "cluster", func(t *testing.T, st store.Store, head map[string]any) func() {
		t.Helper()
		head["cluster"] = "00000000-0000-4000-8000-000000000000"
		set(t, st, zonePath+"/head", marshal(t, head))
		return nil
	}},
	{"serial that goes back", "serial", func(t *testing.T, st store.Store, head map[string]any) func() {
		t.Helper()
		// The head of the image that the log starts from: a good head once.
		base := head["base"].(map[string]any)
		manifest := get(t, st, fmt.Sprintf("%s/base/%d/m", zonePath, int(head["gen"].(float64))))
		var m map[string]any
		if err := json.Unmarshal(manifest, &m); err != nil {
			t.Fatal(err)
		}
		head["serial"], head["sum"], head["items"] = base["serial"], m["sum"], m["items"]
		delete(head, "log")
		delete(head, "log_bytes")
		delete(head, "inline")
		set(t, st, zonePath+"/head", marshal(t, head))
		return nil
	}},
	{"corrupt delta over a corrupt chunk", "base", func(t *testing.T, st store.Store, head map[string]any) func() {
		t.Helper()
		serial := uint32(head["serial"].(float64)) + 1
		entry, chunk := fmt.Sprintf("%s/log/%010d", zonePath, serial), fmt.Sprintf("%s/base/%d/0000", zonePath, int(head["gen"].(float64)))
		head["serial"] = serial
		runs := head["log"].([]any)
		runs[len(runs)-1].(map[string]any)["last"] = serial
		delete(head, "inline")
		if err := st.Commit(t.Context(), store.Create(entry, []byte("not a delta"))); err != nil {
			t.Fatal(err)
		}
		flip(t, st, chunk) // or else the image would heal what the delta can't
		set(t, st, zonePath+"/head", marshal(t, head))
		return func() {
			flip(t, st, chunk)
			if err := st.Commit(t.Context(), store.Delete(entry, store.AnyVersion)); err != nil {
				t.Fatal(err)
			}
		}
	}},
}

// TestCorruptVersionsAreRefusedAndTheLastGoodOneStays publishes each fault into
// a real ZooKeeper under a running server: one clear line in the log, the old
// answers, and the next good version is served again.
func TestCorruptVersionsAreRefusedAndTheLastGoodOneStays(t *testing.T) {
	zk := zktest.Start(t)
	for i, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			url := zk.URL(fmt.Sprintf("/fault%d", i))
			publishExample(t, url)
			popctl(t, url, 0, "zone", "set", "example.org", "mark", "60", "A", "192.0.2.1")
			corefile, addr := corefileFor(t, url, "off")
			server := startCoreDNS(t, corefile, addr)
			st, err := storeurl.Open(url, storeurl.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			good := get(t, st, zonePath+"/head")
			var head map[string]any
			if err := json.Unmarshal(good, &head); err != nil {
				t.Fatal(err)
			}

			mend := f.publish(t, st, head)
			eventually(t, "the refusal is logged", func() error {
				if refusals(server) == nil {
					return fmt.Errorf("no line yet")
				}
				return nil
			})
			if got := values(ask(t, addr, question("mark.example.org", dns.TypeA))); got != "192.0.2.1" {
				t.Errorf("after the fault mark.example.org is %q, want the last good 192.0.2.1", got)
			}

			set(t, st, zonePath+"/head", good)
			if mend != nil {
				mend()
			}
			popctl(t, url, 0, "zone", "set", "example.org", "mended", "60", "A", "192.0.2.2")
			eventually(t, "the next good version is served", func() error {
				r, err := exchange(addr, question("mended.example.org", dns.TypeA))
				if err == nil && values(r) != "192.0.2.2" {
					err = fmt.Errorf("answer is %q", values(r))
				}
				return err
			})
			lines := refusals(server)
			if len(lines) != 1 || !strings.Contains(lines[0], "("+f.reason+")") || !strings.Contains(lines[0], zonePath) {
				t.Errorf("want one line that names %s and the reason %q, got %q", zonePath, f.reason, lines)
			}
		})
	}
}

func refusals(d *daemon) []string {
	var lines []string
	for line := range strings.Lines(d.log.String()) {
		if strings.Contains(line, "Refused ") {
			lines = append(lines, line)
		}
	}
	return lines
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func get(t *testing.T, st store.Store, path string) []byte {
	t.Helper()
	n, err := st.Get(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return n.Data
}

func set(t *testing.T, st store.Store, path string, data []byte) {
	t.Helper()
	if err := st.Commit(t.Context(), store.Set(path, data, store.AnyVersion)); err != nil {
		t.Fatal(err)
	}
}

// flip inverts one octet in the middle; twice is nothing.
func flip(t *testing.T, st store.Store, path string) {
	t.Helper()
	broken := bytes.Clone(get(t, st, path))
	broken[len(broken)/2] ^= 0xff
	set(t, st, path, broken)
}
