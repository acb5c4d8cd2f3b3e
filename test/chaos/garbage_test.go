package chaos

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"

	"github.com/klauspost/compress/zstd"
)

// TestGarbageIsRefusedAndTheLastGoodVersionStays writes what no publisher
// would, under load, and mends it each time.
func TestGarbageIsRefusedAndTheLastGoodVersionStays(t *testing.T) {
	r := newRig(t)
	r.pub.halt()
	for _, g := range garbage {
		r.pub.must(t, filler)
		r.converge("before " + g.name)
		newest := r.load.newest.Load()
		good, err := r.pub.head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		already := len(r.server.log.lines("Refused "))
		g.publish(t, r.pub, good)
		eventually(t, g.name+" is refused", func() error {
			lines := r.server.log.lines("Refused ")
			if len(lines) == already || !strings.Contains(lines[len(lines)-1], "("+g.reason+")") {
				return fmt.Errorf("want (%s), have %q", g.reason, lines[already:])
			}
			return nil
		})
		r.frozen(newest)
		r.pub.set(t, "head", good)
	}
	r.pub.start(t)
	r.finish()
}

// garbage is what may be published that must never be served.
var garbage = []struct {
	name, reason string
	publish      func(t *testing.T, p *publisher, good []byte)
}{
	{"an empty head", "head", func(t *testing.T, p *publisher, _ []byte) { t.Helper(); p.set(t, "head", nil) }},
	{"octets", "head", func(t *testing.T, p *publisher, _ []byte) { t.Helper(); p.set(t, "head", []byte("\x00\xff\xfe")) }},
	{"half a head", "head", func(t *testing.T, p *publisher, good []byte) { t.Helper(); p.set(t, "head", good[:len(good)/2]) }},
	{"deep nesting", "head", func(t *testing.T, p *publisher, _ []byte) {
		t.Helper()
		p.set(t, "head", bytes.Repeat([]byte(`{"v":`), 10_000))
	}},
	{"a head of another zone", "name", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.edit(t, good, func(h *dataset.Head) { h.Name = "zones/other.test" })
	}},
	{"a head of the future", "head", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.edit(t, good, func(h *dataset.Head) { h.V = 2 })
	}},
	{"an oversize head", "size", func(t *testing.T, p *publisher, _ []byte) {
		t.Helper()
		p.set(t, "head", bytes.Repeat([]byte("x"), store.MaxNodeBytes))
	}},
	{"other content under the same serial", "serial", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.edit(t, good, func(h *dataset.Head) { h.Commit = "another" })
	}},
	{"an epoch that is over", "cluster", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.edit(t, good, func(h *dataset.Head) { h.Epoch-- })
	}},
	{"a delta of garbage", "delta", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.next(t, good, func(h *dataset.Head) {
			h.Inline = []dataset.Inline{{From: h.Serial - 1, To: h.Serial, Delta: []byte("garbage")}}
		})
	}},
	{"a delta that is not there", "delta", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.next(t, good, func(h *dataset.Head) { h.Inline = nil })
	}},
	{"a serial that is no number", "head", func(t *testing.T, p *publisher, good []byte) { t.Helper(); p.replace(t, good, "serial", "NaN") }},
	{"a serial below zero", "head", func(t *testing.T, p *publisher, good []byte) { t.Helper(); p.replace(t, good, "serial", "-1") }},
	{"a serial beyond 32 bits", "head", func(t *testing.T, p *publisher, good []byte) { t.Helper(); p.replace(t, good, "serial", "4294967296") }},
	{"a generation of 1e400", "head", func(t *testing.T, p *publisher, good []byte) { t.Helper(); p.replace(t, good, "gen", "1e400") }},
	{"a name of no UTF-8", "name", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.replace(t, good, "name", "\"zones/\xff\xfe\xc0\"")
	}},
	{"a serial half the circle away", "serial", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.edit(t, good, func(h *dataset.Head) {
			h.Serial += 1 << 31
			h.Base.Serial, h.Log, h.Inline = h.Serial, nil, nil
		})
	}},
	{"a delta twice", "sum", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.next(t, good, func(h *dataset.Head) {
			last := h.Inline[len(h.Inline)-1]
			h.Inline = []dataset.Inline{{From: h.Serial - 1, To: h.Serial, Delta: last.Delta}}
		})
	}},
	{"deltas out of order", "head", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.edit(t, good, func(h *dataset.Head) { slices.Reverse(h.Inline) })
	}},
	{"deltas that were exchanged", "delta", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		// Of the three that the reader lacks, the contents of two.
		p.next(t, good, func(h *dataset.Head) {
			n := len(h.Inline)
			h.Serial += 2
			h.Log[len(h.Log)-1].Last += 2
			h.Inline = []dataset.Inline{
				{From: h.Serial - 3, To: h.Serial - 2, Delta: h.Inline[n-1].Delta},
				{From: h.Serial - 2, To: h.Serial - 1, Delta: h.Inline[n-2].Delta[:len(h.Inline[n-2].Delta)-1]},
				{From: h.Serial - 1, To: h.Serial, Delta: h.Inline[n-2].Delta},
			}
		})
	}},
	{"a log with a gap", "head", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.edit(t, good, func(h *dataset.Head) {
			h.Serial += 5
			h.Log = append(h.Log, dataset.Run{From: h.Serial - 2, First: h.Serial, Last: h.Serial})
			h.Inline = nil
		})
	}},
	{"a delta that unpacks to ten thousand times its size", "delta", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.next(t, good, func(h *dataset.Head) {
			h.Inline = []dataset.Inline{{From: h.Serial - 1, To: h.Serial, Delta: bomb("pzd1")}}
		})
	}},
	{"an image that unpacks to ten thousand times its size", "base", func(t *testing.T, p *publisher, good []byte) { t.Helper(); p.image(t, good, bomb("pzb1")) }},
	{"an image of garbage with the right hash", "base", func(t *testing.T, p *publisher, good []byte) { t.Helper(); p.image(t, good, []byte("garbage")) }},
	{"a version without most of the zone", "guard", func(t *testing.T, p *publisher, _ []byte) {
		t.Helper()
		p.must(t, filler/10)
	}},
	{"a base that is not there", "base", func(t *testing.T, p *publisher, good []byte) {
		t.Helper()
		p.next(t, good, func(h *dataset.Head) {
			h.Gen, h.Base.Serial, h.Log, h.Inline = h.Gen+1000, h.Serial, nil, nil
		})
	}},
}

// set writes a node of the zone.
func (p *publisher) set(t *testing.T, node string, data []byte) {
	t.Helper()
	if err := p.st.Commit(t.Context(), store.Set(zonePath+"/"+node, data, store.AnyVersion)); err != nil {
		t.Fatal(err)
	}
}

// edit publishes a changed head.
func (p *publisher) edit(t *testing.T, good []byte, change func(*dataset.Head)) {
	t.Helper()
	h, err := dataset.ParseHead(good)
	if err != nil {
		t.Fatal(err)
	}
	change(&h)
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	p.set(t, "head", b)
}

// next publishes a head that claims another version.
func (p *publisher) next(t *testing.T, good []byte, change func(*dataset.Head)) {
	t.Helper()
	p.edit(t, good, func(h *dataset.Head) {
		from := h.Serial
		h.Serial++
		h.Commit = "next"
		if n := len(h.Log); n > 0 && h.Log[n-1].Last == from {
			h.Log[n-1].Last++
		} else {
			h.Log = append(h.Log, dataset.Run{From: from, First: h.Serial, Last: h.Serial})
		}
		change(h)
	})
}

// replace publishes a head in which another value stands behind a key, as no encoder would write it.
func (p *publisher) replace(t *testing.T, good []byte, key, value string) {
	t.Helper()
	re := regexp.MustCompile(`"` + key + `":("[^"]*"|[0-9]+)`)
	at := re.FindIndex(good) // the first: of the head itself
	if at == nil {
		t.Fatalf("no %s in %s", key, good)
	}
	p.set(t, "head", slices.Concat(good[:at[0]], []byte(`"`+key+`":`+value), good[at[1]:]))
}

// image publishes a head of the next version whose image has one chunk, named by its right hash.
func (p *publisher) image(t *testing.T, good []byte, chunk []byte) {
	t.Helper()
	p.next(t, good, func(h *dataset.Head) {
		from := fmt.Sprintf("%s/base/%d/", zonePath, h.Gen)
		node, err := p.st.Get(t.Context(), from+"m")
		if err != nil {
			t.Fatal(err)
		}
		var manifest map[string]any
		if err := json.Unmarshal(node.Data, &manifest); err != nil {
			t.Fatal(err)
		}
		manifest["serial"] = h.Serial
		manifest["chunks"] = []map[string]any{{"size": len(chunk), "sha256": fmt.Sprintf("%x", sha256.Sum256(chunk))}}
		index, err := json.Marshal(manifest)
		if err != nil {
			t.Fatal(err)
		}
		h.Gen += 2000 // above all that a writer makes here; its collector leaves those alone
		h.Base = dataset.Base{Serial: h.Serial, Chunks: 1, Bytes: int64(len(chunk)), SHA256: sha256.Sum256(index)}
		h.Log, h.Inline = nil, nil
		dir := fmt.Sprintf("%s/base/%d", zonePath, h.Gen)
		_ = store.DeleteAll(t.Context(), p.st, dir) // of an earlier call
		if err := p.st.Commit(t.Context(), store.Create(dir, nil), store.Create(dir+"/m", index), store.Create(dir+"/0000", chunk)); err != nil {
			t.Fatal(err)
		}
	})
}

// bomb returns a block of some ten kilobytes whose payload unpacks to 128 MiB, though it claims a thousand octets (see package frame for the form).
func bomb(magic string) []byte {
	var payload bytes.Buffer
	w, err := zstd.NewWriter(&payload)
	if err != nil {
		panic(err) // only an option out of range
	}
	zeros := make([]byte, 1<<20)
	for range 128 {
		_, _ = w.Write(zeros) // into memory
	}
	_ = w.Close()
	block := append([]byte(magic), 1)
	block = binary.BigEndian.AppendUint32(block, 1000)
	block = binary.BigEndian.AppendUint32(block, crc32.Checksum(payload.Bytes(), crc32.MakeTable(crc32.Castagnoli)))
	return append(block, payload.Bytes()...)
}

// TestForgedHeadsAreRefused publishes heads that nobody signed, or another, to
// a server that verifies.
func TestForgedHeadsAreRefused(t *testing.T) {
	ours, public := generateKey(t)
	theirs, _ := generateKey(t)
	file := filepath.Join(t.TempDir(), "keys.pem")
	if err := os.WriteFile(file, public, 0o600); err != nil {
		t.Fatal(err)
	}
	r := setup{publishing: publishing{sign: ours}, zkzone: "verify " + file}.rig(t)
	r.pub.halt()
	for name, key := range map[string]ed25519.PrivateKey{"nobody": nil, "a stranger": theirs} {
		r.pub.must(t, filler)
		r.converge("before a head signed by " + name)
		newest := r.load.newest.Load()
		good, err := r.pub.head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		already := len(r.server.log.lines("(signature)"))
		forger := dataset.NewWriter(store.Store(r.pub.st), dataset.Ref[*zone.Snapshot]{Path: zonePath, Codec: zoneRef.Codec, Keys: dataset.Keys{Sign: key}})
		_, err = forger.Commit(t.Context(), dataset.Commit{By: name, Force: true}, func(*dataset.Version[*zone.Snapshot]) (*zone.Snapshot, error) {
			return snapshot(newest+1000, filler, 0)
		})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is refused", func() error {
			if len(r.server.log.lines("(signature)")) == already {
				return fmt.Errorf("not among %q", r.server.log.lines("Refused"))
			}
			return nil
		})
		r.frozen(newest)
		r.pub.set(t, "head", good)
		r.pub.last.Store(newest + 10) // above the forger's log entries
	}
	r.pub.start(t)
	r.finish()
}

func generateKey(t *testing.T) (ed25519.PrivateKey, []byte) {
	t.Helper()
	private, public, err := dataset.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := dataset.ParsePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return key, public
}

// TestSerialsThatComeRound lets versions pass 2^32, where the next serial is a
// smaller number (RFC 1982).
func TestSerialsThatComeRound(t *testing.T) {
	r := setup{publishing: publishing{from: math.MaxUint32 - 10}}.rig(t)
	r.served(3, "beyond 2^32")
	r.restart(syscall.SIGTERM)
	r.converge("from a cache that has come round")
	r.before = r.measure()
	r.finish()
}
