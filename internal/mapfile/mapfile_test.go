package mapfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/geoip"
	"github.com/popdns/popdns/internal/steer"
)

const goodYAML = `# who goes where
default: &everyone [ams1, iad2]
nets:
  198.51.100.0/24: [iad2, ams1]
  "2001:db8::/32": *everyone
resolver:
  192.0.2.53/32: [ams1]
ecs:
  203.0.113.0/24:
    - sin3
  ::ffff:10.0.0.0/104: [ams1]
`

const goodJSON = `{"ecs": {"203.0.113.0/24": ["sin3"], "10.0.0.0/8": ["ams1"]},
 "default": ["ams1", "iad2"], "resolver": {"192.0.2.53/32": ["ams1"]},
 "nets": {"198.51.100.0/24": ["iad2", "ams1"], "2001:db8::/32": ["ams1", "iad2"]}}`

var goodRows = []string{
	"resolver 192.0.2.53/32 [ams1]", "resolver 198.51.100.0/24 [iad2 ams1]", "resolver 2001:db8::/32 [ams1 iad2]",
	"ecs 10.0.0.0/8 [ams1]", "ecs 198.51.100.0/24 [iad2 ams1]", "ecs 203.0.113.0/24 [sin3]", "ecs 2001:db8::/32 [ams1 iad2]",
}

func rowTexts(m *steer.Map) []string {
	var texts []string
	for r := range m.Rows() {
		texts = append(texts, fmt.Sprint(r.Plane, r.Prefix, " ", r.PoPs))
	}
	for i := range texts {
		texts[i] = strings.Join(strings.Fields(texts[i]), " ")
	}
	return texts
}

func TestMapFileReadsAlikeAsYAMLAndAsJSON(t *testing.T) {
	flow := "{default: [ams1, iad2], nets: {198.51.100.0/24: [iad2, ams1], '2001:db8::/32': [ams1, iad2]}, resolver: {192.0.2.53/32: [ams1]}, " +
		"ecs: {203.0.113.0/24: [sin3], 10.0.0.0/8: [ams1]}}"
	for name, text := range map[string]string{"YAML": goodYAML, "JSON": goodJSON, "JSON with a byte order mark": "\ufeff" + goodJSON, "YAML in braces": flow} {
		m, err := ReadMap(strings.NewReader(text), "edge."+name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := rowTexts(m); !slices.Equal(got, goodRows) || !slices.Equal(m.Default(), []string{"ams1", "iad2"}) {
			t.Errorf("%s: default %v, rows\n%s\nwant\n%s", name, m.Default(), strings.Join(got, "\n"), strings.Join(goodRows, "\n"))
		}
		if !m.HasPlane(steer.ECS) || !m.HasPlane(steer.Resolver) {
			t.Errorf("%s: a plane is missing", name)
		}
	}
}

func TestMapWithNetsOnlyHasBothPlanes(t *testing.T) {
	m, err := ReadMap(strings.NewReader("default: [a]\nnets: {44.0.0.0/8: [b]}\n"), "m.yaml")
	if err != nil || !m.HasPlane(steer.ECS) || !m.HasPlane(steer.Resolver) {
		t.Errorf("%v", err)
	}
	m, err = ReadMap(strings.NewReader("default: [a]\nresolver: {44.0.0.0/8: [b]}\necs:\n"), "m.yaml")
	if err != nil || m.HasPlane(steer.ECS) {
		t.Errorf("an empty ecs section made a plane, or %v", err)
	}
}

// faults are map files with what must be said about them; each expected line is a part of the error's line.
var faults = []struct {
	name, text string
	want       []string
}{
	{"unknown key, near", "default: [a]\nnet:\n  44.0.0.0/8: [b]\n", []string{`m:2: unknown key "net" (did you mean nets?)`}},
	{"unknown key, far", "default: [a]\nfoobar: 1\n", []string{`m:2: unknown key "foobar" (known: default, nets, resolver, ecs, geo)`}},
	{"host bits", "default: [a]\nnets:\n  44.1.2.3/8: [b]\n", []string{"m:3: nets: prefix 44.1.2.3/8 has host bits set: write 44.0.0.0/8"}},
	{"no length", "default: [a]\necs:\n  44.1.2.3: [b]\n", []string{`m:3: ecs: "44.1.2.3" has no length: write 44.1.2.3/32`}},
	{"no prefix", "default: [a]\necs:\n  here: [b]\n", []string{`m:3: ecs: "here" is not a prefix: write`}},
	{"key twice", "default: [a]\nnets: {}\nnets: {}\n", []string{`m:3: key "nets" is in line 2 already`}},
	{"prefix twice", "default: [a]\nnets:\n  44.0.0.0/8: [b]\n  45.0.0.0/8: [b]\n  44.0.0.0/8: [b]\n", []string{"m:5: nets: prefix 44.0.0.0/8 is in line 3 already"}},
	{"prefix in two sections", "default: [a]\nnets:\n  44.0.0.0/8: [b]\necs:\n  44.0.0.0/8: [c]\n", []string{"m:5: ecs: prefix 44.0.0.0/8 is in the ecs plane already with [b], and now with [c]"}},
	{"mapped prefix twice", "default: [a]\nnets:\n  44.0.0.0/8: [b]\n  ::ffff:44.0.0.0/104: [c]\n", []string{"m:4: nets: prefix ::ffff:44.0.0.0/104 is in the resolver plane already"}},
	{"no default", "nets:\n  44.0.0.0/8: [b]\n", []string{`m: no key "default"`}},
	{"default is a word", "default: ams1\n", []string{"m:1: default is a single value: write a list of pops"}},
	{"default is empty", "default:\n", []string{"m:1: default is empty"}},
	{"empty list", "default: []\n", []string{"m:1: default: empty pop list"}},
	{"list of lists", "default: [a]\nnets:\n  44.0.0.0/8: [[b]]\n", []string{"m:3: 44.0.0.0/8: a pop list holds names only"}},
	{"null in a list", "default: [a, ~]\n", []string{"m:1: default: a pop list holds names only"}},
	{"upper case", "default: [AMS1]\n", []string{`m:1: default: pop name "AMS1" is not lower case: write ams1`}},
	{"pop twice", "default: [a, b, a]\n", []string{"m:1: default: pop a is twice in the list"}},
	{"long list", "default: [" + strings.Repeat("a,", 65) + "]\n", []string{"m:1: default: pop list of 65: too large, at most 64"}},
	{"section is a list", "default: [a]\nnets: [b]\n", []string{"m:2: nets is a list: write"}},
	{"file is a list", "- a\n", []string{"m:1: the file is a list"}},
	{"several at once", "defualt: [a]\nnets:\n  1.2.3.4/8: [b]\n  44.0.0.0/8: b\n", []string{
		`m: no key "default"`, `m:1: unknown key "defualt" (did you mean default?)`, "m:3: nets: prefix 1.2.3.4/8 has host bits", "m:4: 44.0.0.0/8 is a single value",
	}},
	{"empty file", "", []string{"m: the file is empty"}},
	{"comments only", "# nothing\n", []string{"m: the file is empty"}},
	{"two documents", "default: [a]\n---\ndefault: [b]\n", []string{"m:2: a second document"}},
	{"broken YAML", "default: [a\nnets: {\n", []string{"m:1: not YAML: did not find expected ',' or ']'"}},
	{"cyclic YAML", "default: &x [*x]\n", []string{"m:1: default: a pop list holds names only"}},
	{"broken JSON", "{\"default\": [\"a\"],\n \"nets\": {\"44.0.0.0/8\" [\"b\"]}}", []string{"m:2: not JSON: "}},
	{"cut JSON", "{\"default\": [\"a\"],\n \"nets\": {\"44.0.0.0/8\":", []string{"m:2: not JSON: \"\" is no value"}},
	{"JSON cut before the default", "{\"nets\": {\n", []string{"m:2: not JSON: the file ends where '\"' is due"}},
	{"text after JSON", "{\"default\": [\"a\"]}\n{}", []string{"m:2: not JSON: text after"}},
	{"JSON unknown key", "{\"default\": [\"a\"],\n\"eccs\": {\"deep\": [[{\"x\": 1}]]},\n\"foo\": 1}", []string{`m:2: unknown key "eccs" (did you mean ecs?)`, `m:3: unknown key "foo"`}},
	{"JSON prefix twice", "{\"default\": [\"a\"],\n\"nets\": {\"44.0.0.0/8\": [\"b\"],\n\"44.0.0.0/8\": [\"b\"]}}", []string{"m:3: nets: prefix 44.0.0.0/8 is in line 2 already"}},
	{"JSON kinds", "{\"default\": {\"a\": 1},\n\"nets\": [\"b\"],\n\"ecs\": 7}", []string{"m:1: default is an object", "m:2: nets is a list", "m:3: ecs is a single value"}},
	{"JSON null list", "{\"default\": null}", []string{"m:1: default is null"}},
}

func TestMapFileErrorsNameLineKeyAndRemedy(t *testing.T) {
	for _, c := range faults {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadMap(strings.NewReader(c.text), "m")
			if _, ok := errors.AsType[*finding.List](err); !ok {
				t.Fatalf("got %v, want *finding.List", err)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(c.want) {
				t.Fatalf("got %d errors, want %d:\n%v", len(lines), len(c.want), err)
			}
			for i, want := range c.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("error %d: %s\nwant %s", i, lines[i], want)
				}
			}
		})
	}
}

func TestManyErrorsAreCountedAndCut(t *testing.T) {
	var b strings.Builder
	b.WriteString("default: [a]\nnets:\n")
	for range 2000 {
		b.WriteString("  x: [b]\n")
	}
	_, err := ReadMap(strings.NewReader(b.String()), "m")
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 51 || lines[50] != "… and 1950 more" {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
}

func TestMapSurvivesWritingAndReading(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	names := []string{"ams1", "no", "null", "123", "-", "1e3", "y", "0x1f", "true", "iad2"}
	for range 300 {
		b := steer.NewMapBuilder("")
		list := func() []string {
			r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			return names[:1+r.IntN(len(names))]
		}
		if err := b.Default(list()); err != nil {
			t.Fatal(err)
		}
		for range r.IntN(20) {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(r.IntN(4)), byte(r.Uint32())}), r.IntN(33)).Masked()
			if r.IntN(2) == 0 {
				p = netip.PrefixFrom(netip.AddrFrom16([16]byte{byte(r.IntN(3)) << 5, byte(r.Uint32()), 15: byte(r.Uint32())}), r.IntN(129)).Masked()
			}
			l := list()
			for _, plane := range []steer.Plane{steer.Resolver, steer.ECS} {
				if r.IntN(3) > 0 && !b.Has(plane, p) {
					if err := b.Add(plane, p, l); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		m, err := b.Build(0)
		if err != nil {
			t.Fatal(err)
		}
		var text, again bytes.Buffer
		if err := WriteMap(&text, m); err != nil {
			t.Fatal(err)
		}
		got, err := ReadMap(bytes.NewReader(text.Bytes()), "m")
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text.String())
		}
		if !slices.Equal(rowTexts(got), rowTexts(m)) || !slices.Equal(got.Default(), m.Default()) {
			t.Fatalf("seed %d: wrote\n%s\nread %v", seed, text.String(), rowTexts(got))
		}
		if err := WriteMap(&again, got); err != nil || again.String() != text.String() {
			t.Fatalf("seed %d: not canonical: %v\n%s\n%s", seed, err, text.String(), again.String())
		}
	}
}

func TestCheckPoPsListsAllUnknownOnesWithTheirLines(t *testing.T) {
	f, err := Read(strings.NewReader("default: [ams1*2, iad2*1]\nnets:\n  44.0.0.0/8: [amss1*7, ams1]\n  45.0.0.0/8: [ams1, nowhere]\n"), "m")
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := f.Map(geoip.Databases{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	pops, err := steer.NewPoPs(1, []steer.PoP{{Name: "ams1"}, {Name: "iad2"}})
	if err != nil {
		t.Fatal(err)
	}
	want := "m:3: pop amss1 is not in the pop table (did you mean ams1?)\nm:4: pop nowhere is not in the pop table (known: ams1, iad2)"
	if err := CheckPoPs(m, pops, f.Positions); err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	if err := CheckPoPs(m, pops.With(steer.PoP{Name: "amss1"}).With(steer.PoP{Name: "nowhere"}), Positions{}); err != nil {
		t.Errorf("all known, yet %v", err)
	}
}

func TestRealMapFileLoads(t *testing.T) {
	path := filepath.Join("..", "..", "..", "shared", "data", "wikimedia_nets.json")
	f, err := os.Open(path)
	if err != nil {
		t.Skipf("real data is not here: %v", err)
	}
	defer f.Close()
	m, err := ReadMap(f, path)
	if err != nil {
		t.Fatal(err)
	}
	if m.Len() != 2*783 {
		t.Errorf("%d rows, want 783 on both planes", m.Len())
	}
}

// bigFile returns a map of n distinct rows as JSON or YAML.
func bigFile(n int, asJSON bool) []byte {
	nets := make(map[string][]string, n)
	for i := range n {
		nets[netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + i>>16), byte(i >> 8), byte(i), 0}), 24).String()] = []string{"ams1", "iad2", "sin3"}
	}
	if asJSON {
		text, err := json.Marshal(map[string]any{"default": []string{"ams1"}, "nets": nets})
		if err != nil {
			panic(err)
		}
		return text
	}
	var b bytes.Buffer
	b.WriteString("default: [ams1]\nnets:\n")
	for p, l := range nets {
		fmt.Fprintf(&b, "  %s: [%s]\n", p, strings.Join(l, ", "))
	}
	return b.Bytes()
}

func BenchmarkReadMap100k(b *testing.B) {
	for _, asJSON := range []bool{true, false} {
		text := bigFile(100_000, asJSON)
		b.Run(map[bool]string{true: "JSON", false: "YAML"}[asJSON], func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if m, err := ReadMap(bytes.NewReader(text), "m"); err != nil || m.Len() != 200_000 {
					b.Fatal(m, err)
				}
			}
		})
	}
}

func FuzzReadMap(f *testing.F) {
	f.Add([]byte(goodYAML))
	f.Add([]byte(goodJSON))
	f.Add([]byte(geoYAML))
	f.Add([]byte(geoJSON))
	for _, c := range faults {
		f.Add([]byte(c.text))
	}
	f.Add([]byte(`{"default": ["\u0061", "b"], "nets": {"1.0.0.0/8": [1, true, null, -1.5e3, {"x": [[]]}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ReadMap(bytes.NewReader(text), "m")
		if isJSON(text) {
			complains := err != nil && (strings.Contains(err.Error(), ": not JSON: ") || strings.Contains(err.Error(), " more errors"))
			if json.Valid(text) == complains && bytes.Count(text, []byte("[")) < maxDepth && bytes.Count(text, []byte("{")) < maxDepth {
				t.Fatalf("%q: valid JSON is %v, and the error %v", text, !complains, err)
			}
		}
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := WriteMap(&out, m); err != nil {
			t.Fatal(err)
		}
		again, err := ReadMap(&out, "m")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(rowTexts(again), rowTexts(m)) || !slices.Equal(again.Default(), m.Default()) {
			t.Fatalf("%v reads back as %v", rowTexts(m), rowTexts(again))
		}
	})
}
