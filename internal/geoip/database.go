package geoip

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/popdns/popdns/internal/steer"
)

// maxDatabaseBytes bounds a database: the largest of MaxMind's has some 400 MiB.
const maxDatabaseBytes = 1 << 30

// Database is a file in MaxMind's format with the records of a GeoIP2 or GeoLite2 database, or of one that is laid out like these.
type Database struct {
	File   string
	reader *maxminddb.Reader
}

// Open reads a database whole. It isn't mapped into memory: a file that is truncated or rewritten in place, rather than replaced by rename,
// would then kill the process or change under its feet. All errors name the file.
func Open(file string) (*Database, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("geoip database: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, fmt.Errorf("geoip database: %w", err)
	} else if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("geoip database %s: not a regular file", file)
	} else if st.Size() > maxDatabaseBytes {
		return nil, fmt.Errorf("geoip database %s: has %d bytes, at most %d", file, st.Size(), maxDatabaseBytes)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxDatabaseBytes))
	if err != nil {
		return nil, fmt.Errorf("geoip database: %w", err)
	}
	return Parse(file, data)
}

// Parse makes a database of a file's content, which must not be changed any more.
func Parse(file string, data []byte) (*Database, error) {
	r, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, fmt.Errorf("geoip database %s: not in MaxMind's format, or cut off: %w", file, err)
	}
	if v := r.Metadata.IPVersion; v != 4 && v != 6 {
		return nil, fmt.Errorf("geoip database %s: ip version %d, want 4 or 6", file, v)
	}
	return &Database{File: file, reader: r}, nil
}

// Built is when the database's maker built it.
func (d *Database) Built() time.Time { return d.reader.Metadata.BuildTime().UTC() }

// String returns the file's name with the database's type and date: "city.mmdb (GeoLite2-City of 2026-11-20)".
func (d *Database) String() string {
	return fmt.Sprintf("%s (%s of %s)", filepath.Base(d.File), d.reader.Metadata.DatabaseType, d.Built().Format(time.DateOnly))
}

// network is a network of a database and where its record lies.
type network struct {
	prefix netip.Prefix
	record maxminddb.Result
}

// fault wraps an error about the database's content.
func (d *Database) fault(prefix netip.Prefix, err error) error {
	return fmt.Errorf("geoip database %s: network %s: %w", d.File, prefix, err)
}

// walk visits the networks that have a record, in ascending order within each family, and stops at the first error.
//
// IPv6 that carries IPv4 is left out, as the IPv4 networks count there: most databases have aliases of the whole IPv4 tree in those
// places. All that is visited is a leaf of the tree, and of these a tree without cycles has one more than nodes, which bounds the
// walk: the library itself would follow a tree that bites its own tail for ever.
func (d *Database) walk(visit func(network) error) error {
	left := d.reader.Metadata.NodeCount + uint(len(ipv6Apart())) + 2
	within := func(space netip.Prefix) error {
		for r := range d.reader.NetworksWithin(space, maxminddb.IncludeAliasedNetworks(), maxminddb.IncludeNetworksWithoutData()) {
			prefix := r.Prefix()
			if prefix.Bits() < space.Bits() || prefix.Addr().BitLen() != space.Addr().BitLen() {
				prefix = space // the network reaches beyond
			}
			if err := r.Err(); err != nil {
				return d.fault(prefix, err)
			}
			if left == 0 {
				return fmt.Errorf("geoip database %s: the search tree has cycles", d.File)
			}
			left--
			if !r.Found() {
				continue
			}
			if err := visit(network{prefix, r}); err != nil {
				return err
			}
		}
		return nil
	}
	if err := within(netip.MustParsePrefix("0.0.0.0/0")); err != nil || d.reader.Metadata.IPVersion == 4 {
		return err
	}
	for _, space := range ipv6Apart() {
		if err := within(space); err != nil {
			return err
		}
	}
	return nil
}

// lookup returns the network of an address; ok is false if it has no record.
func (d *Database) lookup(a netip.Addr) (n network, ok bool) {
	if a.Is6() && d.reader.Metadata.IPVersion == 4 {
		return n, false
	}
	r := d.reader.Lookup(a)
	return network{r.Prefix(), r}, r.Found()
}

// ipv6Apart is IPv6 but for what carries IPv4, ::/96 included, where the databases keep their IPv4 networks: as few prefixes as possible.
var ipv6Apart = sync.OnceValue(func() []netip.Prefix {
	without := append(steer.CarriesIPv4(), netip.MustParsePrefix("::/96"))
	var out []netip.Prefix
	var split func(p netip.Prefix)
	split = func(p netip.Prefix) {
		overlaps := func(w netip.Prefix) bool { // Prefix.Overlaps takes v4-mapped ones for another family
			bits := min(p.Bits(), w.Bits())
			a, _ := p.Addr().Prefix(bits)
			b, _ := w.Addr().Prefix(bits)
			return a == b
		}
		if !slices.ContainsFunc(without, overlaps) {
			out = append(out, p)
			return
		}
		if slices.Contains(without, p) {
			return
		}
		low := netip.PrefixFrom(p.Addr(), p.Bits()+1)
		b := p.Addr().As16()
		b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
		split(low)
		split(netip.PrefixFrom(netip.AddrFrom16(b), p.Bits()+1))
	}
	split(netip.MustParsePrefix("::/0"))
	return out
})

// record is what is read of a network's record. City databases have all but the AS number, ASN and ISP databases only that.
type record struct {
	Continent struct {
		Code string `maxminddb:"code"`
	} `maxminddb:"continent"`
	Country struct {
		ISOCode string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	Subdivisions []struct {
		ISOCode string `maxminddb:"iso_code"`
	} `maxminddb:"subdivisions"`
	City struct {
		GeoNameID uint32 `maxminddb:"geoname_id"`
		Names     struct {
			English string `maxminddb:"en"`
		} `maxminddb:"names"`
	} `maxminddb:"city"`
	Location struct {
		AccuracyRadius uint32   `maxminddb:"accuracy_radius"`
		Latitude       *float64 `maxminddb:"latitude"`
		Longitude      *float64 `maxminddb:"longitude"`
	} `maxminddb:"location"`
	ASN    uint32 `maxminddb:"autonomous_system_number"`
	Traits struct {
		ASN uint32 `maxminddb:"autonomous_system_number"`
	} `maxminddb:"traits"`
}

func (r *record) asn() uint32 { return cmp.Or(r.ASN, r.Traits.ASN) }

// errLayout is what to say of records that are no GeoIP2 ones.
var errLayout = errors.New("its record is not laid out as in a GeoIP2 database")

// decode reads a network's record.
func (d *Database) decode(n network) (record, error) {
	var r record
	if err := n.record.Decode(&r); err != nil {
		return r, d.fault(n.prefix, fmt.Errorf("%w: %w", errLayout, err))
	}
	return r, nil
}
