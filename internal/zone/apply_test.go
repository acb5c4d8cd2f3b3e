package zone

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// model is a zone as plain maps: what Apply must agree with.
type model struct {
	origin Name
	sets   map[Key]RRset
	steer  map[Name]Steering
}

func modelOf(s *Snapshot) *model {
	m := &model{s.Origin(), map[Key]RRset{}, maps.Collect(s.Steerings())}
	for set := range s.RRsets() {
		m.sets[set.Key()] = set
	}
	return m
}

func (m *model) apply(d Delta) *model {
	out := &model{m.origin, maps.Clone(m.sets), maps.Clone(m.steer)}
	for _, k := range d.Delete {
		delete(out.sets, k)
	}
	for _, p := range d.Put {
		out.sets[p.Key()] = p
	}
	owners := map[Name]bool{}
	for k := range out.sets {
		owners[k.Owner] = true
	}
	for n := range out.steer {
		if !owners[n] {
			delete(out.steer, n)
		}
	}
	for n, st := range d.Steer {
		if out.steer[n] = st; st == (Steering{}) {
			delete(out.steer, n)
		}
	}
	return out
}

func (m *model) build() (*Snapshot, error) {
	b := NewBuilder(m.origin)
	for _, set := range m.sets { // in random order
		if err := b.Add(set); err != nil {
			return nil, err
		}
	}
	for n, st := range m.steer {
		if err := b.Steer(n, st); err != nil {
			return nil, err
		}
	}
	return b.Build()
}

// sameZone compares all that can be seen of two snapshots, down to the nodes' octets.
func sameZone(t *testing.T, got, want *Snapshot) {
	t.Helper()
	g, w := slices.Collect(got.nodes), slices.Collect(want.nodes)
	if !slices.Equal(g, w) {
		t.Fatalf("nodes differ: got\n%q\nwant\n%q", g, w)
	}
	if got.Sum() != want.Sum() || got.Items() != want.Items() || got.Len() != want.Len() || got.Records() != want.Records() || got.Serial() != want.Serial() {
		t.Fatalf("sum %s of %d items, %d variants, %d records, serial %d; want %s of %d, %d, %d, %d", got.Sum(), got.Items(), got.Len(), got.Records(), got.Serial(),
			want.Sum(), want.Items(), want.Len(), want.Records(), want.Serial())
	}
	if !slices.Equal(got.PoPs(), want.PoPs()) || !slices.Equal(got.Maps(), want.Maps()) {
		t.Fatalf("pops %v maps %v, want %v %v", got.PoPs(), got.Maps(), want.PoPs(), want.Maps())
	}
	for _, n := range w {
		if got.lookup(n.name()) != n {
			t.Fatalf("%s is in the walk but not found", n.name())
		}
	}
}

// randomDelta mixes what one zone has with another's, so that deletes and replacements hit.
func randomDelta(rnd *rand.Rand, m *model, other *Snapshot) Delta {
	d := Delta{Steer: map[Name]Steering{}}
	seen := map[Key]bool{}
	for k := range m.sets {
		if rnd.IntN(4) == 0 && (k.Owner != m.origin || rnd.IntN(20) == 0) {
			d.Delete, seen[k] = append(d.Delete, k), true
		}
	}
	for set := range other.RRsets() {
		if rnd.IntN(3) == 0 && !seen[set.Key()] {
			set.Rdata[0].Weight = rnd.Uint32N(3)
			d.Put = append(d.Put, set)
		}
		switch rnd.IntN(8) {
		case 0:
			d.Steer[set.Owner] = randomSteering(rnd)
		case 1:
			d.Steer[set.Owner] = Steering{}
		}
	}
	rnd.Shuffle(len(d.Put), func(i, j int) { d.Put[i], d.Put[j] = d.Put[j], d.Put[i] })
	return d
}

func TestApplyMakesWhatBuilderMakes(t *testing.T) {
	rnd := newRandom(t)
	good, bad := 0, 0
	for range 150 {
		z, s := makeRandomZone(t, rnd)
		codec := Codec{Origin: s.Origin()}
		for range 20 {
			other := (&randomZone{rnd: rnd, origin: z.origin, oracle: newOracle(z.origin), b: NewBuilder(s.Origin()), t: t}).build()
			before := modelOf(s)
			d := randomDelta(rnd, before, other)
			want, wantErr := before.apply(d).build()
			got, err := s.Apply(d)
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("Apply(%v): %v, building the same: %v", d, err, wantErr)
			}
			if err != nil {
				bad++
				continue
			}
			good++
			sameZone(t, got, want)
			if again, err := got.Apply(d); err != nil {
				t.Fatalf("Apply twice: %v", err)
			} else {
				sameZone(t, again, got)
			}
			checkDiff(t, codec, s, got)
			checkDiff(t, codec, s, want)
			checkDiff(t, codec, nil, got)
			sameAnswers(t, z, got, want)
			for k := range before.sets {
				if got.Has(k.Owner) != want.Has(k.Owner) || got.Has(k.Owner.Parent()) != want.Has(k.Owner.Parent()) {
					t.Fatalf("%s: there %t, want %t", k.Owner, got.Has(k.Owner), want.Has(k.Owner))
				}
			}
			if rnd.IntN(4) == 0 {
				folded := *got
				folded.fold()
				sameZone(t, &folded, want)
				got = &folded
			}
			s = got
		}
	}
	t.Logf("%d deltas applied, %d refused", good, bad)
	if good < 500 || bad < 50 {
		t.Error("the generator reaches too little")
	}
}

// sameAnswers asks both random questions. Weights and limits draw at random, so only the shape of
// the answer is compared, and not the additional data of the records that were drawn.
func sameAnswers(t *testing.T, z *randomZone, got, want *Snapshot) {
	t.Helper()
	for range 20 {
		q := z.question()
		var g, w Result
		question := Question{MustParseName(q.name), q.typ, q.do}
		got.Lookup(question, prefer(q.pref), &g)
		want.Lookup(question, prefer(q.pref), &w)
		if shape(&g) != shape(&w) {
			t.Fatalf("%+v: %s, want %s", q, shape(&g), shape(&w))
		}
	}
}

func shape(r *Result) string {
	s := fmt.Sprintln(r.Kind, r.Rcode, r.Authoritative, r.Steered, r.Outside)
	for _, sets := range [][]Set{r.Answer, r.Authority} {
		for i := range sets {
			s += fmt.Sprintln(sets[i].Owner, sets[i].Type, sets[i].TTL, sets[i].PoP(), sets[i].Len())
		}
		s += "/"
	}
	return s
}

func TestSnapshotsAreReadWhileTheNextIsMade(t *testing.T) {
	const hosts, changes = 1000, 1500 // several folds
	var current atomic.Pointer[Snapshot]
	current.Store(numbered(t, hosts))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			var res Result
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				s := current.Load()
				s.Lookup(Question{Name: numberedHost(s.Origin(), i%hosts, 0).Owner, Type: dns.TypeA}, nil, &res)
				if res.Kind != Success || res.Answer[0].Len() != 1 {
					t.Errorf("host %d: %s", i%hosts, res.Kind)
					return
				}
			}
		})
	}
	for i := range changes {
		s := current.Load()
		next, err := s.Apply(Delta{Put: []RRset{numberedHost(s.Origin(), i%hosts, byte(1+i/hosts))}})
		if err != nil {
			t.Fatal(err)
		}
		current.Store(next)
	}
	close(done)
	wg.Wait()
}

// checkDiff checks that the delta between two zones, in memory and encoded, makes one of the other.
func checkDiff(t *testing.T, c Codec, from, to *Snapshot) {
	t.Helper()
	b, err := c.Diff(from, to)
	if err != nil {
		t.Fatalf("Diff: %v", err)
	}
	d := Diff(from, to)
	if (b == nil) != d.Empty() || d.Empty() != (from != nil && from.Sum() == to.Sum()) {
		t.Fatalf("delta of %d octets for %v, sums equal: %t", len(b), d, from != nil && from.Sum() == to.Sum())
	}
	if b == nil {
		return
	}
	got, err := c.Apply(from, b)
	if err != nil {
		t.Fatalf("Apply of Diff: %v\n%v", err, d)
	}
	sameZone(t, got, to)
}

// numbered builds a zone of n hosts with one address each.
func numbered(tb testing.TB, n int) *Snapshot {
	tb.Helper()
	origin := MustParseName("example.org")
	b := NewBuilder(origin)
	for _, text := range []string{"example.org. 3600 IN SOA ns.example.org. host.example.org. 1 7200 3600 1209600 300", "example.org. 3600 IN NS ns.example.org."} {
		rr, err := dns.NewRR(text)
		if err != nil {
			tb.Fatal(err)
		}
		if err := b.AddRR(rr, "", 0); err != nil {
			tb.Fatal(err)
		}
	}
	for i := range n {
		if err := b.Add(numberedHost(origin, i, 0)); err != nil {
			tb.Fatal(err)
		}
	}
	s, err := b.Build()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func numberedHost(origin Name, i int, version byte) RRset {
	owner := origin.Prepend(fmt.Sprintf("net%d", i%1000)).Prepend(fmt.Sprintf("host%d", i))
	return RRset{Owner: owner, Type: dns.TypeA, TTL: 300, Rdata: []Rdata{{Wire: []byte{10 + version, byte(i >> 16), byte(i >> 8), byte(i)}}}}
}

func TestManyChangesFoldIntoAFreshImage(t *testing.T) {
	const hosts = 2000
	s := numbered(t, hosts)
	images, last := 0, s.image
	for i := range hosts {
		next, err := s.Apply(Delta{Put: []RRset{numberedHost(s.Origin(), i, 1)}, Delete: []Key{numberedHost(s.Origin(), (i+hosts/2)%hosts, 0).Key()}})
		if err != nil {
			t.Fatal(err)
		}
		if s = next; s.image != last {
			images, last = images+1, s.image
		}
	}
	if images < 2 || images > 4*hosts/minFold { // each change touches two hosts and their parents
		t.Errorf("%d folds in %d changes of two names", images, hosts)
	}
	want, err := modelOf(s).build()
	if err != nil {
		t.Fatal(err)
	}
	sameZone(t, s, want)
	if s.Records() != 2+hosts/2 {
		t.Errorf("%d records, want %d", s.Records(), 2+hosts/2)
	}
}

func TestApplyOfOneRecordAllocatesAFewKiB(t *testing.T) {
	const rounds, limit = 200, 8 << 10
	s := numbered(t, 100_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range rounds {
		next, err := s.Apply(Delta{Put: []RRset{numberedHost(s.Origin(), i*7, 1)}})
		if err != nil {
			t.Fatal(err)
		}
		s = next
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / rounds; each > limit {
		t.Errorf("%d bytes for a change of one record, want at most %d", each, limit)
	} else {
		t.Logf("%d bytes for a change of one record", each)
	}
}

func TestApplyRefusesWhatMakesNoZone(t *testing.T) {
	s := numbered(t, 3)
	apex, host := s.Origin(), numberedHost(s.Origin(), 1, 0)
	cname := RRset{Owner: host.Owner, Type: dns.TypeCNAME, TTL: 1, Rdata: []Rdata{{Wire: []byte(Root)}}}
	with := func(change func(*RRset)) RRset {
		set := host
		change(&set)
		return set
	}
	for what, d := range map[string]Delta{
		"no SOA":                   {Delete: []Key{{apex, dns.TypeSOA, ""}}},
		"no NS":                    {Delete: []Key{{apex, dns.TypeNS, ""}}},
		"CNAME beside A":           {Put: []RRset{cname}},
		"outside":                  {Put: []RRset{with(func(s *RRset) { s.Owner = Root })}},
		"no rdata":                 {Put: []RRset{with(func(s *RRset) { s.Rdata = nil })}},
		"short address":            {Put: []RRset{with(func(s *RRset) { s.Rdata = []Rdata{{Wire: []byte{1, 2, 3}}} })}},
		"ttl":                      {Put: []RRset{with(func(s *RRset) { s.TTL = 1 << 31 })}},
		"meta type":                {Put: []RRset{with(func(s *RRset) { s.Type = dns.TypeANY })}},
		"bad pop":                  {Put: []RRset{with(func(s *RRset) { s.PoP = "a b" })}},
		"put twice":                {Put: []RRset{host, host}},
		"put and deleted":          {Put: []RRset{host}, Delete: []Key{host.Key()}},
		"settings without records": {Steer: map[Name]Steering{apex.Prepend("nobody"): {Answers: 1}}},
		"bad settings":             {Steer: map[Name]Steering{apex: {Answers: -1}}},
		"wildcard NS":              {Put: []RRset{{Owner: apex.Prepend("*"), Type: dns.TypeNS, TTL: 1, Rdata: []Rdata{{Wire: []byte(Root)}}}}},
		"steered NS":               {Put: []RRset{{Owner: apex, Type: dns.TypeNS, TTL: 1, PoP: "ams1", Rdata: []Rdata{{Wire: []byte(Root)}}}}},
	} {
		next, err := s.Apply(d)
		var e *Error
		if next != nil || !errors.As(err, &e) {
			t.Errorf("%s: %v, want an *Error", what, err)
		}
	}
}

func TestWithSerialKeepsTheSumRight(t *testing.T) {
	s := numbered(t, 10)
	next := s.WithSerial(4_000_000_000)
	if next.Serial() != 4_000_000_000 || s.Serial() != 1 {
		t.Fatalf("serials %d and %d", next.Serial(), s.Serial())
	}
	want, err := modelOf(next).build()
	if err != nil {
		t.Fatal(err)
	}
	sameZone(t, next, want)
	if back := next.WithSerial(1); back.Sum() != s.Sum() {
		t.Error("the sum is not the first again after setting the serial back")
	}
	if s.WithSerial(1) != s {
		t.Error("the same serial makes another snapshot")
	}
}

func TestSignedSOAFreezesTheSerial(t *testing.T) {
	s := numbered(t, 1)
	for covered, frozen := range map[string]bool{"NS": false, "SOA": true} {
		rr, err := dns.NewRR("example.org. 300 IN RRSIG " + covered + " 8 2 300 20300101000000 20200101000000 1 example.org. AAAA")
		if err != nil {
			t.Fatal(err)
		}
		_, wire, err := RdataOf(rr)
		if err != nil {
			t.Fatal(err)
		}
		next, err := s.Apply(Delta{Put: []RRset{{Owner: s.Origin(), Type: dns.TypeRRSIG, TTL: 300, Rdata: []Rdata{{Wire: wire}}}}})
		if err != nil {
			t.Fatal(err)
		}
		if next.SerialFrozen() != frozen || (next.WithSerial(9) == next) != frozen {
			t.Errorf("RRSIG over %s: frozen %t, want %t", covered, next.SerialFrozen(), frozen)
		}
	}
}

func TestSerialNewerIsCircular(t *testing.T) {
	for _, c := range []struct {
		a, b uint32
		want bool
	}{{1, 0, true}, {0, 1, false}, {5, 5, false}, {0, 1<<32 - 1, true}, {1 << 31, 0, false}, {1<<31 - 1, 0, true}, {0, 1<<31 + 1, true}} {
		if got := SerialNewer(c.a, c.b); got != c.want {
			t.Errorf("SerialNewer(%d, %d) = %t", c.a, c.b, got)
		}
	}
}
