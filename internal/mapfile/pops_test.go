package mapfile

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/steer"
)

func TestPoPFileReadsAlikeAsYAMLAndAsJSON(t *testing.T) {
	want := []steer.PoP{
		{Name: "ams1", Lat: 52.3, Lon: 4.9, Drain: 30, Capacity: 100},
		{Name: "iad2", Lat: 38.9, Lon: -77.4, State: steer.Down},
		{Name: "sin3", Services: []steer.Service{{Name: "mail", State: steer.Down}, {Name: "web", Drain: 30}}},
	}
	for name, text := range map[string]string{
		"YAML": "ams1:\n  lat: 52.3\n  lon: 4.9\n  state: up\n  drain: 30%\n  capacity: 100\niad2: {lat: 38.9, lon: -77.4, state: down}\nsin3: {services: {web: {drain: 30%}, ftp: {state: up}, mail: {state: down}}}\n",
		"JSON": `{"sin3": {"services": {"mail": {"state": "down"}, "web": {"drain": 30}}}, "iad2": {"lat": 38.9, "lon": -77.4, "state": "down"}, "ams1": {"lat": 52.3, "lon": 4.9, "drain": 30, "capacity": 100}}`,
	} {
		table, err := ReadPoPs(strings.NewReader(text), "pops")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := slices.Collect(table.All()); !slices.EqualFunc(got, want, steer.PoP.Equal) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		var out bytes.Buffer
		if err := WritePoPs(&out, table); err != nil {
			t.Fatal(err)
		}
		again, err := ReadPoPs(&out, "pops")
		if err != nil || !slices.EqualFunc(slices.Collect(again.All()), want, steer.PoP.Equal) {
			t.Errorf("%s: does not survive writing: %v", name, err)
		}
	}
}

func TestPoPFileErrorsNameLineKeyAndRemedy(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "ams1:\n  lat: 1\n  lon: 1\n  sate: up\n", `p:4: pop ams1: unknown key "sate" (did you mean state?)`},
		{"unknown key of a service", "ams1:\n  services:\n    web: {lat: 5}\n", `p:3: pop ams1: service web: write state: up or down, and drain: PERCENT, not "lat"`},
		{"service's name", "ams1:\n  services:\n    We b: {drain: 5}\n", `p:3: pop ams1: service "We b": use 1 to 63`},
		{"service's drain", "ams1:\n  services: {web: {drain: 500}}\n", "p:1: pop ams1: service web: drain 500 is outside 0..100"},
		{"service's state", "ams1: {services: {web: {state: off}}}\n", `p:1: pop ams1: service web: state: unknown state "off"`},
		{"services as a list", "ams1: {services: [web]}\n", "p:1: pop ams1: services is a list: write {NAME: {state: down}}"},
		{"unknown state", "ams1: {state: dwn}\n", `p:1: pop ams1: state: unknown state "dwn": write up or down (did you mean down?)`},
		{"latitude", "a:\nams1: {lat: 91, lon: 0}\n", "p:2: pop ams1: lat 91 is outside -90..90"},
		{"half a position", "ams1: {lat: 52}\n", "p:1: pop ams1: lat and lon go together"},
		{"no number", "ams1: {lat: north, lon: 0}\n", `p:1: pop ams1: lat: "north" is not a number of degrees`},
		{"NaN", "ams1: {lat: NaN, lon: 0}\n", "p:1: pop ams1: lat NaN is outside"},
		{"drain", "ams1: {drain: 101}\n", "p:1: pop ams1: drain 101 is outside 0..100"},
		{"drain of half a percent", "ams1: {drain: 0.5}\n", `p:1: pop ams1: drain: "0.5" is not a whole number of percent`},
		{"capacity", "ams1: {capacity: lots}\n", `p:1: pop ams1: capacity: "lots" is not a whole number`},
		{"huge capacity", "ams1: {capacity: 99999999999999999999}\n", "p:1: pop ams1: capacity: 99999999999999999999 is too large"},
		{"name", "AMS1: {state: up}\n", `p:1: pop name "AMS1" is not lower case: write ams1`},
		{"twice", "ams1: {}\nams1: {}\n", "p:2: pop ams1 is in line 1 already"},
		{"key twice", "ams1: {drain: 1, drain: 2}\n", `p:1: pop ams1: key "drain" is in line 1 already`},
		{"a list", "- ams1\n", "p:1: the file is a list"},
		{"pop is a word", "ams1: up\n", "p:1: pop ams1 is a single value"},
		{"state is a list", "ams1: {state: [up]}\n", "p:1: pop ams1: state needs a single value"},
		{"JSON", "{\n\"ams1\": {\"drain\": 1.5}}", `p:2: pop ams1: drain: "1.5" is not a whole number of percent`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadPoPs(strings.NewReader(c.text), "p")
			var errs *finding.List
			if !errors.As(err, &errs) || len(errs.Faults) != 1 || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestPoPFileOverATableKeepsStatesThatItLeavesOut(t *testing.T) {
	current, err := steer.NewPoPs(4, []steer.PoP{
		{Name: "ams1", Lat: 1, Lon: 1, Drain: 30, Capacity: 5}, {Name: "iad2", State: steer.Down}, {Name: "sin3", State: steer.Down, Drain: 10}, {Name: "gone"},
	})
	if err != nil {
		t.Fatal(err)
	}
	table, err := ReadPoPsOver(strings.NewReader("ams1: {capacity: 9}\niad2:\nsin3: {state: up, drain: 0}\nnew:\n"), "p", current)
	if err != nil {
		t.Fatal(err)
	}
	want := []steer.PoP{{Name: "ams1", Drain: 30, Capacity: 9}, {Name: "iad2", State: steer.Down}, {Name: "new"}, {Name: "sin3"}}
	if got := slices.Collect(table.All()); !slices.EqualFunc(got, want, steer.PoP.Equal) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestEmptyPoPTableIsWrittenReadable(t *testing.T) {
	var out bytes.Buffer
	if err := WritePoPs(&out, nil); err != nil {
		t.Fatal(err)
	}
	if table, err := ReadPoPs(&out, "p"); err != nil || table.Len() != 0 {
		t.Errorf("%v", err)
	}
}

func FuzzReadPoPs(f *testing.F) {
	f.Add([]byte("ams1: {lat: 52.3, lon: 4.9, state: up, drain: 30, capacity: 100}\n"))
	f.Add([]byte("ams1: {services: {web: {state: down}, mail: {drain: 5}}}\n"))
	f.Add([]byte(`{"ams1": {"lat": -1e1, "lon": 0, "state": "down"}, "null": null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := ReadPoPs(bytes.NewReader(text), "p")
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := WritePoPs(&out, table); err != nil {
			t.Fatal(err)
		}
		written := out.String()
		again, err := ReadPoPs(&out, "p")
		if err != nil || !slices.EqualFunc(slices.Collect(again.All()), slices.Collect(table.All()), steer.PoP.Equal) {
			t.Fatalf("%q does not survive: %v\n%s", text, err, written)
		}
	})
}
