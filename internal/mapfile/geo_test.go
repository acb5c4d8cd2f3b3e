package mapfile

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/geoip"
	"github.com/popdns/popdns/internal/steer"
)

const geoYAML = `default: [ams1]
nets:
  44.0.0.0/8: [iad2]
  44.1.0.0/16: [ams1]
ecs:
  "2001:db8::/32": [iad2]
geo:
  databases: {city: a/city.mmdb, asn: asn.mmdb}
  planes: [ecs]
  asn:
    AS64500: [iad2]
    64501: [ams1*3, iad2*1]
  subdivision: {US-CA: [iad2]}
  country:
    NO: [ams1]
  continent: {NA: [iad2]}
  near: {count: 2, bias: {ams1: -10%, iad2: 5}}
`

const geoJSON = `{"default": ["ams1"], "geo": {
"databases": {"asn": "asn.mmdb", "city": "a/city.mmdb"}, "planes": ["ecs"],
"asn": {"AS64500": ["iad2"], "AS64501": ["ams1*3", "iad2*1"]}, "subdivision": {"US-CA": ["iad2"]},
"country": {"NO": ["ams1"]}, "continent": {"NA": ["iad2"]}, "near": {"bias": {"ams1": -10, "iad2": "5%"}, "count": 2}}}`

func TestGeoSectionIsReadAlikeFromYAMLAndJSON(t *testing.T) {
	rule := func(line int, list ...string) geoip.Rule { return geoip.Rule{List: list, Line: line} }
	want := &geoip.Rules{
		File: "m", CityFile: "a/city.mmdb", ASNFile: "asn.mmdb", Planes: []steer.Plane{steer.ECS},
		ASN:          map[uint32]geoip.Rule{64500: rule(11, "iad2"), 64501: rule(12, "ams1*3", "iad2*1")},
		Subdivisions: map[string]geoip.Rule{"US-CA": rule(13, "iad2")},
		Countries:    map[string]geoip.Rule{"NO": rule(15, "ams1")},
		Continents:   map[string]geoip.Rule{"NA": rule(16, "iad2")},
		Near:         &geoip.Near{Count: 2, Line: 17, Bias: map[string]geoip.Bias{"ams1": {Percent: -10, Line: 17}, "iad2": {Percent: 5, Line: 17}}},
	}
	for _, text := range []string{geoYAML, geoJSON} {
		f, err := Read(strings.NewReader(text), "m")
		if err != nil {
			t.Fatal(err)
		}
		got := f.Geo
		if text == geoJSON { // whose lines are others
			got.Near.Line = 17
			for name, b := range got.Near.Bias {
				got.Near.Bias[name] = geoip.Bias{Percent: b.Percent, Line: 17}
			}
			for _, rules := range []struct{ got, want map[string]geoip.Rule }{
				{got.Subdivisions, want.Subdivisions}, {got.Countries, want.Countries}, {got.Continents, want.Continents},
			} {
				for code, r := range rules.got {
					rules.got[code] = geoip.Rule{List: r.List, Line: rules.want[code].Line}
				}
			}
			for asn, r := range got.ASN {
				got.ASN[asn] = geoip.Rule{List: r.List, Line: want.ASN[asn].Line}
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v\nof %s", got, want, text)
		}
	}
}

func TestCoveringIsTheFilesOwnLongestRow(t *testing.T) {
	f, err := Read(strings.NewReader(geoYAML), "m")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		plane      steer.Plane
		addr, want string
	}{
		{steer.ECS, "44.1.2.3", "44.1.0.0/16"}, {steer.Resolver, "44.2.2.3", "44.0.0.0/8"},
		{steer.ECS, "2001:db8::1", "2001:db8::/32"}, {steer.Resolver, "2001:db8::1", ""}, {steer.ECS, "45.0.0.0", ""},
	} {
		got := ""
		if row, ok := f.Covering(tc.plane, netip.MustParseAddr(tc.addr)); ok {
			got = row.String()
		}
		if got != tc.want {
			t.Errorf("%s in the %s plane: got %q, want %q", tc.addr, tc.plane, got, tc.want)
		}
	}
}

func TestGeoSectionWithoutDatabasesIsRefused(t *testing.T) {
	_, err := ReadMap(strings.NewReader(geoYAML), "m")
	want := "m: geo: there is no database for the rules by place: name a City or Country database\nm: geo: there is no database for the rules by AS number"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	for text, want := range map[string]string{
		"default: [a]\ngeo: {}\n":                    "m:2: geo: there is no rule",
		"default: [a]\ngeo:\n":                       "m:2: geo is empty: write databases",
		"default: [a]\ngeo: {near: 3}\n":             "m:2: near is a single value: write {count: 3} or {}",
		"default: [a]\ngeo: {country: [NL]}\n":       "m:2: geo: country is a list: write `CODE: [POP, ...]` lines",
		"default: [a]\ngeo: {country: {NL: ams1}}\n": "m:2: country NL is a single value: write a list of pops",
	} {
		if _, err := Read(strings.NewReader(text), "m"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}
