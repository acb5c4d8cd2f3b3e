package zone

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/alloctest"
	"github.com/popdns/popdns/internal/frame"
)

func TestCodecBringsBackRandomZones(t *testing.T) {
	rnd := newRandom(t)
	for range 200 {
		_, s := makeRandomZone(t, rnd)
		c := Codec{Origin: s.Origin()}
		chunks, err := c.Encode(s)
		if err != nil {
			t.Fatal(err)
		}
		back, err := c.Decode(chunks)
		if err != nil {
			t.Fatalf("Decode of Encode: %v\n%s", err, dump(s))
		}
		sameZone(t, back, s)
		sum, items := c.Sum(back)
		if sum != s.Sum() || items != s.Items() {
			t.Fatalf("sum %s of %d", sum, items)
		}
	}
}

// wide is a zone that takes many chunks: keys that do not compress, and one name whose variants fill more than a chunk.
func wide(t *testing.T) *Snapshot {
	t.Helper()
	s := numbered(t, 20_000)
	rnd := newRandom(t)
	d := Delta{Steer: map[Name]Steering{}}
	for i := range 2000 {
		key := make([]byte, 900)
		for j := range key {
			key[j] = byte(rnd.Uint32())
		}
		owner := s.Origin().Prepend(fmt.Sprintf("k%d", i/2)).Prepend("keys")
		if i%4 == 0 {
			owner = s.Origin().Prepend("one")
		}
		d.Put = append(d.Put, RRset{Owner: owner, Type: dns.TypeOPENPGPKEY, TTL: 60, PoP: fmt.Sprintf("p%d", i), Rdata: []Rdata{{Wire: key, Weight: uint32(i % 3)}}})
		d.Steer[owner] = Steering{Answers: 1, Map: "edge"}
	}
	s, err := s.Apply(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestChunksStayBelowTheLimitAndJoin(t *testing.T) {
	s := wide(t)
	c := Codec{Origin: s.Origin()}
	chunks, err := c.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d chunks", len(chunks))
	if len(chunks) < 5 {
		t.Errorf("%d chunks, want several", len(chunks))
	}
	for i, chunk := range chunks {
		if len(chunk) > maxChunk {
			t.Errorf("chunk %d has %d octets", i, len(chunk))
		}
	}
	back, err := c.Decode(chunks)
	if err != nil {
		t.Fatal(err)
	}
	sameZone(t, back, s)
	checkDiff(t, c, nil, s) // a delta of several blocks
	for i := range chunks {
		if _, err := c.Decode(slices.Delete(slices.Clone(chunks), i, i+1)); i == 0 && err == nil {
			t.Error("a base without its first chunk is taken")
		}
	}
	slices.Reverse(chunks)
	if _, err := c.Decode(chunks); err == nil {
		t.Error("a base with its chunks reversed is taken")
	}
	if _, err := c.Decode(append(chunks, chunks[0])); err == nil {
		t.Error("a base with a chunk twice is taken")
	}
}

func TestCorruptBytesAreRefused(t *testing.T) {
	_, s := makeRandomZone(t, newRandom(t))
	c := Codec{Origin: s.Origin()}
	chunks, err := c.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	delta, err := c.Diff(nil, s)
	if err != nil {
		t.Fatal(err)
	}
	for i := range chunks[0] {
		bad := slices.Clone(chunks[0])
		bad[i] ^= 0x41
		if _, err := c.Decode([][]byte{bad}); err == nil {
			t.Errorf("chunk with octet %d flipped is taken", i)
		}
		if _, err := c.Decode([][]byte{chunks[0][:i]}); err == nil {
			t.Errorf("chunk cut at %d is taken", i)
		}
	}
	for i := range delta {
		bad := slices.Clone(delta)
		bad[i] ^= 0x41
		if _, err := c.Apply(nil, bad); err == nil {
			t.Errorf("delta with octet %d flipped is taken", i)
		}
		if _, err := c.Apply(nil, delta[:i]); err == nil {
			t.Errorf("delta cut at %d is taken", i)
		}
	}
	if _, err := (Codec{Origin: MustParseName("other.test")}).Decode(chunks); err == nil || !strings.Contains(err.Error(), "is of the zone") {
		t.Errorf("another zone's base: %v", err)
	}
}

// entry is one entry of a hand-made block.
type entry struct {
	kind byte
	body string
}

func TestDecoderChecksWhatAFrameCannot(t *testing.T) {
	origin := MustParseName("example.org")
	o := string(origin)
	record := func(owner string, typ byte, ttl, rdata string) entry {
		return entry{entryRecord, owner + "\x00" + string([]byte{typ}) + "\x00\x01" + ttl + "\x00" + string(rune(len(rdata))) + rdata}
	}
	const ttl = "\x00\x00\x00\x3c"
	soa := record(o, 6, ttl, "\x00\x00"+strings.Repeat("\x00\x00\x00\x01", 5))
	ns := record(o, 2, ttl, "\x02ns\x00")
	a1 := record("\x01a"+o, 1, ttl, "\x01\x02\x03\x04")
	a2 := record("\x01a"+o, 1, ttl, "\x01\x02\x03\x05")
	settings := func(owner string) entry { return entry{entrySettings, owner + "\x00\x01\x00\x04edge"} }
	base := []entry{{entryOrigin, o}, soa, ns}
	context := func(pop string) entry { return entry{entryContext, "\x00\x00\x00\x00" + pop} }
	with := func(more ...entry) []entry { return append(slices.Clone(base), more...) }
	for what, c := range map[string]struct {
		entries []entry
		wrong   string // part of the error; "" for a good zone
	}{
		"plain":                   {with(a1, a2), ""},
		"steered":                 {with(settings("\x01a"+o), a1, context("ams1"), a1), ""},
		"no origin":               {base[1:], "malformed"},
		"origin twice":            {with(base[0]), "malformed"},
		"no SOA":                  {[]entry{base[0], ns}, "no SOA"},
		"no NS":                   {[]entry{base[0], soa}, "no NS"},
		"nothing":                 {base[:1], "no SOA"},
		"names out of order":      {with(record("\x01b"+o, 1, ttl, "\x01\x02\x03\x04"), a1), "order"},
		"types out of order":      {with(record("\x01a"+o, 16, ttl, "\x01x"), a1), "order"},
		"rdata out of order":      {with(a2, a1), "order"},
		"a record twice":          {with(a1, a1), "order"},
		"pops out of order":       {with(context("b"), a1, context("a"), a1), "order"},
		"settings after records":  {with(a1, settings("\x01a"+o)), "order"},
		"settings alone":          {with(settings("\x01a" + o)), "without records"},
		"empty settings":          {with(entry{entrySettings, "\x01a" + o + "\x00\x00\x00\x00"}, a1), "malformed"},
		"outside":                 {with(record("\x01a\x03net\x00", 1, ttl, "\x01\x02\x03\x04")), "not in the zone"},
		"owner in upper case":     {with(record("\x01A"+o, 1, ttl, "\x01\x02\x03\x04")), "upper case"},
		"owner that is a pointer": {with(record("\xc0\x0c", 1, ttl, "\x01\x02\x03\x04")), "compressed"},
		"rdata in upper case":     {with(record("\x01a"+o, 5, ttl, "\x01B\x00")), "upper case"},
		"rdata too short":         {with(record("\x01a"+o, 1, ttl, "\x01\x02\x03")), "malformed rdata"},
		"rdata with a pointer":    {with(record("\x01a"+o, 65, ttl, "\x00\x01\xc0\x00")), "rdata"},
		"meta type":               {with(record("\x01a"+o, 255, ttl, "")), "cannot hold"},
		"ttl":                     {with(record("\x01a"+o, 1, "\x80\x00\x00\x00", "\x01\x02\x03\x04")), "above"},
		"two ttls":                {with(a1, record("\x01a"+o, 1, "\x00\x00\x00\x3d", "\x01\x02\x03\x05")), "two TTLs"},
		"class":                   {with(entry{entryRecord, "\x01a" + o + "\x00\x01\x00\x03" + ttl + "\x00\x04\x01\x02\x03\x04"}), "malformed"},
		"length":                  {with(entry{entryRecord, "\x01a" + o + "\x00\x01\x00\x01" + ttl + "\x00\x05\x01\x02\x03\x04"}), "malformed"},
		"pop":                     {with(context("a b"), a1), "pop"},
		"steered NS":              {with(context("ams1"), record("\x01a"+o, 2, ttl, "\x00")), "cannot differ"},
		"CNAME and A":             {with(a1, record("\x01a"+o, 5, ttl, "\x00")), "alone"},
		"two CNAMEs":              {with(record("\x01a"+o, 5, ttl, "\x00"), record("\x01a"+o, 5, ttl, "\x01b\x00")), "more than one"},
		"SOA below":               {with(record("\x01a"+o, 6, ttl, "\x00\x00"+strings.Repeat("\x00\x00\x00\x01", 5))), "below the apex"},
		"a delete":                {with(entry{entryDelete, o + "\x00\x01"}), "malformed"},
		"unknown kind":            {with(entry{'x', ""}), "malformed"},
	} {
		w := frame.NewWriter(magicBase)
		for _, e := range c.entries {
			w.Entry(e.kind, []byte(e.body))
		}
		_, err := Codec{Origin: origin}.Decode([][]byte{w.Bytes()})
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v, want %q", what, err, c.wrong)
		}
	}
}

// block frames raw entries without checks, as a fuzzer needs them: the frame's CRC would stop it otherwise.
func block(magic [4]byte, origin Name, raw []byte) []byte {
	w := frame.NewWriter(magic)
	w.Entry(entryOrigin, []byte(origin))
	for len(raw) >= 2 {
		n := min(int(raw[1]), len(raw)-2)
		w.Entry(raw[0], raw[2:2+n])
		raw = raw[2+n:]
	}
	return w.Bytes()
}

// unblock is the reverse of block, for seeds; entries of more than 255 octets are left out.
func unblock(tb testing.TB, magic [4]byte, b []byte) []byte {
	tb.Helper()
	r, err := frame.Open(magic, b)
	if err != nil {
		tb.Fatal(err)
	}
	var raw []byte
	for kind, body, ok := r.Next(); ok; kind, body, ok = r.Next() {
		if kind != entryOrigin && len(body) < 256 {
			raw = append(append(raw, kind, byte(len(body))), body...)
		}
	}
	return raw
}

func FuzzDecode(f *testing.F) {
	s := readZone(f, "example.org.", steeredZone)
	c := Codec{Origin: s.Origin()}
	for _, text := range []string{steeredZone, cutsAndChains} {
		chunks, err := c.Encode(readZone(f, "example.org.", text))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(unblock(f, magicBase, chunks[0]))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		chunks := [][]byte{block(magicBase, c.Origin, raw)}
		var s *Snapshot
		var err error
		alloctest.Within(t, decodeBytes(raw), func() { s, err = c.Decode(chunks) })
		if err != nil {
			return
		}
		checkTaken(t, c, s)
		if _, err := c.Decode([][]byte{raw}); err == nil {
			t.Fatal("a block without a frame is taken")
		}
	})
}

// checkTaken checks that a zone that was decoded can be built, encoded and printed.
func checkTaken(t *testing.T, c Codec, s *Snapshot) {
	t.Helper()
	want, err := modelOf(s).build()
	if err != nil {
		t.Fatalf("decoded what cannot be built: %v", err)
	}
	sameZone(t, s, want)
	chunks, err := c.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Decode(chunks); err != nil {
		t.Fatalf("decoded, encoded and no longer decodable: %v", err)
	}
	for set := range s.RRsets() {
		if _, err := set.RRs(); err != nil {
			t.Fatalf("%v: %v", set.Key(), err)
		}
	}
}

func FuzzApply(f *testing.F) {
	s := readZone(f, "example.org.", steeredZone)
	c := Codec{Origin: s.Origin()}
	other := readZone(f, "example.org.", cutsAndChains)
	for _, pair := range [][2]*Snapshot{{s, other}, {other, s}} {
		delta, err := c.Diff(pair[0], pair[1])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(unblock(f, magicDelta, delta[4:]))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := block(magicDelta, c.Origin, raw)
		delta := append([]byte{0, 0, byte(len(b) >> 8), byte(len(b))}, b...)
		if len(b) > 1<<16-1 {
			return
		}
		var next *Snapshot
		var err error
		alloctest.Within(t, decodeBytes(raw), func() { next, err = c.Apply(s, delta) })
		if err == nil {
			checkTaken(t, c, next)
		}
		if next, err := c.Apply(s, raw); err == nil && next.Sum() != s.Sum() {
			t.Fatal("a delta without a frame is taken")
		}
	})
}

// decodeBytes bounds what decoding raw entries may allocate: zstd's buffers, and for each
// octet, since an entry of a few is a node of the zone, less than a page.
func decodeBytes(raw []byte) int { return 8<<20 + 4096*len(raw) }

// lookupBytes bounds what one look-up and its message may allocate.
const lookupBytes = 256 << 10

func FuzzLookup(f *testing.F) {
	f.Add("www.example.org.", uint16(1), true)
	f.Add("x.child.example.org.", uint16(43), false)
	f.Add(`\000.*.example.org.`, uint16(255), true)
	zones := []*Snapshot{readZone(f, "example.org.", steeredZone), readZone(f, "example.org.", cutsAndChains), readZone(f, ".", rfc1034Zone)}
	f.Fuzz(func(t *testing.T, name string, typ uint16, do bool) {
		n, err := ParseName(name)
		if err != nil {
			return
		}
		var res Result
		for _, s := range zones {
			var err error
			alloctest.Within(t, lookupBytes, func() {
				s.Lookup(Question{n, typ, do}, fixed(0), &res)
				err = res.Fill(new(dns.Msg), n, name)
			})
			if err != nil {
				t.Fatal(err)
			}
			if empty := len(res.Answer) == 0 && len(res.Authority) == 0; empty != (res.Kind == Outside) {
				t.Fatalf("%s %d: %s with nothing in it", name, typ, res.Kind)
			}
		}
	})
}
