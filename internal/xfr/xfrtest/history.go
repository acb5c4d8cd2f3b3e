package xfrtest

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"

	"github.com/miekg/dns"
)

// Origin is the zone of a History.
const Origin = "example.org."

// A History is a zone with steered names that changes at random.
type History struct {
	rnd      *rand.Rand
	variants map[variantKey]variant
}

type variantKey struct{ owner, typ, pop string }

type variant struct {
	ttl   int
	rdata []string
}

var (
	historyPoPs  = []string{"", "ams1", "iad2"}
	historyTypes = []string{"A", "AAAA", "TXT", "MX"}
)

// NewHistory makes the first version; the seed is logged.
func NewHistory(tb testing.TB) *History {
	tb.Helper()
	seed := rand.Uint64() //nolint:gosec // a test's
	tb.Logf("seed %d", seed)
	h := &History{rnd: rand.New(rand.NewPCG(seed, 0)), variants: map[variantKey]variant{}} //nolint:gosec // a test's
	for range 20 {
		h.change()
	}
	return h
}

// Rand is the history's source of randomness, for the other choices of the test.
func (h *History) Rand() *rand.Rand { return h.rnd }

// Step makes the next version, which differs from the one before.
func (h *History) Step() {
	for was := h.text(); h.text() == was; {
		for range 1 + h.rnd.IntN(3) {
			h.change()
		}
	}
}

// change sets or removes one variant. Hosts with an even number are CNAMEs.
func (h *History) change() {
	host := h.rnd.IntN(12)
	k := variantKey{fmt.Sprintf("h%d.d%d", host, host%3), "CNAME", historyPoPs[h.rnd.IntN(len(historyPoPs))]}
	if host%2 == 1 {
		k.typ = historyTypes[h.rnd.IntN(len(historyTypes))]
	}
	if h.rnd.IntN(4) == 0 {
		delete(h.variants, k)
		return
	}
	v := variant{ttl: 60 * (1 + h.rnd.IntN(3))}
	for _, i := range h.rnd.Perm(4)[:1+h.rnd.IntN(3)] {
		v.rdata = append(v.rdata, rdataOf(k.typ, i))
		if k.typ == "CNAME" {
			break
		}
	}
	slices.Sort(v.rdata)
	h.variants[k] = v
}

func rdataOf(typ string, i int) string {
	switch typ {
	case "A":
		return fmt.Sprintf("192.0.2.%d", i)
	case "AAAA":
		return fmt.Sprintf("2001:db8::%d", i+1)
	case "MX":
		return fmt.Sprintf("%d mail%d.example.org.", i, i)
	case "TXT":
		return fmt.Sprintf("\"text %d\"", i)
	}
	return fmt.Sprintf("target%d.example.net.", i)
}

const apexText = "example.org. 60 IN SOA ns.example.org. hostmaster.example.org. %d 7200 900 1209600 60\n" +
	"example.org. 60 IN NS ns.example.org.\nns.example.org. 60 IN A 192.0.2.53\n"

// text is the zone file without its apex.
func (h *History) text() string {
	var b strings.Builder
	for _, k := range slices.SortedFunc(maps.Keys(h.variants), compareKeys) {
		for _, rd := range h.variants[k].rdata {
			fmt.Fprintf(&b, "%s.%s %d IN %s %s", k.owner, Origin, h.variants[k].ttl, k.typ, rd)
			if k.pop != "" {
				fmt.Fprintf(&b, " ;@ pop=%s", k.pop)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func compareKeys(a, b variantKey) int {
	return cmp.Or(cmp.Compare(a.owner, b.owner), cmp.Compare(a.typ, b.typ), cmp.Compare(a.pop, b.pop))
}

// Snapshot is the present version with the serial.
func (h *History) Snapshot(tb testing.TB, serial uint32) *zone.Snapshot {
	tb.Helper()
	s, err := zonefile.Read(strings.NewReader(fmt.Sprintf(apexText, serial)+h.text()), "history.zone", zone.MustParseName(Origin))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Exported is what a secondary must hold of the present version under the serial: the records of all variants at the lowest TTL among them, but
// of a CNAME those of the default variant, or else of the first PoP.
func (h *History) Exported(tb testing.TB, serial uint32) map[string]bool {
	tb.Helper()
	out := map[string]bool{}
	add := func(text string) {
		rr, err := dns.NewRR(text)
		if err != nil {
			tb.Fatal(err)
		}
		out[rr.String()] = true
	}
	for text := range strings.Lines(fmt.Sprintf(apexText, serial)) {
		add(text)
	}
	first := map[string]bool{} // owners whose CNAME was taken
	for _, k := range slices.SortedFunc(maps.Keys(h.variants), compareKeys) {
		if k.typ == "CNAME" && first[k.owner] {
			continue
		}
		first[k.owner] = true
		ttl := h.variants[k].ttl
		for _, pop := range historyPoPs {
			if v, ok := h.variants[variantKey{k.owner, k.typ, pop}]; ok && k.typ != "CNAME" {
				ttl = min(ttl, v.ttl)
			}
		}
		for _, rd := range h.variants[k].rdata {
			add(fmt.Sprintf("%s.%s %d IN %s %s", k.owner, Origin, ttl, k.typ, rd))
		}
	}
	return out
}
