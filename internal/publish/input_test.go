package publish

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"
)

func textSource(text string) Source {
	return Source{Name: "x.zone", Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
}

const head = "@ 60 SOA ns hostmaster 1 3600 600 86400 60\n@ 60 NS ns.example.net.\n"

func TestReadZoneRefusesUnknownPoPsByLineAndFaultsBeforeThat(t *testing.T) {
	pops, err := steer.NewPoPs(1, []steer.PoP{{Name: "ams1"}})
	if err != nil {
		t.Fatal(err)
	}
	unknown := head + "a 60 A 192.0.2.1 ;@ pop=ams1\nb 60 A 192.0.2.1 ;@ pop=asm1\n"
	_, err = ReadZone(textSource(unknown), RFC1035, origin, pops, nil)
	if g, ok := errors.AsType[*GuardError](err); !ok || !strings.HasPrefix(g.Lines, "x.zone:4: ") || strings.Contains(g.Lines, "\n") {
		t.Errorf("unknown PoP: %v, want a refusal that names line 4 only", err)
	}
	if z, err := ReadZone(textSource(unknown), RFC1035, origin, nil, nil); err != nil || z.Len() != 4 {
		t.Errorf("without a table: %v", err)
	}
	_, err = ReadZone(textSource(unknown+"c 60 A 192.0.2.300\n"), RFC1035, origin, pops, nil)
	if faults, ok := errors.AsType[*finding.List](err); !ok || len(faults.Faults) != 2 || refused(err) {
		t.Errorf("unknown PoP and a fault: %v, want both as faults of the file", err)
	}
}

func TestReadZoneReportsAnInputThatCantBeOpened(t *testing.T) {
	closed := Source{Name: "x", Open: func() (io.ReadCloser, error) { return nil, io.ErrClosedPipe }}
	for what, read := range map[string]func() error{
		"zone":    func() error { _, err := ReadZone(closed, RFC1035, origin, nil, nil); return err },
		"tinydns": func() error { _, err := ReadZone(closed, TinyDNS, origin, nil, nil); return err },
		"map":     func() error { _, err := ReadMap(closed, "edge", nil); return err },
		"pops":    func() error { _, err := ReadPoPs(closed, nil); return err },
	} {
		if err := read(); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestReadPoPsKeepsADrainThatTheFileSaysNothingOf(t *testing.T) {
	cur, err := steer.NewPoPs(1, []steer.PoP{
		{Name: "ams1", State: steer.Down, Drain: 30, Services: []steer.Service{{Name: "web", State: steer.Down}}},
		{Name: "iad2", Drain: 30},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadPoPs(textSource("ams1: {capacity: 5}\niad2: {drain: 0}\nsin1: {}\n"), cur)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]steer.PoP{
		"ams1": {Name: "ams1", State: steer.Down, Drain: 30, Capacity: 5, Services: []steer.Service{{Name: "web", State: steer.Down}}}, "iad2": {Name: "iad2"}, "sin1": {Name: "sin1"},
	} {
		if pop, _ := got.Get(name); !pop.Equal(want) {
			t.Errorf("%s: %+v, want %+v", name, pop, want)
		}
	}
}

func TestReadMapNamesTheMapAndRefusesUnknownPoPsByLine(t *testing.T) {
	pops, err := steer.NewPoPs(1, []steer.PoP{{Name: "ams1"}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ReadMap(textSource("default: [ams1]\n"), "edge", pops)
	if err != nil || m.Name() != "edge" {
		t.Errorf("got %v, %v", m, err)
	}
	_, err = ReadMap(textSource("default: [ams1]\nnets: {192.0.2.0/24: [asm1]}\n"), "edge", pops)
	if g, ok := errors.AsType[*GuardError](err); !ok || !strings.HasPrefix(g.Lines, "x.zone:2: ") {
		t.Errorf("unknown PoP: %v, want a refusal that names line 2", err)
	}
}

func TestRecordEditsAreNotHeldUpByWhatIsWrongElsewhere(t *testing.T) {
	s := newStore(t)
	mustPublish(t, s, zoneOfText(t, 1, "old A 192.0.2.1 ;@ pop=gone1", "www A 192.0.2.1"))
	mustApply(t, s, "ams1")
	for pop, wantRefused := range map[string]bool{"": false, "ams1": false, "gone1": true} {
		set, err := ParseRRset(RecordText{Name: "www", TTL: "60", Type: "A", Rdata: []string{"192.0.2.7"}, PoP: pop}, origin)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(s, Options{}).SetRecord(t.Context(), origin, set); refused(err) != wantRefused || err != nil && !wantRefused {
			t.Errorf("set for PoP %q: %v, want refused %v", pop, err, wantRefused)
		}
	}
	if _, err := New(s, Options{}).UnsetRecord(t.Context(), origin, zone.Key{Owner: zone.MustParseName("old.example.org"), Type: 1, PoP: "gone1"}); err != nil {
		t.Errorf("unset: %v", err)
	}
}
