package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/popdns/popdns/internal/setsum"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/dir"
	"github.com/popdns/popdns/internal/store/zk"
	"github.com/popdns/popdns/internal/store/zktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eachStore runs a test over a directory and over a real ZooKeeper. open returns another session of the same, initialised store.
func eachStore(t *testing.T, test func(t *testing.T, open func() store.Store)) {
	t.Helper()
	t.Run("dir", func(t *testing.T) {
		path := t.TempDir()
		initialise(t, openDir(t, path))
		test(t, func() store.Store { return openDir(t, path) })
	})
	t.Run("zk", func(t *testing.T) {
		server := zktest.Start(t)
		open := func() store.Store {
			s, err := zk.Open([]string{server.Addr()}, "/popdns", zk.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			return s
		}
		initialise(t, open())
		test(t, open)
	})
}

// A pairs is the test's dataset: key=value strings. Its serial is one of the summed items, as a zone's SOA is.
type pairs struct {
	serial uint32
	frozen bool
	items  map[string]string
}

func of(keyValues ...string) *pairs {
	p := &pairs{items: map[string]string{}}
	for _, kv := range keyValues {
		k, v, _ := strings.Cut(kv, "=")
		p.items[k] = v
	}
	return p
}

func (p *pairs) with(keyValues ...string) *pairs {
	out := *p
	out.items = maps.Clone(p.items)
	maps.Copy(out.items, of(keyValues...).items)
	return &out
}

func (p *pairs) String() string {
	lines := make([]string, 0, len(p.items))
	for k, v := range p.items {
		lines = append(lines, k+"="+v)
	}
	slices.Sort(lines)
	return strings.Join(lines, " ")
}

// pairsCodec puts chunkItems items in a chunk. bare deltas do not carry the serial, as a map's do not.
type pairsCodec struct {
	chunkItems int
	bare       bool
	badDelta   bool // makes deltas that do not lead to the value: a fault of the codec
}

func (pairsCodec) Kind() string { return "pairs" }

func (c pairsCodec) Encode(p *pairs) ([][]byte, error) {
	chunks := [][]byte{fmt.Appendf(nil, "serial %d %v", p.serial, p.frozen)}
	for lines := range slices.Chunk(strings.Fields(p.String()), max(c.chunkItems, 1)) {
		chunks = append(chunks, []byte(strings.Join(lines, " ")))
	}
	return chunks, nil
}

func (pairsCodec) Decode(chunks [][]byte) (*pairs, error) {
	var serial uint32
	var frozen bool
	if _, err := fmt.Sscanf(string(chunks[0]), "serial %d %v", &serial, &frozen); err != nil {
		return nil, err
	}
	p := of(strings.Fields(string(bytes.Join(chunks[1:], []byte(" "))))...)
	p.serial, p.frozen = serial, frozen
	return p, nil
}

func (c pairsCodec) Diff(old, p *pairs) ([]byte, error) {
	if old == nil {
		old = of()
	}
	var out []string
	for k, v := range p.items {
		if was, ok := old.items[k]; !ok || was != v {
			out = append(out, "+"+k+"="+v)
		}
	}
	for k := range old.items {
		if _, ok := p.items[k]; !ok {
			out = append(out, "-"+k)
		}
	}
	if len(out) == 0 && old.serial == p.serial {
		return nil, nil
	}
	slices.Sort(out)
	if !c.bare {
		out = append(out, fmt.Sprint("@", p.serial))
	}
	if c.badDelta {
		out = append(out, "+fault=1")
	}
	return []byte(strings.Join(out, " ")), nil
}

func (pairsCodec) Apply(p *pairs, delta []byte) (*pairs, error) {
	out := p.with()
	for word := range strings.FieldsSeq(string(delta)) {
		switch word[0] {
		case '+':
			k, v, _ := strings.Cut(word[1:], "=")
			out.items[k] = v
		case '-':
			delete(out.items, word[1:])
		case '@':
			n, err := strconv.ParseUint(word[1:], 10, 32)
			if err != nil {
				return nil, err
			}
			out.serial = uint32(n)
		default:
			return nil, fmt.Errorf("bad word %q", word)
		}
	}
	return out, nil
}

func (pairsCodec) Sum(p *pairs) (setsum.Sum, int) {
	var s setsum.Sum
	for k, v := range p.items {
		s.Add([]byte(k + "=" + v))
	}
	s.Add(fmt.Appendf(nil, "serial %d", p.serial))
	return s, len(p.items) + 1
}

func (pairsCodec) WithSerial(p *pairs, serial uint32) *pairs {
	out := *p
	out.serial = serial
	return &out
}

func (pairsCodec) Serial(p *pairs) uint32 { return p.serial }
func (pairsCodec) Frozen(p *pairs) bool   { return p.frozen }

var testRef = Ref[*pairs]{Path: "zones/example.org", Codec: pairsCodec{chunkItems: 4}}

func openDir(t *testing.T, path string) store.Store {
	t.Helper()
	s, err := dir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// newStore returns an initialised directory store.
func newStore(t *testing.T) store.Store {
	t.Helper()
	s := openDir(t, memoryDir(t))
	initialise(t, s)
	return s
}

// memoryDir is a temporary directory that is in memory where the system has one: hundreds of commits wait for no disk there.
func memoryDir(t *testing.T) string {
	t.Helper()
	path, err := os.MkdirTemp("/dev/shm", "popdns-test-*") //nolint:usetesting // t.TempDir is on a disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(path) })
	return path
}

func initialise(t *testing.T, s store.Store) {
	t.Helper()
	if _, _, err := Init(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// put commits the items and returns the receipt.
func put(t *testing.T, w *Writer[*pairs], p *pairs) *Receipt {
	t.Helper()
	r, err := w.Commit(t.Context(), Commit{By: "test"}, to(p))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func to(p *pairs) func(*Version[*pairs]) (*pairs, error) {
	return func(*Version[*pairs]) (*pairs, error) { return p, nil }
}

func mustLoad(t *testing.T, r store.Reader) *Version[*pairs] {
	t.Helper()
	v, err := Load(t.Context(), r, testRef)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wantItems(t *testing.T, v *Version[*pairs], serial uint32, want *pairs) {
	t.Helper()
	if v.Head.Serial != serial || v.Value.serial != serial || v.Value.String() != want.String() {
		t.Fatalf("serial %d (value's %d) with %q, want %d with %q", v.Head.Serial, v.Value.serial, v.Value, serial, want)
	}
}

func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("POPDNS_TEST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("POPDNS_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// A faulty store fails on command.
type faulty struct {
	store.Store
	mu      sync.Mutex
	commits int
	onWrite func(n int, ops []store.Op) fault
	onRead  func(path string, n store.Node, err error) (store.Node, error)
}

type fault int

const (
	fine      fault = iota
	refused         // ErrUnavailable, nothing applied
	lostReply       // applied, but ErrUnknownOutcome
	lostQuery       // not applied, and ErrUnknownOutcome
)

func (f *faulty) Commit(ctx context.Context, ops ...store.Op) error {
	f.mu.Lock()
	f.commits++
	what := fine
	if f.onWrite != nil {
		what = f.onWrite(f.commits, ops)
	}
	f.mu.Unlock()
	switch what {
	case refused:
		return store.ErrUnavailable
	case lostQuery:
		return store.ErrUnknownOutcome
	case lostReply:
		if err := f.Store.Commit(ctx, ops...); err != nil {
			return err
		}
		return store.ErrUnknownOutcome
	}
	return f.Store.Commit(ctx, ops...)
}

func (f *faulty) Get(ctx context.Context, path string) (store.Node, error) {
	n, err := f.Store.Get(ctx, path)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.onRead != nil {
		n.Data = bytes.Clone(n.Data)
		return f.onRead(path, n, err)
	}
	return n, err
}

func (f *faulty) set(change func(*faulty)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// overwrite replaces a node's data behind the protocol's back.
func overwrite(t *testing.T, s store.Store, path string, data []byte) {
	t.Helper()
	if err := s.Commit(t.Context(), store.Set(path, data, store.AnyVersion)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, s store.Store, path string) []byte {
	t.Helper()
	n, err := s.Get(t.Context(), path)
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return n.Data
}

func children(t *testing.T, s store.Store, path string) []string {
	t.Helper()
	names, err := s.Children(t.Context(), path)
	if err != nil {
		t.Fatalf("children of %s: %v", path, err)
	}
	return names
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}
