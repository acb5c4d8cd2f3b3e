package mapfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/popdns/popdns/internal/geoip"
	"github.com/popdns/popdns/internal/steer"
)

// The geo section gives lists to the networks that no prefix of the file covers, by what databases in MaxMind's format know of them:
//
//	geo:
//	  databases: {city: GeoLite2-City.mmdb, asn: GeoLite2-ASN.mmdb}   # relative to the map file
//	  planes: [ecs]                        # both without this
//	  asn: {AS64500: [iad2]}
//	  subdivision: {US-CA: [sjc1, iad2]}   # ISO 3166-2
//	  country: {NL: [ams1]}                # ISO 3166-1
//	  continent: {EU: [ams1, iad2]}
//	  near: {count: 3, bias: {ams1: -10%}}
//
// The first that fits decides, in this order. Each key may be left out.

// geoKeys read the keys of the section.
var geoKeys = map[string]func(m *mapReader, v value){
	"databases":   (*mapReader).geoDatabases,
	"planes":      (*mapReader).geoPlanes,
	"asn":         (*mapReader).geoASN,
	"subdivision": func(m *mapReader, v value) { m.geoCodes("subdivision", geoip.CheckSubdivision, &m.geo.Subdivisions, v) },
	"country":     func(m *mapReader, v value) { m.geoCodes("country", geoip.CheckCountry, &m.geo.Countries, v) },
	"continent":   func(m *mapReader, v value) { m.geoCodes("continent", geoip.CheckContinent, &m.geo.Continents, v) },
	"near":        (*mapReader).geoNear,
}

func (m *mapReader) readGeo(v value) {
	m.geo = &geoip.Rules{File: m.errs.File}
	before := m.errs.Len()
	seen := make(map[string]int)
	err := v.pairs(func(key string, line int, v value) {
		read, known := geoKeys[key]
		switch {
		case m.twice(seen, "geo", key, line):
		case !known:
			m.errs.Add(line, "geo: unknown key %q%s", key, hint(key, slices.Sorted(maps.Keys(geoKeys))))
		default:
			read(m, v)
		}
	})
	if err != nil {
		m.errs.Add(v.line(), "geo %w: write databases, planes, asn, subdivision, country, continent and near as keys", err)
		return
	}
	if m.errs.Len() == before && !m.geo.NeedsCity() && !m.geo.NeedsASN() {
		m.errs.Add(v.line(), "geo: there is no rule: write one or more of asn, subdivision, country, continent and near")
	}
}

// twice notes a key that was there before.
func (m *mapReader) twice(seen map[string]int, where, key string, line int) bool {
	first, twice := seen[key]
	if twice {
		m.errs.Add(line, "%s: %s is in line %d already: keep one of them", where, key, first)
		return true
	}
	seen[key] = line
	return false
}

func (m *mapReader) geoDatabases(v value) {
	to := map[string]*string{"city": &m.geo.CityFile, "asn": &m.geo.ASNFile}
	err := v.pairs(func(key string, line int, v value) {
		path, isText := v.text()
		switch file, known := to[key]; {
		case !known:
			m.errs.Add(line, "geo: unknown database %q%s", key, hint(key, []string{"city", "asn"}))
		case !isText || path == "":
			m.errs.Add(line, "geo: database %s needs the path of a file", key)
		case *file != "":
			m.errs.Add(line, "geo: database %s is given twice: keep one of them", key)
		default:
			*file = path
		}
	})
	if err != nil {
		m.errs.Add(v.line(), "geo: databases %w: write {city: FILE, asn: FILE}", err)
	}
}

func (m *mapReader) geoPlanes(v value) {
	err := v.items(func(v value) {
		word, _ := v.text()
		for _, p := range []steer.Plane{steer.Resolver, steer.ECS} {
			if word == p.String() && !slices.Contains(m.geo.Planes, p) {
				m.geo.Planes = append(m.geo.Planes, p)
				return
			}
		}
		m.errs.Add(v.line(), "geo: plane %q: write one or both of resolver and ecs", word)
	})
	if err != nil {
		m.errs.Add(v.line(), "geo: planes %w: write [resolver, ecs] or one of them", err)
	}
}

func (m *mapReader) geoASN(v value) {
	m.geo.ASN = make(map[uint32]geoip.Rule)
	m.geoRules("asn", v, func(key string, rule geoip.Rule) error {
		asn, err := geoip.ParseASN(key)
		if err != nil {
			return err
		}
		if first, twice := m.geo.ASN[asn]; twice {
			return fmt.Errorf("AS%d is in line %d already: keep one of them", asn, first.Line)
		}
		m.geo.ASN[asn] = rule
		return nil
	})
}

func (m *mapReader) geoCodes(what string, check func(string) error, to *map[string]geoip.Rule, v value) {
	rules := make(map[string]geoip.Rule)
	*to = rules
	m.geoRules(what, v, func(key string, rule geoip.Rule) error {
		if err := check(key); err != nil {
			return err
		}
		if first, twice := rules[key]; twice {
			return fmt.Errorf("%s %s is in line %d already: keep one of them", what, key, first.Line)
		}
		rules[key] = rule
		return nil
	})
}

// geoRules reads the lists of one kind of rule.
func (m *mapReader) geoRules(what string, v value, set func(key string, rule geoip.Rule) error) {
	err := v.pairs(func(key string, line int, v value) {
		list, ok := m.pops(what+" "+key, v)
		if !ok {
			return
		}
		if err := set(key, geoip.Rule{List: slices.Clone(list), Line: line}); err != nil {
			m.errs.Add(line, "geo: %w", err)
		}
	})
	if err != nil {
		m.errs.Add(v.line(), "geo: %s %w: write `CODE: [POP, ...]` lines", what, err)
	}
}

func (m *mapReader) geoNear(v value) {
	near := &geoip.Near{Count: geoip.DefaultCount, Line: v.line()}
	m.geo.Near = near
	seen := make(map[string]int)
	err := v.pairs(func(key string, line int, v value) {
		if m.twice(seen, "near", key, line) {
			return
		}
		switch key {
		case "count":
			word, _ := v.text()
			n, err := strconv.Atoi(word)
			if err != nil || n < 1 || n > geoip.MaxCount {
				m.errs.Add(line, "near: count %q: write how many pops a list has, 1 to %d", word, geoip.MaxCount)
			}
			near.Count = n
		case "bias":
			m.geoBias(near, v)
		default:
			m.errs.Add(line, "near: unknown key %q%s", key, hint(key, []string{"count", "bias"}))
		}
	})
	if err != nil {
		m.errs.Add(v.line(), "near %w: write {count: %d} or {}", err, geoip.DefaultCount)
	}
}

func (m *mapReader) geoBias(near *geoip.Near, v value) {
	near.Bias = make(map[string]geoip.Bias)
	err := v.pairs(func(pop string, line int, v value) {
		word, _ := v.text()
		percent, err := parseBias(word)
		first, twice := near.Bias[pop]
		switch {
		case err != nil:
			m.errs.Add(line, "near: bias of %s: %w", pop, err)
		case twice:
			m.errs.Add(line, "near: bias of %s is in line %d already: keep one of them", pop, first.Line)
		case steer.CheckName(pop) != nil:
			m.errs.Add(line, "near: bias: %w", steer.CheckName(pop))
		default:
			near.Bias[pop] = geoip.Bias{Percent: percent, Line: line}
		}
	})
	if err != nil {
		m.errs.Add(v.line(), "near: bias %w: write {POP: 20%%, POP: -10%%}", err)
	}
}

func parseBias(s string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSuffix(s, "%"))
	if err != nil || n < -geoip.MaxBias || n > geoip.MaxBias {
		return 0, errors.New(strconv.Quote(s) + fmt.Sprintf(" is not a whole number of percent from -%d to %d", geoip.MaxBias, geoip.MaxBias))
	}
	return n, nil
}
