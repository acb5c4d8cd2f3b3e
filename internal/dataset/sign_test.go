package dataset

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/setsum"
	"github.com/popdns/popdns/internal/store"
)

func newKeys(tb testing.TB) Keys {
	tb.Helper()
	private, public, err := GenerateKey()
	if err != nil {
		tb.Fatal(err)
	}
	var k Keys
	if k.Sign, err = ParsePrivateKey(private); err != nil {
		tb.Fatal(err)
	}
	if k.Verify, err = ParsePublicKeys(public); err != nil {
		tb.Fatal(err)
	}
	return k
}

// signedRef is the test's dataset for a writer; verifying is what an edge has of it.
func signedRef(k Keys) Ref[*pairs] { ref := testRef; ref.Keys = k; return ref }

func verifying(k Keys) Ref[*pairs] { return signedRef(Keys{Verify: k.Verify}) }

// TestWhoeverWritesToTheStoreWithoutAKeyChangesNothingThatIsRead lets somebody who may write every node, and who states whatever
// sums and hashes fit, forge versions: fresh readers and those with an earlier version must not get any of them.
func TestWhoeverWritesToTheStoreWithoutAKeyChangesNothingThatIsRead(t *testing.T) {
	mallory := newKeys(t)
	forgedDelta := func(t *testing.T, s store.Store) []byte {
		t.Helper()
		// The change 2→3 with other content, stated properly: only its chain differs from the signed one.
		e, err := parseEntry(read(t, s, logPath(testRef.Path, 3)), step{2, 3})
		if err != nil {
			t.Fatal(err)
		}
		e.delta = bytes.Replace(e.delta, []byte("a=2"), []byte("a=6"), 1)
		b, err := e.marshal()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	resigned := func(t *testing.T, s store.Store, k Keys, change func(*Head)) {
		t.Helper()
		h, err := ParseHead(read(t, s, headPath(testRef.Path)))
		if err != nil {
			t.Fatal(err)
		}
		change(&h)
		b, err := h.marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		overwrite(t, s, headPath(testRef.Path), b)
	}
	newer := func(h *Head) { h.Log, h.Inline, h.Serial, h.Base.Serial = nil, nil, 9, 9 }
	for name, c := range map[string]struct {
		reason string // "" for any
		forge  func(t *testing.T, s store.Store, k Keys)
	}{
		"unsigned head": {ReasonSigned, func(t *testing.T, s store.Store, _ Keys) { t.Helper(); resigned(t, s, Keys{}, newer) }},
		"another key":   {ReasonSigned, func(t *testing.T, s store.Store, _ Keys) { t.Helper(); resigned(t, s, mallory, newer) }},
		"changed body under the old signature": {ReasonSigned, func(t *testing.T, s store.Store, _ Keys) {
			t.Helper()
			raw := read(t, s, headPath(testRef.Path))
			overwrite(t, s, headPath(testRef.Path), bytes.Replace(raw, []byte(`"epoch":1`), []byte(`"epoch":7`), 1))
		}},
		"a heartbeat's signature": {ReasonSigned, func(t *testing.T, s store.Store, k Keys) {
			t.Helper()
			b := body(read(t, s, headPath(testRef.Path)))
			overwrite(t, s, headPath(testRef.Path), k.seal(heartbeatPurpose, b))
		}},
		"head of another dataset, signed": {ReasonName, func(t *testing.T, s store.Store, k Keys) {
			t.Helper()
			other := signedRef(k)
			other.Path = "zones/other.test"
			if _, err := NewWriter(s, other).Commit(t.Context(), Commit{MinSerial: 50}, to(of("evil=1"))); err != nil {
				t.Fatal(err)
			}
			overwrite(t, s, headPath(testRef.Path), read(t, s, headPath(other.Path)))
		}},
		"spliced delta": {"", func(t *testing.T, s store.Store, _ Keys) {
			t.Helper()
			overwrite(t, s, logPath(testRef.Path, 3), forgedDelta(t, s))
		}},
		"image with a manifest that fits it": {"", func(t *testing.T, s store.Store, _ Keys) {
			t.Helper()
			// Another dataset's image with a manifest to match: the signed head names the manifest by hash.
			other := signedRef(Keys{})
			other.Path = "zones/evil.test"
			put(t, NewWriter(s, other), of("evil=1"))
			// It states the honest one's chain, from which the honest changes lead to the head's.
			var mine, honest manifest
			for path, m := range map[string]*manifest{other.Path: &mine, testRef.Path: &honest} {
				if err := json.Unmarshal(read(t, s, manifestPath(path, 1)), m); err != nil {
					t.Fatal(err)
				}
			}
			honest.Chunks = mine.Chunks
			m, _, err := honest.marshal()
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, s, manifestPath(testRef.Path, 1), m)
			for i := range mine.Chunks {
				overwrite(t, s, chunkPath(testRef.Path, 1, i), read(t, s, chunkPath(other.Path, 1, i)))
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			k := newKeys(t)
			// The sum is blind: as if items had been chosen to have the honest ones' sum.
			ref := Ref[*pairs]{Path: testRef.Path, Codec: blindCodec{pairsCodec{}}, Keys: k}
			w := NewWriter(s, ref)
			for i := range 3 {
				if _, err := w.Commit(t.Context(), Commit{}, to(of(fmt.Sprint("a=", i)))); err != nil {
					t.Fatal(err)
				}
			}
			ref.Keys = Keys{Verify: k.Verify}
			before, err := LoadSerial(t.Context(), s, ref, 2)
			if err != nil {
				t.Fatal(err)
			}
			inline := read(t, s, headPath(ref.Path))
			// The honest head without its inline deltas, so that the log is read.
			h, err := ParseHead(inline)
			if err != nil {
				t.Fatal(err)
			}
			h.Inline = nil
			raw, err := h.marshal(k)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, s, headPath(ref.Path), raw)
			if _, err := Load(t.Context(), s, ref); err != nil {
				t.Fatalf("the honest version: %v", err)
			}
			c.forge(t, s, k)
			honest := func(v *pairs) bool { return v.items["a"] == "2" && v.items["evil"] == "" }
			v, err := Load(t.Context(), s, ref)
			if err == nil || c.reason != "" && !isRefusal(err, c.reason) {
				t.Errorf("a fresh reader got %v, error %v, want a refusal for %q", v, err, c.reason)
			}
			head, err := ref.parseHead(read(t, s, headPath(ref.Path)))
			if err != nil {
				return // refused before anything is read
			}
			value, _, err := loader[*pairs]{s, ref}.reach(t.Context(), before, &head)
			if err == nil && !honest(value) {
				t.Errorf("a reader of serial 2 got %v", value)
			}
		})
	}
}

// TestAForgedHistoryIsNotBroughtBack lets somebody without a key change what a rollback reads: a delta of the current generation, and the
// head that an earlier one ended with.
func TestAForgedHistoryIsNotBroughtBack(t *testing.T) {
	k := newKeys(t)
	ref := Ref[*pairs]{Path: testRef.Path, Codec: blindCodec{pairsCodec{}}, Keys: k}
	publish := func(t *testing.T, n int) store.Store {
		t.Helper()
		s := newStore(t)
		w := NewWriter(s, ref)
		for i := range n {
			if _, err := w.Commit(t.Context(), Commit{}, to(of(fmt.Sprint("a=", i)))); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	t.Run("delta", func(t *testing.T) {
		s := publish(t, 4)
		e, err := parseEntry(read(t, s, logPath(ref.Path, 2)), step{1, 2})
		if err != nil {
			t.Fatal(err)
		}
		e.delta = bytes.Replace(e.delta, []byte("a=1"), []byte("a=6"), 1)
		e.header.Chain = mustManifest(t, s).Chain.follow(e.delta) // so that the entry fits itself
		b, err := e.marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := LoadSerial(t.Context(), s, ref, 2); err != nil {
			t.Fatalf("the honest version: %v", err)
		}
		overwrite(t, s, logPath(ref.Path, 2), b)
		if v, err := LoadSerial(t.Context(), s, ref, 2); !isRefusal(err, ReasonChain) {
			t.Errorf("got %v, error %v, want a refusal for its chain", v, err)
		}
	})
	t.Run("head of an earlier generation", func(t *testing.T) {
		s := publish(t, 2)
		if _, err := NewWriter(s, ref).Commit(t.Context(), Commit{}, to(of("big="+strings.Repeat("b", MaxDeltaBytes+1)))); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadSerial(t.Context(), s, ref, 2); err != nil {
			t.Fatalf("the honest version: %v", err)
		}
		path := historyPath(ref.Path, 1)
		h, err := ParseHead(read(t, s, path))
		if err != nil {
			t.Fatal(err)
		}
		unsigned, err := h.marshal(Keys{})
		if err != nil {
			t.Fatal(err)
		}
		overwrite(t, s, path, unsigned)
		if v, err := LoadSerial(t.Context(), s, ref, 2); !errors.Is(err, ErrNotInHistory) {
			t.Errorf("got %v, error %v, want ErrNotInHistory", v, err)
		}
	})
}

// mustManifest reads the manifest of the first generation.
func mustManifest(t *testing.T, s store.Store) (m manifest) {
	t.Helper()
	if err := json.Unmarshal(read(t, s, manifestPath(testRef.Path, 1)), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// blindCodec's sum tells nothing apart.
type blindCodec struct{ pairsCodec }

func (blindCodec) Sum(*pairs) (sum setsum.Sum, items int) { return sum, 1 }

func TestEveryBitOfASignedNodeIsCovered(t *testing.T) {
	k := newKeys(t)
	h := goodHead()
	node, err := h.marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.verify(headPurpose, node); err != nil {
		t.Fatal(err)
	}
	if k.verify(heartbeatPurpose, node) == nil {
		t.Error("a head's signature passes for a heartbeat's")
	}
	for i := range len(node) * 8 {
		bad := bytes.Clone(node)
		bad[i/8] ^= 1 << (i % 8)
		if k.verify(headPurpose, bad) == nil {
			t.Fatalf("bit %d of octet %d may be flipped", i%8, i/8)
		}
	}
}

func FuzzVerifiedHead(f *testing.F) {
	k := newKeys(f)
	h := goodHead()
	signed, err := h.marshal(k)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add(body(signed))
	f.Add([]byte(signaturePrefix))
	// The key is a new one each time: nothing that is generated can be signed by it but the head itself.
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = ParseHead(b)
		if k.verify(headPurpose, b) == nil && !bytes.Equal(b, signed) {
			t.Fatalf("verified %q", b)
		}
	})
}

func TestAnyOfSeveralKeysVerifies(t *testing.T) {
	a, b, c := newKeys(t), newKeys(t), newKeys(t)
	both := Keys{Verify: a.Verify + b.Verify}
	for name, k := range map[string]Keys{"the first": a, "the second": b} {
		if err := both.verify(headPurpose, k.seal(headPurpose, []byte("{}"))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if both.verify(headPurpose, c.seal(headPurpose, []byte("{}"))) == nil {
		t.Error("a key that is not among them verifies")
	}
}

func TestASigningWriterBuildsOnNothingUnsignedUnlessForced(t *testing.T) {
	s := newStore(t)
	for i := range 3 {
		put(t, NewWriter(s, testRef), of(fmt.Sprint("a=", i)))
	}
	k := newKeys(t)
	w := NewWriter(s, signedRef(k))
	if _, err := w.Commit(t.Context(), Commit{}, to(of("a=9"))); !isRefusal(err, ReasonSigned) {
		t.Fatalf("commit over an unsigned head: %v", err)
	}
	r, err := w.Commit(t.Context(), Commit{Force: true}, func(cur *Version[*pairs]) (*pairs, error) {
		if cur != nil {
			t.Error("a forced edit got the unsigned version")
		}
		return of("a=9"), nil
	})
	if err != nil || r.New != 4 {
		t.Fatalf("forced: %+v, %v, want serial 4", r, err)
	}
	if left := children(t, s, historyDir(testRef.Path)); len(left) != 0 {
		t.Errorf("the unsigned head went into history as %v", left)
	}
	if v, err := Load(t.Context(), s, verifying(k)); err != nil || v.Head.Serial != 4 {
		t.Fatalf("load: %v", err)
	}
}

// TestAVerifyingEdgeFollowsThroughCompactionRollbackAndItsCache goes the ways by which a version is reached: deltas, an image that was written
// with one, another writer's, one brought back from history, and the disk cache, which is not signed.
func TestAVerifyingEdgeFollowsThroughCompactionRollbackAndItsCache(t *testing.T) {
	s, cache := newStore(t), openDir(t, memoryDir(t))
	k := newKeys(t)
	big := of()
	for i := range 2000 {
		big.items[fmt.Sprint("k", i)] = strings.Repeat("v", 300)
	}
	f := NewFollower(s, verifying(k), FollowOptions[*pairs]{Cache: cache})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = f.Run(ctx) }()
	await := func(serial uint32) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if v := f.Current(); v != nil && v.Head.Serial == serial {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("serial %d does not come, refusing %v", serial, f.Refusing())
			}
		}
	}
	put(t, NewWriter(s, signedRef(k)), of("a=0"))
	await(1)
	put(t, NewWriter(s, signedRef(k)), big) // an image alone
	await(2)
	for i := range 5 {
		r := put(t, NewWriter(s, signedRef(k)), big.with(fmt.Sprint("a=", strings.Repeat(fmt.Sprint(i), 200_000))))
		await(r.New)
	}
	r, err := NewWriter(s, signedRef(k)).Rollback(t.Context(), 4, Commit{})
	if err != nil {
		t.Fatal(err)
	}
	await(r.New)
	cancel()
	<-done
	again := NewFollower(s, verifying(k), FollowOptions[*pairs]{Cache: cache})
	if err := again.LoadCache(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := again.Current().Head, f.Current().Head; !got.sameVersion(&want) {
		t.Errorf("the cache holds serial %d, want %d", got.Serial, want.Serial)
	}
}

func TestASignedHeartbeatIsVerified(t *testing.T) {
	s, k := newStore(t), newKeys(t)
	at := time.Now().UTC().Truncate(time.Millisecond)
	if err := k.Stamp(t.Context(), s, at, "test"); err != nil {
		t.Fatal(err)
	}
	node := read(t, s, HeartbeatPath)
	if got, err := (Keys{Verify: k.Verify}).ParseHeartbeat(node); err != nil || !got.Time.Equal(at) {
		t.Errorf("got %v, %v, want %s", got, err, at)
	}
	if _, err := k.ParseHeartbeat(body(node)); !isRefusal(err, ReasonSigned) {
		t.Errorf("unsigned: %v", err)
	}
	if got, err := ParseHeartbeat(node); err != nil || !got.Equal(at) {
		t.Errorf("without keys: %s, %v", got, err)
	}
}

func isRefusal(err error, reason string) bool {
	r, ok := asRefusal(err, 0)
	return ok && r.Reason == reason
}
