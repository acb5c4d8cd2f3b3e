package freshness

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/edge/edgetest"

	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"

	"github.com/miekg/dns"
)

const testZone = "$ORIGIN example.org.\n@ 60 IN SOA ns h 7 2 3 4 5\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53\n"

func newFreshness(t *testing.T) (*Freshness, *edgetest.Store) {
	t.Helper()
	st := edgetest.New(t)
	st.Zone(t, "example.org.", testZone)
	p := st.Follow(t, "example.org.")
	f := &Freshness{label: defaultLabel, now: time.Now, source: p.Source, Next: test.ErrorHandler()}
	if err := f.bind(p); err != nil {
		t.Fatal(err)
	}
	return f, st
}

func askFreshness(t *testing.T, f *Freshness, name string, qtype uint16) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	rec := dnstest.NewRecorder(&test.ResponseWriter{})
	if _, err := f.ServeDNS(t.Context(), rec, q); err != nil {
		t.Fatal(err)
	}
	return rec.Msg
}

func txt(t *testing.T, m *dns.Msg) []string {
	t.Helper()
	if len(m.Answer) != 1 || m.Answer[0].Header().Ttl != 0 || !m.Authoritative {
		t.Fatalf("want one authoritative TXT with TTL 0, got\n%s", m)
	}
	return m.Answer[0].(*dns.TXT).Txt
}

func TestSourceTimeIsTheCommitsUntilThereIsAPulse(t *testing.T) {
	f, st := newFreshness(t)
	strings := txt(t, askFreshness(t, f, "_freshness.example.org.", dns.TypeTXT))
	unix, err := strconv.ParseInt(strings[0], 10, 64)
	if age := time.Since(time.Unix(unix, 0)); err != nil || age < -2*time.Second || age > 30*time.Second {
		t.Errorf("without a heartbeat the source time is %s old (error %v), want that of the commit a moment ago: %q", age, err, strings)
	}
	for _, want := range []string{"serial=7", "state=live", "source=commit"} {
		if !slices.Contains(strings, want) {
			t.Errorf("%q lacks %s", strings, want)
		}
	}

	stamp := time.Now().Add(-90 * time.Second).Truncate(time.Second)
	if err := dataset.Stamp(t.Context(), st, stamp, "test"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		strings = txt(t, askFreshness(t, f, "_FRESHNESS.example.org.", dns.TypeTXT))
		if strings[0] == strconv.FormatInt(stamp.Unix(), 10) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the heartbeat of %d never showed: %q", stamp.Unix(), strings)
		}
	}
	if !slices.Contains(strings, "source=heartbeat") || !slices.ContainsFunc(strings, hasAge(90, 100)) {
		t.Errorf("after a heartbeat stamped 90 s ago: %q", strings)
	}
}

func hasAge(from, to int) func(string) bool {
	return func(s string) bool {
		n, err := strconv.Atoi(strings.TrimPrefix(s, "age="))
		return strings.HasPrefix(s, "age=") && err == nil && n >= from && n <= to
	}
}

func TestMapsAndPoPTableHaveALineEach(t *testing.T) {
	f, st := newFreshness(t)
	st.PoPs(t, "ams1: {lat: 52, lon: 4}\n")
	st.Map(t, "edge", "default: [ams1]\n")
	if err := f.source.FollowMap("edge").Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.source.PoPs().Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := txt(t, askFreshness(t, f, "_freshness.example.org.", dns.TypeTXT))
	for _, prefix := range []string{"map=edge serial=1 published=", "pops serial=1 published="} {
		if !slices.ContainsFunc(lines, func(s string) bool { return strings.HasPrefix(s, prefix) }) {
			t.Errorf("%q has no string that begins with %q", lines, prefix)
		}
	}
}

func TestOtherTypesGetNoDataAndOtherNamesPass(t *testing.T) {
	f, _ := newFreshness(t)
	m := askFreshness(t, f, "_freshness.example.org.", dns.TypeA)
	if m.Rcode != dns.RcodeSuccess || len(m.Answer) != 0 || len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != dns.TypeSOA {
		t.Errorf("A: want NODATA with the SOA, got\n%s", m)
	}
	if m := askFreshness(t, f, "www.example.org.", dns.TypeTXT); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("another name is not passed to the next plugin:\n%s", m)
	}
}
