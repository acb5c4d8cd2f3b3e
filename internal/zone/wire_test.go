package zone

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"

	"github.com/miekg/dns"
)

// TestAppendedRecordsAreWhatFilledOnesPackTo compares the two encoders of a Result, in random zones and for names in random case: the same octets,
// the same counts, and a bound on what the library takes the message for.
func TestAppendedRecordsAreWhatFilledOnesPackTo(t *testing.T) {
	rnd := newRandom(t)
	zones, queries := 300, 100
	if testing.Short() {
		zones = 50
	}
	var res Result
	nonEmpty := 0
	for range zones {
		z, s := makeRandomZone(t, rnd)
		for range queries {
			q := z.question()
			qname := mixCase(rnd, q.name)
			name := MustParseName(qname)
			s.Lookup(Question{name, q.typ, q.do}, prefer(q.pref), &res)
			m := new(dns.Msg)
			m.SetQuestion(qname, q.typ)
			head, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			rawName := head[12 : 12+len(name)]
			if err := res.Fill(m, name, qname); err != nil {
				t.Fatal(err)
			}
			want, err := m.Pack()
			if err != nil {
				if res.Kind == YXDomain {
					continue
				}
				t.Fatal(err)
			}
			out, w, ok := res.AppendWire(head, name, rawName, len(want)-len(head))
			if !ok {
				t.Fatalf("%s %d: no room in %d octets", qname, q.typ, len(want)-len(head))
			}
			if int(w.Answer) != len(m.Answer) || int(w.Authority) != len(m.Ns) || int(w.Additional) != len(m.Extra) {
				t.Fatalf("counts %+v of\n%s", w, m)
			}
			if !bytes.Equal(out[12:], want[12:]) {
				t.Fatalf("%s\n% x\nwant\n% x", m, out[12:], want[12:])
			}
			if m.Len() < len(want) || m.Len() > len(want)+w.Excess {
				t.Fatalf("Len is %d, the size %d and the excess %d of\n%s", m.Len(), len(want), w.Excess, m)
			}
			if len(want) == len(head) {
				continue
			}
			nonEmpty++
			if out, _, ok := res.AppendWire(head, name, rawName, len(want)-len(head)-1); ok || !bytes.Equal(out, head) {
				t.Fatalf("%s: it fits in one octet less than it has", qname)
			}
		}
	}
	if nonEmpty < zones*queries/2 {
		t.Errorf("only %d of %d answers have records", nonEmpty, zones*queries)
	}
}

func mixCase(rnd *rand.Rand, name string) string {
	return strings.Map(func(r rune) rune {
		if rnd.IntN(2) == 0 {
			return unicode.ToUpper(r)
		}
		return r
	}, name)
}

func TestAppendingToAMessageWithRoomAllocatesNothing(t *testing.T) {
	s := numbered(t, 1000)
	name := numberedHost(s.Origin(), 7, 0).Owner
	var res Result
	buf, qname := make([]byte, 0, 1500), []byte(name)
	allocs := testing.AllocsPerRun(100, func() {
		s.Lookup(Question{Name: name, Type: dns.TypeA}, nil, &res)
		if _, w, ok := res.AppendWire(buf, name, qname, 1500); !ok || w.Answer != 1 {
			t.Fatal(w, ok)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}
