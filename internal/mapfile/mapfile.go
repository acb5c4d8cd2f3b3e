// Package mapfile reads and writes map files and PoP files, the human forms of package steer's values, as YAML or JSON.
//
// A map file names PoPs in order of preference, for everybody and per prefix:
//
//	default: [ams1, iad2]
//	nets:                          # both planes
//	  198.51.100.0/24: [iad2, ams1]
//	resolver:                      # by the resolver's address only
//	  192.0.2.53/32: [ams1]
//	ecs:                           # by EDNS Client Subnet only
//	  2001:db8::/32: [iad2]
//	geo:                           # of all other networks, by MaxMind databases: see geo.go
//	  databases: {city: GeoLite2-City.mmdb}
//	  near: {count: 3}
//
// A PoP file maps names to what is known of each site:
//
//	ams1: {lat: 52.3, lon: 4.9, state: up, drain: 30, capacity: 100}
//
// All errors of a file are found in one go, and each names the file, the line, the key and the remedy, see [finding.List].
package mapfile

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/geoip"
	"github.com/popdns/popdns/internal/steer"
)

// Positions tells where a map file names each PoP first, for messages about the file's content. The zero value knows nothing.
type Positions struct {
	File string
	Line map[string]int // PoP name → line, from 1
}

// A File is a map file as read.
type File struct {
	Geo *geoip.Rules // of its geo section, nil without one
	Positions

	builder *steer.MapBuilder
}

// Read reads a map file. file is its name for messages. An error about the content is a *finding.List.
func Read(r io.Reader, file string) (*File, error) {
	m := mapReader{
		errs:    &finding.List{File: file},
		builder: steer.NewMapBuilder(""),
		pos:     Positions{File: file, Line: make(map[string]int)},
	}
	if err := readDocument(r, m.errs, m.top); err != nil {
		return nil, err
	}
	return &File{m.geo, m.pos, m.builder}, nil
}

// Map returns the map, with no name and serial 0. Where there is a geo section it needs the databases that the rules do, and the PoP table for
// near; compiled is nil otherwise. It is called once.
func (f *File) Map(dbs geoip.Databases, pops *steer.PoPs) (m *steer.Map, compiled *geoip.Compiled, err error) {
	if f.Geo != nil {
		if compiled, err = f.Geo.Compile(f.builder, dbs, pops); err != nil {
			return nil, nil, err
		}
	}
	if m, err = f.builder.Build(0); err != nil {
		errs := &finding.List{File: f.File}
		errs.Add(0, "%w", err)
		return nil, nil, errs.Err()
	}
	return m, compiled, nil
}

// Covering returns the file's own row, not one of the geo section, that decides for an address in a plane; ok is false if there is none.
func (f *File) Covering(p steer.Plane, a netip.Addr) (row netip.Prefix, ok bool) {
	for bits := a.BitLen(); bits >= 0; bits-- {
		if row, err := a.Prefix(bits); err == nil && f.builder.Has(p, row) {
			return row, true
		}
	}
	return row, false
}

// ReadMap is Read and Map for a file without a geo section.
func ReadMap(r io.Reader, file string) (*steer.Map, error) {
	f, err := Read(r, file)
	if err != nil {
		return nil, err
	}
	m, _, err := f.Map(geoip.Databases{}, nil)
	return m, err
}

// CheckPoPs returns an error that lists every PoP which m, or a rule that no network fits, names and pops lacks, nil if there is none.
func CheckPoPs(m *steer.Map, pops *steer.PoPs, pos Positions) error {
	known := make([]string, 0, pops.Len())
	for p := range pops.All() {
		known = append(known, p.Name)
	}
	unknown := make(map[string]bool)
	check := func(name string) {
		if _, ok := pops.Get(name); !ok {
			unknown[name] = true
		}
	}
	for list := range m.Lists() {
		for _, entry := range list {
			name, _ := steer.SplitEntry(entry)
			check(name)
		}
	}
	for name := range pos.Line {
		check(name)
	}
	errs := &finding.List{File: pos.File}
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		errs.Add(pos.Line[name], "pop %s is not in the pop table%s", name, hint(name, known))
	}
	return errs.Err()
}

// mapReader feeds a map file into a builder.
type mapReader struct {
	errs    *finding.List
	builder *steer.MapBuilder
	pos     Positions
	geo     *geoip.Rules
	list    []string // reused
}

var sections = map[string][]steer.Plane{
	"nets":     {steer.Resolver, steer.ECS},
	"resolver": {steer.Resolver},
	"ecs":      {steer.ECS},
}

func (m *mapReader) top(doc value) {
	seen := make(map[string]int)
	err := doc.pairs(func(key string, line int, v value) {
		if first, twice := seen[key]; twice {
			m.errs.Add(line, "key %q is in line %d already: join the two", key, first)
			return
		}
		seen[key] = line
		planes, isSection := sections[key]
		switch {
		case isSection:
			m.rows(key, planes, v)
		case key == "geo":
			m.readGeo(v)
		case key == "default":
			list, ok := m.pops("default", v)
			if !ok {
				return
			}
			if err := m.builder.Default(list); err != nil {
				m.errs.Add(line, "%w", err)
			}
		default:
			m.errs.Add(line, "unknown key %q%s", key, hint(key, []string{"default", "nets", "resolver", "ecs", "geo"}))
		}
	})
	if err != nil {
		m.errs.Add(doc.line(), "the file %w: write default, nets, resolver, ecs and geo as keys", err)
		return
	}
	if _, ok := seen["default"]; !ok {
		m.errs.Add(0, "no key \"default\": add `default: [POP, ...]`, the list of whoever no prefix covers")
	}
}

// rows reads one section. An empty one is as good as none.
func (m *mapReader) rows(section string, planes []steer.Plane, v value) {
	if v.null() {
		return
	}
	seen := make(map[netip.Prefix]int32)
	err := v.pairs(func(key string, line int, v value) {
		list, ok := m.pops(key, v)
		if !ok {
			return
		}
		prefix, err := parsePrefix(key)
		if err != nil {
			m.errs.Add(line, "%s: %w", section, err)
			return
		}
		if first, twice := seen[prefix]; twice {
			m.errs.Add(line, "%s: prefix %s is in line %d already: keep one of them", section, prefix, first)
			return
		}
		seen[prefix] = int32(min(line, 1<<31-1)) //nolint:gosec // clamped
		for _, p := range planes {
			if err := m.builder.Add(p, prefix, list); err != nil {
				m.errs.Add(line, "%s: %w", section, err)
				return
			}
		}
	})
	if err != nil {
		m.errs.Add(v.line(), "%s %w: write `PREFIX: [POP, ...]` lines", section, err)
	}
}

// parsePrefix reads a prefix, and says what to write where people most often go wrong.
func parsePrefix(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	if err == nil {
		return prefix, steer.CheckPrefix(prefix)
	}
	if a, aerr := netip.ParseAddr(s); aerr == nil && a.Zone() == "" {
		return netip.Prefix{}, fmt.Errorf("%q has no length: write %s/%d", s, a, a.BitLen())
	}
	return netip.Prefix{}, fmt.Errorf("%q is not a prefix: write for example 198.51.100.0/24 or 2001:db8::/32", s)
}

// pops reads a PoP list; the slice is valid until the next call. ok is false if an error was noted.
func (m *mapReader) pops(what string, v value) (list []string, ok bool) {
	m.list = m.list[:0]
	before := m.errs.Len()
	err := v.items(func(v value) {
		entry, isText := v.text()
		if !isText {
			m.errs.Add(v.line(), "%s: a pop list holds names only", what)
			return
		}
		if len(m.list) > steer.MaxListLen {
			return // one too many is enough for CheckList to see
		}
		m.list = append(m.list, entry)
		name, _ := steer.SplitEntry(entry)
		if _, seen := m.pos.Line[name]; !seen && len(m.pos.Line) < steer.MaxPoPs {
			m.pos.Line[name] = v.line()
		}
	})
	if err != nil {
		m.errs.Add(v.line(), "%s %w: write a list of pops, like [ams1, iad2]", what, err)
	} else if err := steer.CheckList(m.list); err != nil && m.errs.Len() == before {
		m.errs.Add(v.line(), "%s: %w", what, err)
	}
	return m.list, m.errs.Len() == before
}

var errTooBig = errors.New("file is too big")
