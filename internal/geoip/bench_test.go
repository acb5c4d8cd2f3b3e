package geoip

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/popdns/popdns/internal/geoip/geoiptest"
	"github.com/popdns/popdns/internal/steer"
)

// bigCity is a database of a million networks, /12 to /24 of IPv4 and /32 to /48 of IPv6, and a hundred thousand places: the size of GeoLite2-City
// within a factor of four. Neighbours are often in one place, as they are there.
var bigCity = sync.OnceValue(func() []byte {
	const networks, places = 1_000_000, 100_000
	r := rand.New(rand.NewPCG(1, 1))
	records := make([]map[string]any, places)
	for i := range records {
		country := countries[3*r.IntN(249):][:2]
		records[i] = geoiptest.Place{
			Continent: continents[r.IntN(len(continents))], Country: country, Subdivisions: []string{fmt.Sprint(r.IntN(20))}, City: fmt.Sprint("City ", i),
			Lat: r.Float64()*140 - 60, Lon: r.Float64()*360 - 180, Radius: uint16(r.IntN(200)),
		}.Record()
	}
	w := geoiptest.New("GeoLite2-City")
	for i, region := 0, 0; i < networks; i++ {
		if i%8 == 0 {
			region = r.IntN(places)
		}
		record := records[min(places-1, region+r.IntN(3))]
		if i%3 == 0 {
			var a [16]byte
			binary.BigEndian.PutUint64(a[:], 0x2400_0000_0000_0000+uint64(i)<<(64-44))
			p, _ := netip.AddrFrom16(a).Prefix(44)
			w.Insert(p, record)
			continue
		}
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 11<<24+uint32(i)<<10)
		p, _ := netip.AddrFrom4(a).Prefix(22)
		w.Insert(p, record)
	}
	w.Alias("2002::/16")
	w.Alias("2001::/32")
	w.Alias("::ffff:0:0/96")
	return w.Bytes()
})

func BenchmarkCompileMillionNetworks(b *testing.B) {
	for _, tc := range []struct {
		name string
		pops int
		bias map[string]Bias
	}{{"20-pops", 20, nil}, {"20-pops-biased", 20, map[string]Bias{"pop1": {Percent: 20}, "pop2": {Percent: -10}}}, {"1000-pops", 1000, nil}} {
		b.Run(tc.name, func(b *testing.B) {
			data := bigCity()
			pops := randomPoPs(b, rand.New(rand.NewPCG(2, 2)), tc.pops)
			rules := Rules{Near: &Near{Count: 3, Bias: tc.bias}}
			b.ReportAllocs()
			var rows, networks int
			for b.Loop() {
				db, err := Parse("big.mmdb", data)
				if err != nil {
					b.Fatal(err)
				}
				builder := steer.NewMapBuilder("")
				if err := builder.Default([]string{"pop0"}); err != nil {
					b.Fatal(err)
				}
				c, err := rules.Compile(builder, Databases{City: db}, pops)
				if err != nil {
					b.Fatal(err)
				}
				m, err := builder.Build(1)
				if err != nil {
					b.Fatal(err)
				}
				rows, networks = m.Len(), c.Networks
			}
			b.ReportMetric(float64(networks), "networks")
			b.ReportMetric(float64(rows), "rows")
			b.ReportMetric(float64(len(data))/1e6, "MB-file")
		})
	}
}
