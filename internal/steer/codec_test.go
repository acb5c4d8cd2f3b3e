package steer

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"github.com/popdns/popdns/internal/frame"
	"github.com/popdns/popdns/internal/setsum"
)

var testCodec = MapCodec{Name: "test"}

// sameMap compares all that a map is made of, and its sum with one computed from nothing.
func sameMap(t *testing.T, got, want *Map) {
	t.Helper()
	equal := slices.EqualFunc(slices.Collect(got.Rows()), slices.Collect(want.Rows()), func(a, b Row) bool {
		return a.Plane == b.Plane && a.Prefix == b.Prefix && slices.Equal(a.PoPs, b.PoPs)
	})
	if !equal || !slices.Equal(got.Default(), want.Default()) || got.Name() != want.Name() || got.Serial() != want.Serial() {
		t.Fatalf("got  %s %d %v %v\nwant %s %d %v %v", got.Name(), got.Serial(), got.Default(), slices.Collect(got.Rows()),
			want.Name(), want.Serial(), want.Default(), slices.Collect(want.Rows()))
	}
	gotSum, gotItems := testCodec.Sum(got)
	wantSum, wantItems := testCodec.Sum(want)
	if gotSum != wantSum || gotItems != wantItems || gotSum != got.computeSum() {
		t.Fatalf("sum %s of %d, want %s of %d, computed %s", gotSum, gotItems, wantSum, wantItems, got.computeSum())
	}
	if len(got.lists) != len(want.lists) || got.inside != want.inside {
		t.Fatalf("%d lists, want %d; special blocks %b, want %b", len(got.lists), len(want.lists), got.inside, want.inside)
	}
}

func TestMapSurvivesEncodeAndDecode(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 6))
	for range 500 {
		m := randomMap(t, r)
		chunks, err := testCodec.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := testCodec.Decode(chunks)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		sameMap(t, got, m)
		for range 50 {
			a := randomAddr(r, slices.Collect(m.Rows()))
			for p := range planes {
				if g, w := got.Lookup(p, a), m.Lookup(p, a); g.Bits != w.Bits || leafText(got, g) != leafText(m, w) {
					t.Fatalf("seed %d: %s of %s: %v, want %v", seed, p, a, g, w)
				}
			}
		}
	}
}

// TestRandomEditsAppliedAsDeltasEqualARebuild walks histories: the follower applies deltas, the writer builds from nothing.
func TestRandomEditsAppliedAsDeltasEqualARebuild(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 7))
	for range 60 {
		model := [planes]map[netip.Prefix][]string{{}, {}}
		initial := goldLists[0]
		var written, followed *Map
		for serial := uint32(1); serial <= 15; serial++ {
			for range r.IntN(6) {
				p := r.IntN(int(planes))
				if keys := sortedPrefixes(model[p]); len(keys) > 0 && r.IntN(3) == 0 {
					delete(model[p], keys[r.IntN(len(keys))])
				} else {
					model[p][randomPrefix(r)] = []string{"p" + strconv.Itoa(r.IntN(9)), "q"}
				}
			}
			if r.IntN(5) == 0 {
				initial = goldLists[r.IntN(len(goldLists))]
			}
			next := buildModel(t, model, initial, serial)
			delta, err := testCodec.Diff(written, next)
			if err != nil {
				t.Fatal(err)
			}
			if delta == nil { // nothing changed: nothing is committed, the serial stays
				sameMap(t, followed, testCodec.WithSerial(next, followed.Serial()))
				continue
			}
			before := followed
			if followed, err = testCodec.Apply(followed, delta); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			sameMap(t, followed, next)
			if before != nil {
				sameMap(t, before, written)
			}
			again, err := testCodec.Apply(followed, delta)
			if err != nil {
				t.Fatalf("seed %d: applied twice: %v", seed, err)
			}
			sameMap(t, again, next)
			g := goldOf(followed, ECS)
			for range 20 {
				if err := checkLeaf(followed, ECS, g, randomAddr(r, g.rows)); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			written = next
		}
	}
}

func sortedPrefixes(m map[netip.Prefix][]string) []netip.Prefix {
	keys := make([]netip.Prefix, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, netip.Prefix.Compare)
	return keys
}

func buildModel(t *testing.T, model [planes]map[netip.Prefix][]string, initial []string, serial uint32) *Map {
	t.Helper()
	b := NewMapBuilder("test")
	if err := b.Default(initial); err != nil {
		t.Fatal(err)
	}
	for p := range planes {
		for prefix, list := range model[p] {
			if err := b.Add(p, prefix, list); err != nil {
				t.Fatal(err)
			}
		}
	}
	m, err := b.Build(serial)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// bigMap has n rows on each plane, the same on both, and as many lists as PoPs.
func bigMap(tb testing.TB, n, pops int) *Map {
	tb.Helper()
	r := rand.New(rand.NewPCG(42, 8))
	b := NewMapBuilder("test")
	if err := b.Default([]string{"pop-0", "pop-1"}); err != nil {
		tb.Fatal(err)
	}
	for b.n < 2*n {
		p := bgpLikePrefix(r)
		if b.Has(ECS, p) {
			continue
		}
		i := r.IntN(pops)
		list := []string{"pop-" + strconv.Itoa(i), "pop-" + strconv.Itoa((i+1)%pops), "pop-" + strconv.Itoa((i+7)%pops)}
		for plane := range planes {
			if err := b.Add(plane, p, list); err != nil {
				tb.Fatal(err)
			}
		}
	}
	m, err := b.Build(1)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// bgpLikePrefix has the lengths and the crowding of the Internet's routing table: five in six are IPv4, most of them /24; IPv6
// lies in a few /16.
func bgpLikePrefix(r *rand.Rand) netip.Prefix {
	v := r.Uint64()
	if r.IntN(6) > 0 {
		a := netip.AddrFrom4([4]byte{byte(1 + r.IntN(223)), byte(v), byte(v >> 8), 0})
		return netip.PrefixFrom(a, 24-max(0, r.IntN(16)-7)).Masked()
	}
	tops := [...]uint16{0x2001, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2a0e, 0x2c0f}
	top := tops[r.IntN(len(tops))]
	a := netip.AddrFrom16([16]byte{byte(top >> 8), byte(top), byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)})
	return netip.PrefixFrom(a, []int{32, 36, 40, 44, 48, 48, 48}[r.IntN(7)]).Masked()
}

func TestBigMapIsCutIntoChunksThatFitTheStore(t *testing.T) {
	m := bigMap(t, 150_000, 500)
	chunks, err := testCodec.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(chunks) < 2 {
		t.Fatalf("%d chunks: the test needs several", len(chunks))
	}
	for i, c := range chunks {
		if len(c) > 512<<10 {
			t.Errorf("chunk %d has %d bytes", i, len(c))
		}
		if _, err := readPart(mapBaseMagic, c); err != nil {
			t.Errorf("chunk %d does not stand alone: %v", i, err)
		}
	}
	got, err := testCodec.Decode(chunks)
	if err != nil {
		t.Fatal(err)
	}
	sameMap(t, got, m)
	delta, err := testCodec.Diff(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	if got, err = testCodec.Apply(nil, delta); err != nil {
		t.Fatal(err)
	}
	sameMap(t, got, m)
	for name, wrong := range map[string][][]byte{
		"the last is missing":  chunks[:len(chunks)-1],
		"the first is missing": chunks[1:],
		"two are swapped":      append([][]byte{chunks[1], chunks[0]}, chunks[2:]...),
		"one is twice":         append([][]byte{chunks[0]}, chunks...),
		"there is none":        nil,
		"a delta":              {delta},
	} {
		if _, err := testCodec.Decode(wrong); err == nil {
			t.Errorf("decoded although %s", name)
		}
	}
	if _, err := (MapCodec{Name: "other"}).Decode(chunks); err == nil {
		t.Error("another map's chunks were decoded")
	}
	if _, err := (MapCodec{Name: "other"}).Apply(m, delta); err == nil {
		t.Error("another map's delta was applied")
	}
}

func TestEveryDamagedByteIsRefused(t *testing.T) {
	m := mapOf(t, "a,b", map[string]string{"44.0.0.0/8": "b"}, map[string]string{"2001:db8::/48": "c"})
	chunks, err := testCodec.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	for i := range chunks[0] {
		bad := bytes.Clone(chunks[0])
		bad[i] ^= 0x40
		if _, err := testCodec.Decode([][]byte{bad}); !errors.Is(err, frame.ErrCorrupt) {
			t.Errorf("byte %d: %v", i, err)
		}
		if _, err := testCodec.Decode([][]byte{chunks[0][:i]}); err == nil {
			t.Errorf("cut at %d: decoded", i)
		}
	}
}

// TestMalformedEntriesAreRefused builds blocks that are whole but wrong, as a faulty or hostile writer might.
func TestMalformedEntriesAreRefused(t *testing.T) {
	header := append([]byte{1, 0}, "test"...)
	row := func(b ...byte) []byte { return b }
	type entry struct {
		kind byte
		body []byte
	}
	good := []entry{{'H', header}, {'D', []byte("a")}, {'L', []byte("b")}, {'R', row(1, 8, 44, 1)}, {'E', []byte{1}}}
	block := func(entries []entry) []byte {
		w := frame.NewWriter(mapBaseMagic)
		for _, e := range entries {
			w.Entry(e.kind, e.body)
		}
		return w.Bytes()
	}
	if _, err := testCodec.Decode([][]byte{block(good)}); err != nil {
		t.Fatalf("the good block: %v", err)
	}
	for name, change := range map[string]struct {
		at    int
		entry entry
	}{
		"no header":             {0, entry{'X', header}},
		"cut header":            {0, entry{'H', []byte{0x80}}},
		"another name":          {0, entry{'H', append([]byte{1, 0}, "rest"...)}},
		"another part":          {0, entry{'H', append([]byte{1, 1}, "test"...)}},
		"no default":            {1, entry{'L', []byte("a")}},
		"default of nobody":     {1, entry{'D', nil}},
		"bad name":              {2, entry{'L', []byte("B")}},
		"name twice":            {2, entry{'L', []byte("b,b")}},
		"huge list":             {2, entry{'L', bytes.Repeat([]byte("b"), maxListBytes+1)}},
		"deletion in a base":    {3, entry{'R', row(1, 8, 44, 0)}},
		"unknown list":          {3, entry{'R', row(1, 8, 44, 2)}},
		"no plane":              {3, entry{'R', row(0, 8, 44, 1)}},
		"unknown plane":         {3, entry{'R', row(9, 8, 44, 1)}},
		"IPv4 /33":              {3, entry{'R', row(1, 33, 44, 0, 0, 0, 0, 1)}},
		"IPv6 /129":             {3, entry{'R', row(append(append([]byte{5, 129}, make([]byte, 17)...), 1)...)}},
		"host bits":             {3, entry{'R', row(1, 7, 1, 1)}},
		"v4-mapped IPv6":        {3, entry{'R', row(append(append([]byte{5, 96}, netip.MustParseAddr("::ffff:0:0").AsSlice()[:12]...), 1)...)}},
		"cut address":           {3, entry{'R', row(1, 24, 44)}},
		"no list":               {3, entry{'R', row(1, 8, 44)}},
		"row twice":             {3, entry{'R', row(1, 8, 44, 1, 1, 8, 44, 1)}},
		"rows out of order":     {3, entry{'R', row(1, 8, 45, 1, 1, 8, 44, 1)}},
		"count is wrong":        {4, entry{'E', []byte{2}}},
		"count is cut":          {4, entry{'E', []byte{0x80}}},
		"never ends":            {4, entry{'R', row(1, 8, 45, 1)}},
		"unknown kind":          {3, entry{'?', nil}},
		"ends before its end":   {3, entry{'E', []byte{0}}},
		"second default list":   {2, entry{'D', []byte("b")}},
		"empty name in a list":  {2, entry{'L', []byte("b,,c")}},
		"overlong default list": {1, entry{'D', bytes.Repeat([]byte("a,"), 65)}},
	} {
		entries := slices.Clone(good)
		entries[change.at] = change.entry
		if m, err := testCodec.Decode([][]byte{block(entries)}); err == nil {
			t.Errorf("%s: decoded to %v", name, slices.Collect(m.Rows()))
		}
	}
}

func TestSumIsOfContentAlone(t *testing.T) {
	rows := map[string]string{"44.0.0.0/8": "b", "2001:db8::/48": "c"}
	m := mapOf(t, "a,b", rows, rows)
	sum, items := testCodec.Sum(m)
	if items != 5 {
		t.Errorf("%d items, want 4 rows and the default list", items)
	}
	if other, _ := testCodec.Sum(testCodec.WithSerial(m.WithName("other"), 99)); other != sum {
		t.Error("serial or name is in the sum")
	}
	if got := testCodec.Serial(testCodec.WithSerial(m, 99)); got != 99 || m.Serial() != 7 {
		t.Errorf("serial %d, and the original has %d", got, m.Serial())
	}
	for name, other := range map[string]*Map{
		"another default":     mapOf(t, "a", rows, rows),
		"another order":       mapOf(t, "b,a", rows, rows),
		"a row fewer":         mapOf(t, "a,b", rows, map[string]string{"44.0.0.0/8": "b"}),
		"planes swapped":      mapOf(t, "a,b", map[string]string{"44.0.0.0/8": "b"}, rows),
		"another length":      mapOf(t, "a,b", rows, map[string]string{"44.0.0.0/9": "b", "2001:db8::/48": "c"}),
		"the zero address v6": mapOf(t, "a,b", rows, map[string]string{"::/8": "b", "2001:db8::/48": "c"}),
	} {
		if got, _ := testCodec.Sum(other); got == sum {
			t.Errorf("%s: same sum", name)
		}
	}
	if sum, items := testCodec.Sum(nil); items != 0 || sum != (setsum.Sum{}) {
		t.Error("no map has items")
	}
}

func TestPoPTableSurvivesTheCodec(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 9))
	codec := PoPsCodec{}
	var written, followed *PoPs
	model := map[string]PoP{}
	for serial := uint32(1); serial < 200; serial++ {
		for range r.IntN(4) {
			name := "pop-" + strconv.Itoa(r.IntN(30))
			if r.IntN(3) == 0 {
				delete(model, name)
			} else {
				model[name] = randomPoP(r, name)
			}
		}
		list := make([]PoP, 0, len(model))
		for _, p := range model {
			list = append(list, p)
		}
		next, err := NewPoPs(serial, list)
		if err != nil {
			t.Fatal(err)
		}
		delta, err := codec.Diff(written, next)
		if err != nil {
			t.Fatal(err)
		}
		if delta == nil {
			continue
		}
		if followed, err = codec.Apply(followed, delta); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		chunks, err := codec.Encode(next)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := codec.Decode(chunks)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, got := range []*PoPs{followed, decoded} {
			gotSum, gotItems := codec.Sum(got)
			sum, items := codec.Sum(next)
			if !slices.EqualFunc(got.list, next.list, PoP.Equal) || got.Serial() != serial || gotSum != sum || gotItems != items {
				t.Fatalf("seed %d: got %v serial %d, want %v serial %d", seed, got.list, got.Serial(), next.list, serial)
			}
		}
		written = next
	}
	if delta, err := codec.Diff(written, codec.WithSerial(written, 1000)); delta != nil || err != nil {
		t.Errorf("a new serial alone is a change: %v, %v", delta, err)
	}
	if _, err := codec.Encode(written.With(PoP{Name: "ams1", Drain: 200})); err == nil {
		t.Error("an invalid table was encoded")
	}
}

func randomPoP(r *rand.Rand, name string) PoP {
	p := PoP{
		Name: name, Lat: float64(r.IntN(181) - 90), Lon: r.Float64()*360 - 180,
		State: State(r.IntN(2)), Drain: r.IntN(101), Capacity: r.Int64(),
	}
	for range r.IntN(4) {
		p = p.WithService(Service{Name: "svc-" + strconv.Itoa(r.IntN(5)), State: State(r.IntN(2)), Drain: r.IntN(3) * 50})
		p = p.WithFailing([]string{"", "svc-1", "web"}[r.IntN(3)], r.IntN(2) == 0)
	}
	return p
}

func TestFullPoPTableTakesSeveralChunks(t *testing.T) {
	list := make([]PoP, MaxPoPs)
	for i := range list {
		name := "pop-" + strconv.Itoa(i) + "-0123456789012345678901234567890123456789012345678901234567890"
		list[i] = PoP{Name: name[:MaxNameBytes], Lat: float64(i % 90)}
	}
	table, err := NewPoPs(1, list)
	if err != nil {
		t.Fatal(err)
	}
	chunks, err := (PoPsCodec{}).Encode(table)
	if err != nil || len(chunks) < 2 {
		t.Fatalf("%d chunks, %v", len(chunks), err)
	}
	got, err := (PoPsCodec{}).Decode(chunks)
	if err != nil || !slices.EqualFunc(got.list, table.list, PoP.Equal) {
		t.Fatalf("decode: %v", err)
	}
	if _, err := (PoPsCodec{}).Decode(chunks[:1]); err == nil {
		t.Error("half a table was decoded")
	}
}

// frameEntries makes a block of fuzzed entries, so that the fuzzer need not find checksums.
func frameEntries(magic [4]byte, data []byte) []byte {
	w := frame.NewWriter(magic)
	for len(data) >= 2 {
		n := min(int(data[1]), len(data)-2)
		w.Entry(data[0], data[2:2+n])
		data = data[2+n:]
	}
	return w.Bytes()
}

func FuzzMapCodec(f *testing.F) {
	f.Add([]byte("H\x06\x01\x00testD\x01aL\x03b,cR\x04\x01\x08\x2c\x01E\x01\x01"), false)
	f.Add([]byte("H\x06\x01\x00testR\x03\x03\x00\x00E\x01\x01"), true)
	f.Fuzz(func(t *testing.T, data []byte, isDelta bool) {
		if !isDelta {
			m, err := testCodec.Decode([][]byte{frameEntries(mapBaseMagic, data)})
			if err != nil {
				return
			}
			chunks, err := testCodec.Encode(m)
			if err != nil {
				t.Fatal(err)
			}
			again, err := testCodec.Decode(chunks)
			if err != nil {
				t.Fatal(err)
			}
			sameMap(t, again, m)
			return
		}
		b := frameEntries(mapDeltaMagic, data)
		delta := append([]byte{byte(len(b) >> 24), byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
		base := mapOf(t, "a", map[string]string{"0.0.0.0/0": "x"}, map[string]string{"0.0.0.0/0": "x", "44.0.0.0/8": "b"})
		m, err := testCodec.Apply(base, delta)
		if err != nil {
			return
		}
		if sum, _ := testCodec.Sum(m); sum != m.computeSum() {
			t.Fatal("the sum is not the content's")
		}
		back, err := testCodec.Diff(m, base)
		if err != nil {
			t.Fatal(err)
		}
		if undone, err := testCodec.Apply(m, back); err != nil {
			t.Fatal(err)
		} else if back != nil {
			sameMap(t, undone, base)
		}
	})
}

func FuzzPoPsCodec(f *testing.F) {
	f.Add([]byte("H\x02\x01\x00E\x01\x00"), false)
	f.Add([]byte("H\x02\x01\x00X\x01aE\x01\x01"), true)
	withServices := append([]byte{'P', 34}, appendPoP(nil, PoP{Name: "a", Services: []Service{{"web", Down, 0}}})...)
	f.Add(append(append([]byte("H\x02\x01\x00"), withServices...), "E\x01\x01"...), false)
	failing := appendPoP(nil, PoP{Name: "a", Failing: []string{"", "web"}})
	f.Add(append(append(append([]byte("H\x02\x01\x00P"), byte(len(failing))), failing...), "E\x01\x01"...), false)
	f.Fuzz(func(t *testing.T, data []byte, isDelta bool) {
		codec := PoPsCodec{}
		var table *PoPs
		var err error
		if isDelta {
			table, err = codec.Apply(nil, frameEntries(popsDeltaMagic, data))
		} else {
			table, err = codec.Decode([][]byte{frameEntries(popsBaseMagic, data)})
		}
		if err != nil {
			return
		}
		chunks, err := codec.Encode(table)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := codec.Decode(chunks); err != nil || !slices.EqualFunc(again.list, table.list, PoP.Equal) {
			t.Fatalf("%v does not survive: %v", table.list, err)
		}
	})
}
