package publish

import (
	"fmt"
	"io"
	"slices"
	"strings"

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

// ReadMap reads a map file and gives the map its name. PoPs that the table, if not nil, does not have are refused as in ReadZone.
func ReadMap(src Source, name string, pops *steer.PoPs) (*steer.Map, error) {
	if err := steer.CheckMapName(name); err != nil {
		return nil, err
	}
	r, err := src.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	m, lines, err := mapfile.ReadMapPositions(r, src.Name)
	if err != nil {
		return nil, err
	}
	if pops != nil {
		if err := mapfile.CheckPoPs(m, pops, lines); err != nil {
			return nil, &GuardError{What: "map " + name, Findings: []string{unknownPoPsMap}, Lines: strings.TrimRight(err.Error(), "\n")}
		}
	}
	return m.WithName(name), nil
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
