package zone

import (
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func randomSteering(rnd *rand.Rand) Steering {
	st := Steering{Map: []string{"", "edge", "anycast"}[rnd.IntN(3)], Answers: rnd.IntN(3), Choose: Choose(rnd.IntN(3))}
	if rnd.IntN(2) == 0 {
		return st
	}
	st.PoPs, st.Service = []string{"", "ams1", "ams1,iad2"}[rnd.IntN(3)], []string{"", "web"}[rnd.IntN(2)]
	st.AllDown, st.DownTTL = AllDown(rnd.IntN(3)), []uint32{0, 1, MaxTTL}[rnd.IntN(3)]
	return st
}

// TestSettingsAreStoredAsTheyWereBeforeTheyGrew would fail where every reader refuses every older zone: sums are over these octets.
func TestSettingsAreStoredAsTheyWereBeforeTheyGrew(t *testing.T) {
	for st, want := range map[Steering]string{
		{Map: "edge", Answers: 258, Choose: ChooseWeighted}: "0102 01 04 65646765",
		{Answers: 1}: "0001 00 00",
		{Map: "edge", Choose: ChooseSticky, PoPs: "a,b", Service: "web", AllDown: AllDownNone, DownTTL: 5}: "0000 82 04 65646765 02 00000005 03 776562 0003 612c62",
	} {
		got := hex.EncodeToString(appendSettings(nil, &st))
		if got != strings.ReplaceAll(want, " ", "") || len(got) != 2*st.size() {
			t.Errorf("%+v: %s, want %s", st, got, want)
		}
	}
}

func TestSettingsReadBackAndNothingElseDoes(t *testing.T) {
	rnd := newRandom(t)
	for range 20_000 {
		st := randomSteering(rnd)
		b := appendSettings(nil, &st)
		if back, err := parseSettings(b); err != nil || back != st {
			t.Fatalf("%+v reads back as %+v, %v", st, back, err)
		}
		if _, rest := cutSettings(string(b) + "rest"); rest != "rest" {
			t.Fatalf("%+v leaves %q", st, rest)
		}
		switch i := rnd.IntN(len(b)); rnd.IntN(3) {
		case 0:
			b = b[:i]
		case 1:
			b[i] ^= byte(1 << rnd.IntN(8))
		default:
			b = append(b, byte(rnd.IntN(256)))
		}
		if back, err := parseSettings(b); err == nil {
			if again := appendSettings(nil, &back); !slices.Equal(again, b) {
				t.Fatalf("% x was taken for %+v, which is % x", b, back, again)
			}
		}
	}
}

func TestAllowsKnowsExactlyTheListed(t *testing.T) {
	all, some := Steering{}, Steering{PoPs: "ams1,iad2"}
	for pop, want := range map[string]bool{"ams1": true, "iad2": true, "ams": false, "ams1,iad2": false, "": false, "sin1": false} {
		if some.Allows(pop) != want || !all.Allows(pop) {
			t.Errorf("%q: %v, want %v", pop, some.Allows(pop), want)
		}
	}
}

// picks is a picker that always makes the same choice and tells what it was asked.
type picks struct {
	choice Choice
	saw    []Steering
}

func (p *picks) Pick(st Steering, _ Variants, _ bool) Choice {
	p.saw = append(p.saw, st)
	return p.choice
}

func lookUp(t *testing.T, s *Snapshot, name string, typ uint16, p Picker) *Result {
	t.Helper()
	res := new(Result)
	s.Lookup(Question{Name: MustParseName(name), Type: typ, DO: true}, p, res)
	return res
}

func TestAnAnswerThatMustNotBeGivenIsSERVFAIL(t *testing.T) {
	s := readZone(t, "example.org.", steeredZone)
	for _, name := range []string{"www.example.org", "go.example.org", "only.example.org"} {
		res := lookUp(t, s, name, dns.TypeA, &picks{choice: Choice{Variant: Nothing}})
		if res.Kind != Unavailable || res.Rcode != dns.RcodeServerFailure || len(res.Answer)+len(res.Authority)+len(res.Additional) > 0 {
			t.Errorf("%s: %+v", name, res)
		}
	}
	if res := lookUp(t, s, "plain.example.org", dns.TypeA, &picks{choice: Choice{Variant: Nothing}}); res.Kind != Success {
		t.Errorf("an unsteered name: %+v", res)
	}
}

func TestAChoiceShortensTheTTLOfRecordsAndSignatures(t *testing.T) {
	s := readZone(t, "example.org.", `
@ 60 SOA ns h 1 2 3 4 5
@ 60 NS ns.example.net.
w 60 A 192.0.2.1 ; pop=ams1
w 60 A 192.0.2.2
w 60 RRSIG A 8 2 60 20300101000000 20200101000000 1 example.org. AAAA ; pop=ams1
`)
	for limit, want := range map[uint32]uint32{0: 60, 5: 5, 60: 60, 600: 60} {
		res := lookUp(t, s, "w.example.org", dns.TypeA, &picks{choice: Choice{MaxTTL: limit}})
		if len(res.Answer) != 2 || res.Answer[0].TTL != want || res.Answer[1].TTL != want {
			t.Errorf("at most %d: %+v, want TTL %d", limit, res.Answer, want)
		}
	}
}

func TestTheApexNamesTheMapForNamesWithoutOne(t *testing.T) {
	s := readZone(t, "example.org.", steeredZone)
	s, err := s.Apply(Delta{Steer: map[Name]Steering{
		MustParseName("example.org"):      {Map: "zone", Answers: 7},
		MustParseName("only.example.org"): {Map: "own"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Steering{"www.example.org": {Map: "zone"}, "only.example.org": {Map: "own"}} {
		p := &picks{choice: Choice{Variant: Default}}
		lookUp(t, s, name, dns.TypeA, p)
		if !slices.Equal(p.saw, []Steering{want}) {
			t.Errorf("%s: picker saw %+v, want %+v", name, p.saw, want)
		}
	}
	if got := s.Maps(); !slices.Equal(got, []string{"own", "zone"}) {
		t.Errorf("maps %q", got)
	}
}

// TestStickyAnswersAreTheSameForABlockAndFollowTheWeights draws for many blocks, and again after an address has gone.
func TestStickyAnswersAreTheSameForABlockAndFollowTheWeights(t *testing.T) {
	const text = "@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns.example.net.\nw 60 A 192.0.2.1 ; weight=1\nw 60 A 192.0.2.2 ; weight=2\nw 60 A 192.0.2.3 ; weight=5\n"
	zoneOf := func(text string, st Steering) *Snapshot {
		s, err := readZone(t, "example.org.", text).Apply(Delta{Steer: map[Name]Steering{MustParseName("w.example.org"): st}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one := zoneOf(text, Steering{Answers: 1, Choose: ChooseSticky})
	two := zoneOf(text, Steering{Answers: 2, Choose: ChooseSticky})
	fewer := zoneOf(strings.Replace(text, "w 60 A 192.0.2.2 ; weight=2\n", "", 1), Steering{Answers: 1, Choose: ChooseSticky})
	answer := func(s *Snapshot, seed uint64) []byte {
		res := lookUp(t, s, "w.example.org", dns.TypeA, &picks{choice: Choice{Variant: Default, Seed: seed}})
		if !res.Steered {
			t.Fatal("a sticky answer depends on the client and says it does not")
		}
		var out []byte
		for wire := range res.Answer[0].Rdata {
			out = append(out, wire[3])
		}
		return out
	}
	const blocks = 8000
	first := map[byte]int{}
	rnd := newRandom(t)
	for range blocks {
		seed := rnd.Uint64()
		a := answer(one, seed)
		if b := answer(one, seed); !slices.Equal(a, b) {
			t.Fatalf("seed %d: %v, then %v", seed, a, b)
		}
		if b := answer(two, seed); len(b) != 2 || b[0] != a[0] {
			t.Fatalf("seed %d: one answer %v, two %v", seed, a, b)
		}
		if b := answer(fewer, seed); a[0] != 2 && b[0] != a[0] {
			t.Fatalf("seed %d: moved from %d to %d when 2 went", seed, a[0], b[0])
		}
		first[a[0]]++
	}
	for i, want := range map[byte]float64{1: 1. / 8, 2: 2. / 8, 3: 5. / 8} {
		if share := float64(first[i]) / blocks; share < want-0.03 || share > want+0.03 {
			t.Errorf("record %d for %.3f of the blocks, want %.3f", i, share, want)
		}
	}
}

// TestADrawLeadsAndTheRestIsInOrder: signatures made above us are kept by the records in their order.
func TestADrawLeadsAndTheRestIsInOrder(t *testing.T) {
	text := "@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns.example.net.\n"
	for _, last := range "12345" {
		text += "w 60 A 192.0.2." + string(last) + " ; weight=1\n"
	}
	s, err := readZone(t, "example.org.", text).Apply(Delta{Steer: map[Name]Steering{MustParseName("w.example.org"): {Choose: ChooseWeighted, Answers: 4}}})
	if err != nil {
		t.Fatal(err)
	}
	leads := map[byte]bool{}
	for range 500 {
		var got []byte
		for wire := range lookUp(t, s, "w.example.org", dns.TypeA, nil).Answer[0].Rdata {
			got = append(got, wire[3])
		}
		if len(got) != 4 || !slices.IsSorted(got[1:]) {
			t.Fatalf("got %v", got)
		}
		leads[got[0]] = true
	}
	if len(leads) != 5 {
		t.Errorf("led: %v, want each in turn", leads)
	}
}

func TestUnevenAndBareNamesAreFound(t *testing.T) {
	s := readZone(t, "example.org.", `
$TTL 60
@    SOA ns h 1 2 3 4 5
     NS ns.example.net.
even A 192.0.2.1 ; pop=ams1
even A 192.0.2.2 ; pop=iad2
even TXT x
odd  A 192.0.2.1 ; pop=ams1
odd  AAAA ::1 ; pop=ams1
odd  A 192.0.2.2 ; pop=iad2
odd  A 192.0.2.3
sig  A 192.0.2.1 ; pop=ams1
sig  RRSIG A 8 2 60 20300101000000 20200101000000 1 example.org. AAAA ; pop=ams1
sig  A 192.0.2.2 ; pop=iad2
sig  A 192.0.2.3
`)
	var uneven, bare []string
	for u := range s.Uneven() {
		uneven = append(uneven, u.Owner.String()+" "+dns.Type(u.Missing).String()+" "+u.MissingFrom)
		if again, ok := s.UnevenAt(u.Owner); !ok || again.Missing != u.Missing {
			t.Errorf("%s: %+v, by name %+v", u.Owner, u, again)
		}
	}
	for b := range s.Bare() {
		bare = append(bare, b.Owner.String()+" "+dns.Type(b.Type).String()+" "+strings.Join(b.PoPs, ","))
	}
	if want := []string{"odd.example.org. AAAA iad2"}; !slices.Equal(uneven, want) {
		t.Errorf("uneven: %q, want %q", uneven, want)
	}
	if want := []string{"even.example.org. A ams1,iad2", "odd.example.org. AAAA ams1"}; !slices.Equal(bare, want) {
		t.Errorf("bare: %q, want %q", bare, want)
	}
}
