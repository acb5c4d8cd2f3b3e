package main

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/popdns/popdns/internal/geoip/geoiptest"
)

// cmdMMDB writes a GeoIP database from lines of a prefix and key=value words: "mmdb TYPE TEXT FILE".
func cmdMMDB(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: mmdb TYPE TEXT FILE")
	}
	w := geoiptest.New(args[0])
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		words := strings.Fields(line)
		record, err := mmdbRecord(words[1:])
		ts.Check(err)
		p, err := netip.ParsePrefix(words[0])
		ts.Check(err)
		w.Insert(p, record)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), w.Bytes(), 0o600))
}

func mmdbRecord(words []string) (map[string]any, error) {
	var p geoiptest.Place
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "asn":
			n, err := strconv.ParseUint(value, 10, 32)
			return geoiptest.ASN(uint32(n)), err
		case "continent":
			p.Continent = value
		case "country":
			p.Country = value
		case "subdivision":
			p.Subdivisions = append(p.Subdivisions, value)
		case "city":
			p.City = value
		case "radius":
			n, err := strconv.ParseUint(value, 10, 16)
			if err != nil {
				return nil, err
			}
			p.Radius = uint16(n)
		case "at":
			if _, err := fmt.Sscanf(value, "%f,%f", &p.Lat, &p.Lon); err != nil {
				return nil, err
			}
		}
	}
	return p.Record(), nil
}
