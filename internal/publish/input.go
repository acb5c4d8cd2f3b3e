package publish

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/popdns/popdns/internal/geoip"
	"github.com/popdns/popdns/internal/mapfile"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/tinydns"
	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"
)

// A Format is a human zone format.
type Format string

// The formats that ReadZone knows.
const (
	RFC1035 Format = "rfc1035" // zone file (master file) with steering in ;@ comments
	TinyDNS Format = "tinydns" // tinydns-data, locations become PoPs
)

// ParseFormat reads the name of a format.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case RFC1035, TinyDNS:
		return f, nil
	}
	return "", fmt.Errorf("unknown format %q: write %s or %s", s, RFC1035, TinyDNS)
}

// A Source is a human input that can be opened more than once.
type Source struct {
	Name string // stands in errors; a path is also where $INCLUDE looks
	Open func() (io.ReadCloser, error)
}

// ReadZone reads a zone. With a PoP table, a zone that is right but for variants of PoPs that the table does not have is refused with a *GuardError which
// names their lines; give nil to accept every PoP. progress may be nil; it gets the bytes read so far.
func ReadZone(src Source, format Format, origin zone.Name, pops *steer.PoPs, progress func(octets int64)) (*zone.Snapshot, error) {
	if format == TinyDNS {
		return src.read(func(r io.Reader) (*zone.Snapshot, error) { return tinydns.Read(r, src.Name, origin) })
	}
	var opts []zonefile.Option
	if progress != nil {
		opts = append(opts, zonefile.WithProgress(progress))
	}
	parse := func(more ...zonefile.Option) (*zone.Snapshot, error) {
		return src.read(func(r io.Reader) (*zone.Snapshot, error) {
			return zonefile.Read(r, src.Name, origin, append(slices.Clip(opts), more...)...)
		})
	}
	if pops == nil {
		return parse()
	}
	known := func(name string) bool { _, ok := pops.Get(name); return ok }
	s, err := parse(zonefile.WithPoPs(known, popNames(pops)), zonefile.WithEvenPoPs())
	if err == nil {
		return s, nil
	}
	// Whether steering is all that is wrong shows when nothing is asked of it.
	even, other := parse()
	if other != nil {
		return nil, err
	}
	g := &GuardError{What: "zone " + origin.String(), Lines: strings.TrimRight(err.Error(), "\n")}
	if len(unknownPoPs(pops, even.PoPs())) > 0 {
		g.Findings = append(g.Findings, unknownPoPsZone)
	} else {
		g.Findings = append(g.Findings, unevenZone)
	}
	return nil, g
}

// ReadMap is ReadMapFile for a caller that wants the map alone.
func ReadMap(src Source, name string, pops *steer.PoPs) (*steer.Map, error) {
	f, err := ReadMapFile(src, name, pops, GeoInput{PoPs: pops})
	if err != nil {
		return nil, err
	}
	return f.Map, nil
}

// A GeoInput is what a map file with a geo section needs beside.
type GeoInput struct {
	PoPs *steer.PoPs // where the PoPs are
	City string      // path of a database in place of the one that the file names, "" to leave it
	ASN  string      // likewise
}

// A MapFile is what a map file was read to.
type MapFile struct {
	Map *steer.Map
	Geo *geoip.Compiled // of its geo section, nil without one

	file *mapfile.File
}

// ReadMapFile reads a map file and gives the map its name. PoPs that the table, if not nil, does not have are refused as in ReadZone. A geo section
// is compiled from the databases that it names, relative to the file, or geo does.
func ReadMapFile(src Source, name string, pops *steer.PoPs, geo GeoInput) (*MapFile, error) {
	if err := steer.CheckMapName(name); err != nil {
		return nil, err
	}
	r, err := src.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, err := mapfile.Read(r, src.Name)
	if err != nil {
		return nil, err
	}
	dbs, err := geo.open(f, src.Name)
	if err != nil {
		return nil, err
	}
	m, compiled, err := f.Map(dbs, geo.PoPs)
	if err != nil {
		return nil, err
	}
	if pops != nil {
		if err := mapfile.CheckPoPs(m, pops, f.Positions); err != nil {
			return nil, &GuardError{What: "map " + name, Findings: []string{unknownPoPsMap}, Lines: strings.TrimRight(err.Error(), "\n")}
		}
	}
	return &MapFile{Map: m.WithName(name), Geo: compiled, file: f}, nil
}

// open reads the databases that the file's rules need.
func (g GeoInput) open(f *mapfile.File, file string) (dbs geoip.Databases, err error) {
	open := func(needed bool, path, instead string, to **geoip.Database) {
		if path != "" && !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(file), path)
		}
		if path = cmp.Or(instead, path); needed && path != "" && err == nil {
			*to, err = geoip.Open(path)
		}
	}
	if f.Geo == nil {
		if g.City+g.ASN != "" {
			return dbs, fmt.Errorf("%s has no geo section for a database to be of use: leave the database out, or add one", file)
		}
		return dbs, nil
	}
	open(f.Geo.NeedsCity(), f.Geo.CityFile, g.City, &dbs.City)
	open(f.Geo.NeedsASN(), f.Geo.ASNFile, g.ASN, &dbs.ASN)
	return dbs, err
}

// ReadPoPs reads a PoP file. Where it says nothing of a PoP's state or drain they are those of cur, the present table, which may be nil.
func ReadPoPs(src Source, cur *steer.PoPs) (*steer.PoPs, error) {
	r, err := src.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return mapfile.ReadPoPsOver(r, src.Name, cur)
}

func (src Source) read(parse func(io.Reader) (*zone.Snapshot, error)) (*zone.Snapshot, error) {
	r, err := src.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return parse(r)
}
