package publish

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/explain"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

// explainStore has a map, three PoPs of which iad2 is down, and a zone.
func explainStore(t *testing.T) store.Store {
	t.Helper()
	s := newStore(t)
	mustApply(t, s, "ams1", "iad2", "sin1")
	p := New(s, Options{})
	if _, err := p.SetPoPState(t.Context(), "iad2", steer.Down); err != nil {
		t.Fatal(err)
	}
	m := mapOfText(t, "edge", `
default: [ams1, iad2, sin1]
resolver: {203.0.113.0/24: [sin1, ams1]}
ecs: {198.51.100.0/24: [iad2, sin1, ams1], "2001:db8::/32": [iad2]}`)
	if _, err := p.PublishMap(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, s, zoneOfText(t, 7,
		"www A 192.0.2.1 ;@ pop=ams1", "www A 192.0.2.2 ;@ pop=iad2", "www A 192.0.2.9",
		"only A 192.0.2.2 ;@ pop=iad2",
		"plain A 192.0.2.7", "alias CNAME www"))
	return s
}

func TestExplainFollowsTheMapAndThePoPTable(t *testing.T) {
	s := explainStore(t)
	type want struct {
		plane, block string
		scope        int
		pops, chosen string
		passed       string
		answer       string // records; "" without a name
		variant      string
		answerScope  int
	}
	for _, tt := range []struct {
		q    ExplainText
		want want
	}{
		{ExplainText{Address: "203.0.113.7"}, want{"resolver", "203.0.113.0/24", 0, "sin1 ams1", "sin1", "", "", "", 0}},
		{ExplainText{Address: "203.0.113.7", ECS: "198.51.100.77"}, want{"ecs", "198.51.100.0/24", 24, "iad2 sin1 ams1", "sin1", "iad2: down", "", "", 0}},
		{ExplainText{Address: "203.0.113.7", ECS: "198.51.100.0/20", Name: "www.example.org"}, want{"resolver", "198.51.96.0/22", 22, "sin1 ams1", "ams1", "sin1: no variant", "www.example.org. 60 IN A 192.0.2.1", "ams1", 22}},
		{ExplainText{Address: "203.0.113.7", ECS: "2001:db8:1::/48", Name: "www.example.org."}, want{"ecs", "2001:db8::/32", 32, "iad2", "", "iad2: down", "www.example.org. 60 IN A 192.0.2.9", "", 32}},
		{ExplainText{Address: "203.0.113.7", ECS: "2001:db8:1::/48", Name: "only.example.org"}, want{"ecs", "2001:db8::/32", 32, "iad2", "", "iad2: down", "only.example.org. 60 IN A 192.0.2.2", "iad2", 32}},
		{ExplainText{Address: "203.0.113.7", ECS: "198.51.100.0/24", Name: "plain.example.org"}, want{"ecs", "198.51.100.0/24", 24, "iad2 sin1 ams1", "", "", "plain.example.org. 60 IN A 192.0.2.7", "", 0}},
		{ExplainText{Address: "203.0.113.7", ECS: "198.51.100.0/24", Name: "alias.example.org"}, want{"ecs", "198.51.100.0/24", 24, "iad2 sin1 ams1", "ams1", "iad2: down; sin1: no variant", "alias.example.org. 60 IN CNAME www.example.org.; www.example.org. 60 IN A 192.0.2.1", "ams1", 24}},
	} {
		tt.q.Map, tt.q.Type = "edge", "A"
		q, err := tt.q.Parse()
		if err != nil {
			t.Fatal(err)
		}
		e, err := Explain(t.Context(), s, q)
		if err != nil {
			t.Fatalf("%+v: %v", tt.q, err)
		}
		got := want{plane: e.Plane, block: e.Block, scope: e.Scope, pops: strings.Join(e.PoPs, " "), chosen: e.Chosen}
		for i, p := range e.Passed {
			if i > 0 {
				got.passed += "; "
			}
			got.passed += p.PoP + ": " + p.Why
		}
		if e.Answer != nil {
			got.answer, got.variant, got.answerScope = strings.Join(e.Answer.Records, "; "), e.Answer.Variant, e.Answer.Scope
		}
		if got != tt.want {
			t.Errorf("%+v:\n got %+v\nwant %+v", tt.q, got, tt.want)
		}
	}
}

func TestExplainLooksInTheLongestPublishedZone(t *testing.T) {
	s := explainStore(t)
	z := zoneOfText(t, 1)
	b := zone.NewBuilder(zone.MustParseName("sub.example.org"))
	for set := range z.RRsets() {
		set.Owner = zone.MustParseName("sub.example.org")
		if err := b.Add(set); err != nil {
			t.Fatal(err)
		}
	}
	sub, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	mustPublish(t, s, sub)
	for name, want := range map[string]string{"a.sub.example.org": "sub.example.org.", "sub.example.org": "sub.example.org.", "xsub.example.org": "example.org."} {
		q, err := ExplainText{Map: "edge", Address: "192.0.2.1", Name: name, Type: "A"}.Parse()
		if err != nil {
			t.Fatal(err)
		}
		e, err := Explain(t.Context(), s, q)
		if err != nil || e.Answer.Zone != want {
			t.Errorf("%s: %+v, %v, want zone %s", name, e, err, want)
		}
	}
	q := ExplainQuestion{Question: explain.Question{Map: "edge", Name: zone.MustParseName("example.net"), Type: 1}}
	if _, err := Explain(t.Context(), s, q); !errors.Is(err, dataset.ErrNoDataset) || !strings.Contains(err.Error(), "no published zone holds example.net.") {
		t.Errorf("no zone: %v", err)
	}
}

func TestExplainNotesAnotherMapAndAMissingPoPTable(t *testing.T) {
	s := newStore(t)
	if _, err := New(s, Options{}).PublishMap(t.Context(), mapOfText(t, "edge", "default: [ams1]")); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, s, zoneOfText(t, 1, "www A 192.0.2.1 ;@ pop=ams1 map=asia"))
	q, err := ExplainText{Map: "edge", Address: "192.0.2.1", Name: "www.example.org", Type: "A"}.Parse()
	if err != nil {
		t.Fatal(err)
	}
	e, err := Explain(t.Context(), s, q)
	want := []string{"there is no PoP table: every PoP counts as up", "www.example.org. is steered by map asia, not edge"}
	if err != nil || !slices.Equal(e.Notes, want) {
		t.Errorf("got %q, %v, want %q", e.Notes, err, want)
	}
}

func TestExplainTextNamesWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		text ExplainText
		want string
	}{
		{ExplainText{Address: "192.0.2.0/24"}, `address "192.0.2.0/24" is not an IP address, like 192.0.2.1 (a client subnet goes to --ecs)`},
		{ExplainText{Address: "fe80::1%eth0"}, `address "fe80::1%eth0" is not an IP address, like 192.0.2.1 (a client subnet goes to --ecs)`},
		{ExplainText{Address: "192.0.2.1", ECS: "192.0.2.0/33"}, `client subnet "192.0.2.0/33" is not a prefix, like 198.51.100.0/24 or 2001:db8::/56`},
		{ExplainText{Address: "192.0.2.1", Name: "www.example.org", Type: "AA"}, `unknown record type "AA": write A, AAAA, TXT, … or TYPE followed by its number`},
	} {
		if _, err := tt.text.Parse(); err == nil || err.Error() != tt.want {
			t.Errorf("%+v: got %v, want %s", tt.text, err, tt.want)
		}
	}
}
