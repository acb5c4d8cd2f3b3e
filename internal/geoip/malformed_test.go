package geoip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/geoip/geoiptest"
	"github.com/popdns/popdns/internal/steer"
)

var testPoPs = func() *steer.PoPs {
	pops, err := steer.NewPoPs(1, []steer.PoP{{Name: "ams1", Lat: 52.3, Lon: 4.9}, {Name: "iad2", Lat: 38.9, Lon: -77.4}})
	if err != nil {
		panic(err)
	}
	return pops
}()

// compile is the whole way of a file's bytes, as City or as ASN database.
func compile(file string, data []byte, rules Rules) (*steer.Map, *Compiled, error) {
	db, err := Parse(file, data)
	if err != nil {
		return nil, nil, err
	}
	b := steer.NewMapBuilder("")
	if err := b.Default([]string{"ams1"}); err != nil {
		return nil, nil, err
	}
	c, err := rules.Compile(b, Databases{City: db, ASN: db}, testPoPs)
	if err != nil {
		return nil, nil, err
	}
	m, err := b.Build(1)
	return m, c, err
}

var (
	nearRules = Rules{Near: &Near{Count: 2}, Countries: map[string]Rule{"NL": {List: []string{"ams1"}}}}
	asnRules  = Rules{ASN: map[uint32]Rule{64500: {List: []string{"iad2"}}}}
)

func smallCity(tb testing.TB) *geoiptest.Writer {
	tb.Helper()
	w := geoiptest.New("GeoLite2-City")
	w.Add(tb, "44.1.0.0/16", geoiptest.Place{Continent: "EU", Country: "NL", City: "Amsterdam", Lat: 52.37, Lon: 4.89, Radius: 20}.Record())
	w.Add(tb, "44.2.0.0/15", geoiptest.Place{Continent: "NA", Country: "US", Subdivisions: []string{"VA"}, City: "Ashburn", Lat: 39, Lon: -77.5, Radius: 50}.Record())
	w.Add(tb, "2001:db8::/32", geoiptest.Place{Continent: "EU", Country: "DE", Lat: 51, Lon: 9, Radius: 200}.Record())
	w.Alias("2002::/16")
	return w
}

// mustNameFile fails unless a refusal names the file.
func mustNameFile(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil && !strings.Contains(err.Error(), "broken.mmdb") {
		t.Fatalf("%s: the error does not name the file: %v", what, err)
	}
}

func TestTruncatedOrDamagedDatabasesAreRefusedByNameOrCompile(t *testing.T) {
	city := smallCity(t).Bytes()
	asn := geoiptest.New("GeoLite2-ASN")
	asn.Add(t, "44.1.0.0/16", geoiptest.ASN(64500))
	r := rand.New(rand.NewPCG(7, 7))
	for _, whole := range []struct {
		data  []byte
		rules Rules
	}{{city, nearRules}, {asn.Bytes(), asnRules}} {
		refused := 0
		for n := range len(whole.data) {
			_, _, err := compile("broken.mmdb", whole.data[:n], whole.rules)
			if err == nil && n < len(whole.data)-64 {
				t.Errorf("%d of %d bytes were taken for a database", n, len(whole.data))
			}
			mustNameFile(t, "truncated", err)
		}
		for range 4000 {
			data := bytes.Clone(whole.data)
			for range 1 + r.IntN(3) {
				data[r.IntN(len(data))] ^= 1 << r.IntN(8)
			}
			_, _, err := compile("broken.mmdb", data, whole.rules)
			if err != nil {
				refused++
			}
			mustNameFile(t, "flipped bits", err)
		}
		if refused == 0 {
			t.Error("no damage was noticed at all")
		}
	}
}

// tree is a database of a search tree alone, whose edges are given.
func tree(tb testing.TB, edges func(node, count int) [2]uint32, count int) []byte {
	tb.Helper()
	w := geoiptest.New("GeoLite2-City")
	w.Add(tb, "::/1", geoiptest.Place{Country: "NL", Lat: 1, Lon: 1}.Record())
	data := w.Bytes() // one node, a separator, the record, the metadata
	var nodes []byte
	for i := range count {
		e := edges(i, count)
		nodes = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nodes, e[0]), e[1])
	}
	data = append(nodes, data[8:]...)
	at := bytes.LastIndex(data, []byte("node_count")) + len("node_count")
	rest := data[at+2:] // the control octet of a number of one octet, and that
	return append(append(bytes.Clone(data[:at]), 0xc2, byte(count>>8), byte(count)), rest...)
}

func TestTreesWithCyclesEnd(t *testing.T) {
	for _, tc := range []struct {
		what  string
		count int
		edges func(node, count int) [2]uint32
	}{
		{"a node that is its own child", 2, func(node, _ int) [2]uint32 { return [2]uint32{uint32(node), uint32(node)} }},
		{"one side leads back", 300, func(node, count int) [2]uint32 { return [2]uint32{uint32((node + 1) % count), uint32(count)} }},
		{"both sides lead to the same node, 2^120 ways", 120, func(node, _ int) [2]uint32 {
			return [2]uint32{uint32(node + 1), uint32(node + 1)}
		}},
		{"the same, with a record in the end", 127, func(node, count int) [2]uint32 {
			if node == count-1 {
				return [2]uint32{uint32(count + 16), uint32(count + 16)}
			}
			return [2]uint32{uint32(node + 1), uint32(node + 1)}
		}},
	} {
		done := make(chan error, 1)
		go func() {
			_, _, err := compile("broken.mmdb", tree(t, tc.edges, tc.count), nearRules)
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), "search tree") {
				t.Errorf("%s: got %v, want an error about the search tree", tc.what, err)
			}
			mustNameFile(t, tc.what, err)
		case <-time.After(time.Minute):
			t.Fatalf("%s: still walking", tc.what)
		}
	}
}

func TestRulesThatDoNotSuitTheDatabaseAreRefused(t *testing.T) {
	country := geoiptest.New("GeoLite2-Country")
	country.Add(t, "44.0.0.0/8", geoiptest.Place{Continent: "EU", Country: "NL"}.Record())
	flat := geoiptest.New("ipinfo")
	flat.Add(t, "44.0.0.0/8", map[string]any{"country": "NL"})
	nowhere := geoiptest.New("GeoLite2-City")
	nowhere.Add(t, "44.0.0.0/8", geoiptest.Place{Country: "NL", City: "X", Lat: 91, Lon: 1}.Record())
	list := Rule{List: []string{"ams1"}, Line: 7}
	for _, tc := range []struct {
		what  string
		db    *geoiptest.Writer
		rules Rules
		want  string
	}{
		{"near without coordinates", country, Rules{File: "m.yaml", Near: &Near{Count: 1, Line: 3}}, "m.yaml:3: near: broken.mmdb (GeoLite2-Country of 2025-11-20) has no coordinates: name a City database"},
		{"subdivision without any", country, Rules{File: "m.yaml", Subdivisions: map[string]Rule{"NL-NH": list}}, "m.yaml:7: subdivision NL-NH: broken.mmdb (GeoLite2-Country of 2025-11-20) has no subdivisions"},
		{"unknown subdivision", smallCity(t), Rules{File: "m.yaml", Subdivisions: map[string]Rule{"US-VX": list}}, "m.yaml:7: subdivision US-VX: no network of broken.mmdb (GeoLite2-City of 2025-11-20) lies there (did you mean US-VA?)"},
		{"asn of a city database", smallCity(t), asnRules, "has no AS numbers: name an ASN or ISP database"},
		{"another layout", flat, nearRules, "broken.mmdb: network 44.0.0.0/8: its record is not laid out as in a GeoIP2 database"},
		{"a place off the globe", nowhere, nearRules, "broken.mmdb: network 44.0.0.0/8: latitude 91, longitude 1 is no place"},
		{"bias of an unknown pop", smallCity(t), Rules{File: "m.yaml", Near: &Near{Count: 1, Bias: map[string]Bias{"amz1": {10, 4}}}}, "m.yaml:4: near: bias of pop amz1, which is not in the pop table (did you mean ams1?)"},
		{"bias beyond", smallCity(t), Rules{File: "m.yaml", Near: &Near{Count: 1, Bias: map[string]Bias{"ams1": {-100, 4}}}}, "m.yaml:4: near: bias -100% of pop ams1 is outside -99..99"},
		{"count beyond", smallCity(t), Rules{File: "m.yaml", Near: &Near{Count: 65, Line: 2}}, "m.yaml:2: near: count 65 is outside 1..64"},
	} {
		_, _, err := compile("broken.mmdb", tc.db.Bytes(), tc.rules)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.what, err, tc.want)
		}
		var list *finding.List
		if strings.HasPrefix(tc.want, "m.yaml") && !errors.As(err, &list) {
			t.Errorf("%s: %T is no list of findings", tc.what, err)
		}
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{dir, filepath.Join(dir, "missing.mmdb")} {
		if _, err := Open(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got %v, want an error that names it", file, err)
		}
	}
	empty := filepath.Join(dir, "empty.mmdb")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(empty); err == nil || !strings.Contains(err.Error(), empty+": not in MaxMind's format, or cut off") {
		t.Errorf("an empty file: got %v", err)
	}
}

// TestRealDatabasesCompile reads the databases that come with CoreDNS, which MaxMind's own writer made.
func TestRealDatabasesCompile(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/coredns/coredns").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "plugin", "geoip", "testdata")
	for file, rules := range map[string]Rules{
		"GeoLite2-City.mmdb": {Near: &Near{Count: 2}},
		"GeoLite2-ASN.mmdb":  {ASN: map[uint32]Rule{1: {List: []string{"iad2"}}}},
	} {
		db, err := Open(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		b := steer.NewMapBuilder("")
		c, err := rules.Compile(b, Databases{City: db, ASN: db}, testPoPs)
		if err != nil {
			t.Fatal(err)
		}
		if c.Networks == 0 {
			t.Errorf("%s: no networks", file)
		}
		t.Logf("%s: %d networks, %d rows, %v", db, c.Networks, c.Rows, c.Warnings)
	}
}

func FuzzCompile(f *testing.F) {
	asn := geoiptest.New("GeoLite2-ASN")
	asn.Add(f, "44.1.0.0/16", geoiptest.ASN(64500))
	f.Add(smallCity(f).Bytes(), false)
	f.Add(asn.Bytes(), true)
	f.Fuzz(func(t *testing.T, data []byte, byASN bool) {
		rules := nearRules
		if byASN {
			rules = asnRules
		}
		if len(data) > 1<<16 {
			return
		}
		m, _, err := compile("broken.mmdb", data, rules)
		mustNameFile(t, "fuzzed", err)
		if err == nil && m.Len() > 2*len(data)+1000 { // a network around what carries IPv4 is a hundred rows
			t.Errorf("%d rows of %d bytes", m.Len(), len(data))
		}
	})
}
