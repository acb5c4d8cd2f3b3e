package sign

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
)

// skeleton is a zone's text without what differs from signing to signing: of signatures it has what they cover and whose they are.
func skeleton(s *zone.Snapshot) string {
	var out strings.Builder
	for line := range strings.Lines(dump(s)) {
		f := strings.Fields(line)
		if len(f) > 12 && f[3] == "RRSIG" {
			line = strings.Join(append(f[:8], f[10:12]...), " ")
			if len(f) > 14 {
				line += " " + f[14]
			}
			line += "\n"
		}
		out.WriteString(line)
	}
	return out.String()
}

// verifyAll verifies every signature by miekg/dns, an implementation that is not ours, and returns how many there were.
func verifyAll(t *testing.T, s *zone.Snapshot) int {
	t.Helper()
	dnskeys, _ := s.Get(zone.Key{Owner: origin, Type: dns.TypeDNSKEY})
	keys, err := dnskeys.RRs()
	if err != nil {
		t.Fatal(err)
	}
	verified := 0
	for sigs := range s.RRsets() {
		if sigs.Type != dns.TypeRRSIG {
			continue
		}
		rrs, err := sigs.RRs()
		if err != nil {
			t.Fatal(err)
		}
		for _, rr := range rrs {
			sig := rr.(*dns.RRSIG)
			set, ok := s.Get(zone.Key{Owner: sigs.Owner, Type: sig.TypeCovered, PoP: sigs.PoP})
			if !ok {
				t.Fatalf("%s (PoP %q) covers nothing in\n%s", sig, sigs.PoP, dump(s))
			}
			over, err := set.RRs()
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(keys, func(k dns.RR) bool { return k.(*dns.DNSKEY).KeyTag() == sig.KeyTag })
			if i < 0 {
				t.Fatalf("%s is of no key of the zone", sig)
			}
			if err := sig.Verify(keys[i].(*dns.DNSKEY), over); err != nil {
				t.Fatalf("%s over %v: %v", sig, over, err)
			}
			verified++
		}
	}
	return verified
}

func TestEditsSignedOneByOneGiveTheZoneThatSigningAtOnceGives(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, denial := range []Denial{NSEC, NSEC3, NSEC3OptOut} {
		rnd := rand.New(rand.NewPCG(seed, uint64(denial)))
		ks := newKeys(t, []uint8{dns.ECDSAP256SHA256, dns.ED25519}[rnd.IntN(2)])
		content := zoneOf(t, 1, "ns A 192.0.2.1", "host A 192.0.2.2")
		signed, first := mustSign(t, content, nil, ks, Policy{Denial: denial})
		now, edits, made, kept := noon, 0, 0, first.Made
		for edits < 200 {
			d := randomDelta(t, rnd)
			next, err := content.Apply(d)
			if err != nil || next.Sum() == content.Sum() {
				continue // not a zone (a wildcard that is delegated, say), or no edit
			}
			content = next
			edited, err := signed.Apply(d)
			if err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Duration(rnd.IntN(6)) * time.Hour)
			was := signed
			var r Report
			signed, r = mustSign(t, edited, was, ks, Policy{Now: now})
			if signed.Serial() != was.Serial()+1 {
				t.Fatalf("edit %d: serial %d after %d", edits, signed.Serial(), was.Serial())
			}
			edits, made, kept = edits+1, made+r.Made, kept+r.Kept
			if edits%20 != 0 {
				continue
			}
			whole, _ := mustSign(t, content.WithSerial(signed.Serial()), nil, ks, Policy{Denial: denial, Now: now})
			if got, want := skeleton(signed), skeleton(whole); got != want {
				t.Fatalf("denial %d after %d edits\n%s\nwant\n%s", denial, edits, got, want)
			}
			verifyAll(t, signed)
			if r.Expires.Before(now.Add(DefaultValid / refreshPart)) {
				t.Errorf("edit %d at %s leaves a signature that expires %s", edits, now, r.Expires)
			}
		}
		if made >= kept {
			t.Errorf("denial %d: %d signatures made and %d kept: edits sign more than they change", denial, made, kept)
		}
	}
}

func TestAnEditSignsOnlyWhatItChanges(t *testing.T) {
	ks := newKeys(t, dns.ED25519)
	hosts := hostsOf("abcdefghij")
	signed, _ := mustSign(t, zoneOf(t, 1, hosts...), nil, ks, Policy{})
	edited, err := signed.Apply(zone.Delta{Put: []zone.RRset{{
		Owner: zone.MustParseName("cc.example.org"), Type: dns.TypeA, TTL: 60, Rdata: []zone.Rdata{{Wire: []byte{192, 0, 2, 2}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	next, r := mustSign(t, edited, signed, ks, Policy{Now: noon.Add(time.Hour)})
	if r.Made != 4 { // the A, its NSEC, the NSEC before it, the SOA
		t.Errorf("%d signatures made, want 4", r.Made)
	}
	owners := map[string]bool{}
	for _, set := range zone.Diff(signed, next).Put {
		owners[set.Owner.String()] = true
	}
	if got := slices.Sorted(maps.Keys(owners)); !slices.Equal(got, []string{"c.example.org.", "cc.example.org.", "example.org."}) {
		t.Errorf("changed owners %v, want c, cc and the apex", got)
	}
}

func TestNothingIsSignedUntilItIsDue(t *testing.T) {
	ks := newKeys(t, dns.ED25519)
	content := zoneOf(t, 7, "a A 192.0.2.1", "b A 192.0.2.1", "c A 192.0.2.1")
	signed, r := mustSign(t, content, nil, ks, Policy{})
	if signed.Serial() != 7 {
		t.Errorf("serial %d, want the file's 7", signed.Serial())
	}
	again, early := mustSign(t, signed, signed, ks, Policy{Now: r.Again.Add(-time.Second)})
	if again != signed || early.Made != 0 {
		t.Errorf("a second before the first is due %d are made", early.Made)
	}
	due, late := mustSign(t, signed, signed, ks, Policy{Now: r.Again.Add(time.Second)})
	if late.Made == 0 || late.Made > 2 || due.Serial() != 8 { // the one that is due, and the SOA
		t.Errorf("when the first is due %d are made, serial %d; want 1 or 2, serial 8", late.Made, due.Serial())
	}
	verifyAll(t, due)
	if all, r := mustSign(t, signed, signed, ks, Policy{All: true, Now: noon.Add(time.Minute)}); all.Serial() != 8 || r.Kept != 0 {
		t.Errorf("All keeps %d signatures, serial %d", r.Kept, all.Serial())
	}
}

func TestSignaturesExpireSpread(t *testing.T) {
	ks := newKeys(t, dns.ED25519)
	hosts := hostsOf("abcdefghijklmnopqrstuvwxyz")
	signed, _ := mustSign(t, zoneOf(t, 1, hosts...), nil, ks, Policy{})
	ends := map[time.Duration]int{}
	for set := range signed.RRsets() {
		if set.Type == dns.TypeRRSIG {
			for _, rd := range set.Rdata {
				ends[expiration(rd.Wire, noon).Sub(noon)]++
			}
		}
	}
	hold := slices.Sorted(maps.Keys(ends))
	least, most := hold[0], hold[len(hold)-1]
	if least < DefaultValid-DefaultValid/jitterPart || most > DefaultValid || most-least < DefaultValid/jitterPart/2 {
		t.Errorf("signatures hold %s to %s", least, most)
	}
}

func TestVariantsAreSignedOneByOneAndDenialsAreTheSameForAll(t *testing.T) {
	ks := newKeys(t, dns.ECDSAP256SHA256)
	signed, _ := mustSign(t, zoneOf(t, 1,
		"www A 192.0.2.10 ;@ pop=ams1 map=edge answers=1", "www A 192.0.2.20 ;@ pop=iad2", "www A 192.0.2.30", "www AAAA 2001:db8::1 ;@ pop=ams1",
	), nil, ks, Policy{})
	verifyAll(t, signed)
	www := zone.MustParseName("www.example.org")
	for pop, want := range map[string]int{"": 2, "ams1": 2, "iad2": 1} { // the default variant has the NSEC's too
		sigs, _ := signed.Get(zone.Key{Owner: www, Type: dns.TypeRRSIG, PoP: pop})
		if len(sigs.Rdata) != want {
			t.Errorf("PoP %q has %d signatures, want %d", pop, len(sigs.Rdata), want)
		}
	}
	nsec, _ := signed.Get(zone.Key{Owner: www, Type: dns.TypeNSEC})
	rrs, err := nsec.RRs()
	if err != nil {
		t.Fatal(err)
	}
	if got := rrs[0].(*dns.NSEC).TypeBitMap; !slices.Equal(got, []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeRRSIG, dns.TypeNSEC}) {
		t.Errorf("types %v, want those of all variants", got)
	}
	if st := signed.Steering(www); st.Map != "edge" || st.Answers != 1 {
		t.Errorf("steering %+v is not the content's", st)
	}
}

func TestANameWhoseLastRecordGoesTakesItsSettingsAndProofsWithIt(t *testing.T) {
	ks := newKeys(t, dns.ED25519)
	signed, _ := mustSign(t, zoneOf(t, 1, "www A 192.0.2.10 ;@ pop=ams1 map=edge"), nil, ks, Policy{})
	www := zone.MustParseName("www.example.org")
	edited, err := signed.Apply(zone.Delta{Delete: []zone.Key{{Owner: www, Type: dns.TypeA, PoP: "ams1"}}})
	if err != nil {
		t.Fatal(err)
	}
	if next, _ := mustSign(t, edited, signed, ks, Policy{}); next.Has(www) {
		t.Errorf("www is still there:\n%s", dump(next))
	}
}

func TestDenialStaysUntilAnotherIsAskedFor(t *testing.T) {
	ks := newKeys(t, dns.ED25519)
	content := zoneOf(t, 1, "a.b A 192.0.2.1", "sub NS ns.example.net.")
	for _, denial := range []Denial{NSEC, NSEC3, NSEC3OptOut} {
		signed, _ := mustSign(t, content, nil, ks, Policy{Denial: denial})
		if got := asBefore(signed); got != denial {
			t.Errorf("asBefore of %d is %d", denial, got)
		}
		if again, _ := mustSign(t, signed, signed, ks, Policy{}); again != signed {
			t.Errorf("denial %d is changed by signing again", denial)
		}
		other, _ := mustSign(t, signed, signed, ks, Policy{Denial: NSEC})
		whole, _ := mustSign(t, content.WithSerial(other.Serial()), nil, ks, Policy{Denial: NSEC})
		if skeleton(other) != skeleton(whole) {
			t.Errorf("denial %d to NSEC leaves\n%s\nwant\n%s", denial, skeleton(other), skeleton(whole))
		}
	}
}

func TestSerialIsTheFilesWhenThatIsNewer(t *testing.T) {
	for _, c := range []struct{ own, prev, want uint32 }{
		{5, 4, 5}, {5, 5, 6}, {4, 5, 6}, {2026112400, 7, 2026112400}, {9, 1<<32 - 1, 9}, {1<<32 - 1, 1<<32 - 1, 1},
	} {
		if got := nextSerial(c.own, c.prev); got != c.want {
			t.Errorf("nextSerial(%d, %d) = %d, want %d", c.own, c.prev, got, c.want)
		}
	}
}

func TestBitmapIsAsMiekgPacksIt(t *testing.T) {
	types := []uint16{dns.TypeCAA, dns.TypeA, dns.TypeRRSIG, dns.TypeNSEC, 65280, 65281, 1234}
	nsec := &dns.NSEC{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNSEC, Class: dns.ClassINET}, NextDomain: ".", TypeBitMap: slices.Sorted(slices.Values(types))}
	_, wire, err := zone.RdataOf(nsec)
	if err != nil {
		t.Fatal(err)
	}
	if got := bitmap(types); !bytes.Equal(got, wire[1:]) {
		t.Errorf("bitmap %x, want %x", got, wire[1:])
	}
}

func TestPoliciesThatCannotHoldAreRefused(t *testing.T) {
	ks := newKeys(t, dns.ED25519)
	for _, p := range []Policy{{Valid: time.Second}, {Valid: time.Hour, Refresh: time.Hour}, {Valid: -time.Hour}, {Refresh: -time.Second}} {
		p.Now = noon
		if _, _, err := Sign(zoneOf(t, 1), nil, ks, p); err == nil {
			t.Errorf("valid %s, refresh %s is taken", p.Valid, p.Refresh)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	ks := newKeys(b, dns.ECDSAP256SHA256)
	hosts := make([]string, 100_000)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("h%d A 192.0.2.1", i)
	}
	content := zoneOf(b, 1, hosts...)
	signed, _, err := Sign(content, nil, ks, Policy{Now: noon})
	if err != nil {
		b.Fatal(err)
	}
	for name, prev := range map[string]*zone.Snapshot{"whole": nil, "again": signed} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := Sign(content, prev, ks, Policy{Now: noon}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
