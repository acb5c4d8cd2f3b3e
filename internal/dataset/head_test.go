package dataset

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/alloctest"
)

func goodHead() Head {
	return Head{V: 1, Kind: "pairs", Name: "zones/example.org", Cluster: "c", Epoch: 1, Gen: 3,
		Revision: Revision{Serial: 12, Published: time.Unix(1e9, 0).UTC(), Commit: "id", Items: 4},
		Base:     Base{Serial: 7, Chunks: 1, Bytes: 10},
		Log:      []Run{{From: 5, First: 6, Last: 10}, {From: 10, First: 12, Last: 12}},
		Inline:   []Inline{{From: 9, To: 10, Delta: []byte("x")}, {From: 10, To: 12, Delta: []byte("y")}}}
}

func TestHeadSurvivesAndUnknownFieldsAreLeftAlone(t *testing.T) {
	h := goodHead()
	b, err := h.marshal(Keys{})
	if err != nil {
		t.Fatal(err)
	}
	b = append([]byte(`{"signature_of_the_future":["x"],`), b[1:]...)
	got, err := ParseHead(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := got.marshal(Keys{})
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := h.marshal(Keys{}); string(again) != string(want) {
		t.Fatalf("came back as\n%s, want\n%s", again, want)
	}
}

func TestHeadIsRefusedWhen(t *testing.T) {
	for name, change := range map[string]func(*Head){
		"the kind is missing":           func(h *Head) { h.Kind = "" },
		"the name is missing":           func(h *Head) { h.Name = "" },
		"the cluster is missing":        func(h *Head) { h.Cluster = "" },
		"the epoch is negative":         func(h *Head) { h.Epoch = -1 },
		"there is no generation":        func(h *Head) { h.Gen = 0 },
		"the serial is 0":               func(h *Head) { h.Serial = 0 },
		"the commit id is missing":      func(h *Head) { h.Commit = "" },
		"the time is missing":           func(h *Head) { h.Published = time.Time{} },
		"items are negative":            func(h *Head) { h.Items = -1 },
		"the message is too long":       func(h *Head) { h.Message = strings.Repeat("x", maxMessageBytes+1) },
		"there are no chunks":           func(h *Head) { h.Base.Chunks = 0 },
		"there are too many chunks":     func(h *Head) { h.Base.Chunks = MaxChunks + 1 },
		"the image is too big":          func(h *Head) { h.Base.Bytes = MaxBaseBytes + 1 },
		"the log has a gap":             func(h *Head) { h.Log[1].From = 11 },
		"the log goes back":             func(h *Head) { h.Log[1] = Run{10, 9, 12} },
		"a run ends before it begins":   func(h *Head) { h.Log[0] = Run{5, 10, 6} },
		"a run begins with 0":           func(h *Head) { h.Log[0] = Run{1<<32 - 1, 0, 10} },
		"the log stops early":           func(h *Head) { h.Log = h.Log[:1] },
		"the log begins after the base": func(h *Head) { h.Base.Serial = 4 },
		"the log is missing":            func(h *Head) { h.Log = nil },
		"the log is endless":            func(h *Head) { h.Base.Serial, h.Serial, h.Log = 1, 1<<31, []Run{{1, 2, 1 << 31}} },
		"inline deltas have a gap":      func(h *Head) { h.Inline[0].To = 11 },
		"inline deltas end elsewhere":   func(h *Head) { h.Inline[1].To = 13 },
		"there are too many runs": func(h *Head) {
			h.Log, h.Inline, h.Serial = []Run{{6, 7, 7}}, nil, 7
			for range maxRuns {
				h.Log = extend(h.Log, step{h.Serial, h.Serial + 2})
				h.Serial += 2
			}
		},
	} {
		h := goodHead()
		change(&h)
		b, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseHead(b); err == nil {
			t.Errorf("accepted although %s", name)
		} else if r, ok := asRefusal(err, 0); !ok || r.Reason != ReasonHead {
			t.Errorf("%s: %v, want a Refusal for %q", name, err, ReasonHead)
		}
	}
}

func TestLargestHeadFitsAndGivesUpInlineDeltasFirst(t *testing.T) {
	h := goodHead()
	h.By, h.Message = strings.Repeat("\x01", maxByBytes), strings.Repeat("\x01", maxMessageBytes)
	h.Log, h.Serial = []Run{{6, 7, 7}}, 7
	for range compactRuns - 1 {
		h.Log = extend(h.Log, step{h.Serial, h.Serial + 1<<25})
		h.Serial += 1 << 25
	}
	h.Inline = nil
	for range maxInlines {
		h.Inline = inline(h.Inline, Inline{h.Serial, h.Serial, make([]byte, maxInlineBytes/maxInlines)})
	}
	if len(h.Inline) != maxInlines {
		t.Fatalf("%d inline deltas, want %d", len(h.Inline), maxInlines)
	}
	b, err := h.marshal(Keys{})
	if err != nil || len(b) > MaxHeadBytes || len(h.Inline) != maxInlines {
		t.Fatalf("%d bytes with %d inline deltas, %v", len(b), len(h.Inline), err)
	}
	if _, err := ParseHead(b); err != nil {
		t.Fatal(err)
	}
	h.Inline = append(h.Inline, Inline{1, 2, make([]byte, MaxHeadBytes)})
	if b, err := h.marshal(Keys{}); err != nil || len(b) > MaxHeadBytes || len(h.Inline) != 0 {
		t.Fatalf("%d bytes with %d inline deltas, %v", len(b), len(h.Inline), err)
	}
}

// TestLogRunsNameTheSameStepsAsAList compares runs with the plain list of steps that they stand for.
func TestLogRunsNameTheSameStepsAsAList(t *testing.T) {
	r := seeded(t)
	for range 300 {
		at := r.Uint32()
		if r.IntN(3) == 0 {
			at = 1<<32 - 1 - r.Uint32N(5)
		}
		at = max(at, 1)
		list := make([]step, 0, 30)
		var runs []Run
		h := goodHead()
		for range r.IntN(30) {
			next := nextSerial(at, 0)
			if r.IntN(4) == 0 {
				next = nextSerial(at, at+r.Uint32N(10))
			}
			list, runs = append(list, step{at, next}), extend(runs, step{at, next})
			at = next
		}
		h.Inline, h.Log, h.Serial, h.Base.Serial = nil, runs, at, at
		if len(list) > 0 {
			h.Base.Serial = list[r.IntN(len(list))].from
		}
		if err := h.check(); err != nil {
			t.Fatalf("%+v: %v", h.Log, err)
		}
		for i, s := range list {
			got, ok := h.steps(s.from)
			if !ok || !slices.Equal(got, list[i:]) {
				t.Fatalf("runs %v from %d: %v (%v), want %v", runs, s.from, got, ok, list[i:])
			}
			if want := !newer(h.Base.Serial, s.to); h.has(s.to) != want {
				t.Fatalf("runs %v with the image at %d: has(%d) is not %v", runs, h.Base.Serial, s.to, want)
			}
		}
		if got, ok := h.steps(at + 1<<30); ok {
			t.Fatalf("runs %v from nowhere: %v", runs, got)
		}
	}
}

// parseBytes bounds what parsing a node's JSON may allocate.
func parseBytes(b []byte) int { return 64<<10 + 256*len(b) }

func FuzzParseHead(f *testing.F) {
	h := goodHead()
	b, err := h.marshal(Keys{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"v":1}`))
	f.Add([]byte(`{"v":1,"log":[{"from":1,"first":2,"last":4294967295}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Head
		var err error
		alloctest.Within(t, parseBytes(b), func() { h, err = ParseHead(b) })
		if err != nil {
			if _, ok := errors.AsType[Refusal](err); !ok {
				t.Fatalf("error %v is no Refusal", err)
			}
			return
		}
		if _, ok := h.steps(h.Base.Serial); !ok {
			t.Fatalf("accepted, but the log does not lead from the image: %s", b)
		}
		again, err := h.marshal(Keys{})
		if err != nil {
			t.Skip() // a message of many escapes
		}
		if _, err := ParseHead(again); err != nil {
			t.Fatalf("accepted %s, but not its own %s: %v", b, again, err)
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	e := entry{header: entryHeader{From: 1, Revision: goodHead().Revision}, delta: []byte("+a=1\n-b")}
	e.header.Serial = 2
	b, err := e.marshal()
	if err != nil {
		f.Fatal(err)
	}
	if got, err := parseEntry(b, step{1, 2}); err != nil || string(got.delta) != string(e.delta) {
		f.Fatalf("entry came back as %+v, %v", got, err)
	}
	f.Add(b)
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e entry
		var err error
		alloctest.Within(t, parseBytes(b), func() { e, err = parseEntry(b, step{1, 2}) })
		if err == nil && (e.header.From != 1 || e.header.Serial != 2 || len(e.delta) > MaxDeltaBytes) {
			t.Fatalf("accepted %q for step 1→2", b)
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	m := newManifest("pairs", "zones/example.org", goodHead().Revision, [][]byte{[]byte("one"), []byte("two")})
	b, base, err := m.marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		base := base
		base.SHA256 = sha256.Sum256(b) // otherwise nothing is ever parsed
		var m manifest
		var err error
		alloctest.Within(t, parseBytes(b), func() { m, err = parseManifest(b, "pairs", "zones/example.org", base) })
		if err == nil && (len(m.Chunks) != base.Chunks || m.Serial != base.Serial) {
			t.Fatalf("accepted %q for %+v", b, base)
		}
	})
}

func TestZonePathsAndNamesAreInverse(t *testing.T) {
	for origin, key := range map[string]string{
		"example.org.": "example.org", ".": "@", "": "@", "Example.ORG": "example.org",
		"_sip._tcp.example.": "_sip._tcp.example", `a\.b.example.`: "a%2Eb.example", `\@.`: "%40", "2/26.0.0.10.in-addr.arpa.": "2%2F26.0.0.10.in-addr.arpa",
		`\007x.example.`: "%07x.example", "b\xc3\xbc.example.": "b%C3%BC.example", "*.example.": "%2A.example",
	} {
		if got := ZonePath(origin); got != "zones/"+key {
			t.Errorf("ZonePath(%q) = %q, want zones/%s", origin, got, key)
		}
		if got := ZonePath(ZoneName(key)); got != "zones/"+key {
			t.Errorf("ZoneName(%q) = %q, whose path is %q", key, ZoneName(key), got)
		}
	}
	if got := ZoneName("a%2Eb.example"); got != `a\.b.example.` {
		t.Errorf("ZoneName = %q", got)
	}
	if got := MapPath("Edge.eu/1"); got != "maps/Edge%2Eeu%2F1" {
		t.Errorf("MapPath = %q", got)
	}
}

func FuzzZoneName(f *testing.F) {
	for _, key := range []string{"example.org", "@", "%2E", "%", "a%2Eb"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, origin string) {
		path := ZonePath(origin)
		key := strings.TrimPrefix(path, "zones/")
		if strings.Contains(key, "/") || key == "" {
			t.Fatalf("ZonePath(%q) = %q", origin, path)
		}
		if again := ZonePath(ZoneName(key)); again != path {
			t.Fatalf("%q: path %q, its name %q has path %q", origin, path, ZoneName(key), again)
		}
	})
}

func TestHistoryRingIsBoundedInNumberBytesAndEntries(t *testing.T) {
	gens := func(n int, bytes int64) []Head {
		out := make([]Head, n)
		for i := range out {
			out[i].Gen, out[i].Base.Bytes = int64(n-i), bytes
		}
		return out
	}
	for _, c := range []struct {
		n     int
		bytes int64
		want  int
	}{{1, 0, 1}, {10, 100, 10}, {40, 100, 1 + HistoryLen}, {10, historyBytes / 4, 5}, {10, historyBytes * 2, 1 + historyMin}} {
		if got := keepGenerations(gens(c.n, c.bytes)); got != c.want {
			t.Errorf("%d generations of %d bytes: %d stay, want %d", c.n, c.bytes, got, c.want)
		}
	}
	logged := gens(10, 1)
	for i := range logged {
		logged[i].Base.Serial, logged[i].Serial, logged[i].Log = 1, 5001, []Run{{1, 2, 5001}}
	}
	if got := keepGenerations(logged); got != 5 {
		t.Errorf("10 generations of 5000 entries: %d stay, want 5", got)
	}
}

func TestHeartbeatIsReadBack(t *testing.T) {
	s := newStore(t)
	for i := range 3 {
		want := time.Unix(1e9+int64(i), 5e6).UTC()
		if err := Stamp(t.Context(), s, want, "pulse"); err != nil {
			t.Fatal(err)
		}
		if got, err := ParseHeartbeat(read(t, s, HeartbeatPath)); err != nil || !got.Equal(want) {
			t.Fatalf("heartbeat %s, %v, want %s", got, err, want)
		}
	}
	for _, bad := range []string{"", "{}", "junk", `{"time":"yesterday"}`, strings.Repeat(" ", maxSmallBytes+1)} {
		if got, err := ParseHeartbeat([]byte(bad)); err == nil {
			t.Errorf("ParseHeartbeat(%.20q) = %s", bad, got)
		}
	}
}

func FuzzParseHeartbeat(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-23T12:00:00Z","by":"pulse"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := ParseHeartbeat(b); err == nil && got.IsZero() {
			t.Fatalf("no time in %q", b)
		}
	})
}

func TestInitGivesOneIdentityHoweverOftenItRuns(t *testing.T) {
	path := t.TempDir()
	type result struct {
		Cluster
		created bool
	}
	results := make(chan result, 5)
	for range cap(results) {
		s := openDir(t, path)
		go func() {
			c, created, err := Init(t.Context(), s)
			if err != nil {
				t.Error(err)
			}
			results <- result{c, created}
		}()
	}
	created, ids := 0, map[string]bool{}
	for range cap(results) {
		r := <-results
		ids[r.ID] = true
		if r.created {
			created++
		}
	}
	if created != 1 || len(ids) != 1 {
		t.Fatalf("%d created, identities %v", created, ids)
	}
	s := openDir(t, path)
	if c, err := ReadCluster(t.Context(), s); err != nil || !ids[c.ID] || c.Epoch != 1 || c.Created.IsZero() {
		t.Fatalf("cluster %+v, %v", c, err)
	}
	if c, err := ReadCatalog(t.Context(), s); err != nil || len(c.Zones)+len(c.Maps) != 0 {
		t.Fatalf("catalog %+v, %v", c, err)
	}
	if _, err := ListDatasets(t.Context(), s, "pops"); err == nil {
		t.Fatal("the PoP table has no list")
	}
	_, err := ReadCluster(t.Context(), openDir(t, t.TempDir()))
	wantErr(t, err, ErrNoStore)
}

func TestSpecIsDirectUnlessItSaysOtherwise(t *testing.T) {
	s := newStore(t)
	if spec, err := ReadSpec(t.Context(), s, "zones/a"); err != nil || spec.Mode != ModeDirect {
		t.Fatalf("spec %+v, %v", spec, err)
	}
	for i, c := range []struct {
		data string
		want Spec
		bad  bool
	}{
		{`{"default_map":"edge"}`, Spec{ModeDirect, "edge"}, false},
		{`{"mode":"presented","later":1}`, Spec{ModePresented, ""}, false},
		{`{"mode":"typo"}`, Spec{}, true}, {`junk`, Spec{}, true},
	} {
		path := fmt.Sprint("zones/z", i)
		create(t, s, path+"/spec", c.data)
		if got, err := ReadSpec(t.Context(), s, path); got != c.want || (err != nil) != c.bad {
			t.Errorf("%s: %+v, %v, want %+v", c.data, got, err, c.want)
		}
	}
}
