package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/popdns/popdns/internal/alloctest"
)

var magic = [4]byte{'t', 'e', 's', 't'}

type entry struct {
	kind byte
	body []byte
}

func pack(entries ...entry) []byte {
	w := NewWriter(magic)
	for _, e := range entries {
		w.Entry(e.kind, e.body)
	}
	return w.Bytes()
}

func unpack(b []byte) ([]entry, error) {
	r, err := Open(magic, b)
	if err != nil {
		return nil, err
	}
	var out []entry
	for {
		kind, body, ok := r.Next()
		if !ok {
			return out, r.Err()
		}
		out = append(out, entry{kind, body})
	}
}

func sameEntries(a, b []entry) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].kind != b[i].kind || !bytes.Equal(a[i].body, b[i].body) {
			return false
		}
	}
	return true
}

// forge frames payload with a header that states size and a right CRC: what an attacker or a bad writer can make.
func forge(size uint32, payload []byte) []byte {
	b := append([]byte{}, magic[:]...)
	b = append(b, formatVersion)
	b = binary.BigEndian.AppendUint32(b, size)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	return append(b, payload...)
}

func zipped(t *testing.T, raw []byte) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	return e.EncodeAll(raw, nil)
}

func randomEntries(r *rand.Rand) []entry {
	out := make([]entry, r.IntN(20))
	for i := range out {
		body := make([]byte, r.IntN(300))
		for j := range body {
			body[j] = byte(r.UintN(4))
		}
		out[i] = entry{byte(r.UintN(256)), body}
	}
	return out
}

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		want := randomEntries(r)
		got, err := unpack(pack(want...))
		if err != nil || !sameEntries(got, want) {
			t.Fatalf("%d entries came back as %d, %v", len(want), len(got), err)
		}
	}
}

func TestBlockWithoutEntriesOpens(t *testing.T) {
	got, err := unpack(pack())
	if err != nil || len(got) != 0 {
		t.Fatalf("got %v, %v", got, err)
	}
}

func TestWriterIsReusableAfterBytes(t *testing.T) {
	w := NewWriter(magic)
	w.Entry(1, []byte("first"))
	if want := 1 + 1 + 5; w.Len() != want {
		t.Fatalf("Len %d, want %d", w.Len(), want)
	}
	first := w.Bytes()
	if w.Len() != 0 {
		t.Fatalf("Len %d after Bytes", w.Len())
	}
	w.Entry(2, []byte("other"))
	second := w.Bytes()
	for _, c := range []struct {
		block []byte
		want  entry
	}{{first, entry{1, []byte("first")}}, {second, entry{2, []byte("other")}}} {
		if got, err := unpack(c.block); err != nil || !sameEntries(got, []entry{c.want}) {
			t.Errorf("got %v, %v, want %v", got, err, c.want)
		}
	}
}

func TestEveryFlippedByteAndEveryTruncationIsRefused(t *testing.T) {
	good := pack(entry{1, []byte("www.example.org")}, entry{2, bytes.Repeat([]byte{7}, 100)})
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if got, err := unpack(bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d flipped: got %v, %v, want ErrCorrupt", i, got, err)
		}
		if got, err := unpack(good[:i]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut to %d bytes: got %v, %v, want ErrCorrupt", i, got, err)
		}
	}
}

func TestForgedBlocksAreRefused(t *testing.T) {
	bomb := zipped(t, make([]byte, 4*MaxRaw))
	raw := []byte{1, 2, 'h', 'i'}
	for name, block := range map[string][]byte{
		"claims more than MaxRaw":                   forge(MaxRaw+1, zipped(t, raw)),
		"bomb behind a small claim":                 forge(100, bomb),
		"bomb behind the largest claim":             forge(MaxRaw, bomb),
		"unpacks to less than claimed":              forge(5, zipped(t, raw)),
		"unpacks to more than claimed":              forge(3, zipped(t, raw)),
		"two zstd frames where one was claimed":     forge(4, append(zipped(t, raw), zipped(t, raw)...)),
		"not zstd":                                  forge(4, raw),
		"entry longer than the block":               forge(4, zipped(t, []byte{1, 3, 'h', 'i'})),
		"entry length cut off":                      forge(2, zipped(t, []byte{1, 0x80})),
		"entry without a length":                    forge(1, zipped(t, []byte{1})),
		"entry length of 11 bytes, above 64 bits":   forge(12, zipped(t, append([]byte{1}, bytes.Repeat([]byte{0xff}, 11)...))),
		"entry length of 2^63, negative as an int":  forge(11, zipped(t, binary.AppendUvarint([]byte{1}, 1<<63))),
		"another magic":                             append([]byte("tesT"), pack()[4:]...),
		"empty":                                     nil,
		"a good block with one byte after it":       append(pack(entry{1, nil}), 0),
		"format version of the future, rest intact": append(append(bytes.Clone(magic[:]), formatVersion+1), pack()[5:]...),
	} {
		if got, err := unpack(block); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v, %v, want ErrCorrupt", name, got, err)
		}
	}
}

func TestBombCostsNoMoreMemoryThanItClaims(t *testing.T) {
	block := forge(100, zipped(t, make([]byte, 4*MaxRaw)))
	if _, err := Open(magic, block); err == nil { // the shared decoder is made here, outside the measurement
		t.Fatal("bomb opened")
	}
	const rounds = 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		if _, err := Open(magic, block); err == nil {
			t.Fatal("bomb opened")
		}
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / rounds; got > 1<<20 {
		t.Fatalf("refusing a bomb that claims 100 bytes allocates %d bytes", got)
	}
}

func TestLargestBlockOpensAndAByteMoreDoesNot(t *testing.T) {
	w := NewWriter(magic)
	w.Entry(1, make([]byte, MaxRaw-1-4))
	if w.Len() != MaxRaw {
		t.Fatalf("Len %d, want %d", w.Len(), MaxRaw)
	}
	if _, err := unpack(w.Bytes()); err != nil {
		t.Fatal(err)
	}
	w.Entry(1, make([]byte, MaxRaw-4))
	if _, err := unpack(w.Bytes()); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("%v, want ErrCorrupt", err)
	}
}

func TestConcurrentUseSharesOneCodecSafely(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			want := []entry{{byte(g), bytes.Repeat([]byte{byte(g)}, 10_000)}}
			for range 50 {
				if got, err := unpack(pack(want...)); err != nil || !sameEntries(got, want) {
					t.Errorf("goroutine %d: %v", g, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func FuzzOpen(f *testing.F) {
	f.Add(pack())
	f.Add(pack(entry{1, []byte("body")}, entry{255, nil}))
	f.Add(forge(4, []byte("junk")))
	f.Add([]byte("test\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var entries []entry
		var err error
		// The length that the header claims, or nothing, and what zstd needs to find that out.
		alloctest.Within(t, 8<<20+MaxRaw+64*len(b), func() { entries, err = unpack(b) })
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error %v does not wrap ErrCorrupt", err)
			}
			return
		}
		again, err := unpack(pack(entries...))
		if err != nil || !sameEntries(again, entries) {
			t.Fatalf("%d entries do not survive a round trip: %v", len(entries), err)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	w := NewWriter(magic)
	for i := range 20_000 {
		w.Entry(1, binary.BigEndian.AppendUint32([]byte("host.example.org"), uint32(i)))
	}
	b.SetBytes(int64(w.Len()))
	block := w.Bytes()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(magic, block); err != nil {
			b.Fatal(err)
		}
	}
}
