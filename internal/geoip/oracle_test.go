package geoip

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/popdns/popdns/internal/geoip/geoiptest"
	"github.com/popdns/popdns/internal/steer"
)

// twin is the slow, obvious way to a client's list: the longest of the explicit rows, else one lookup per database, decoded without a
// schema, and the rules one after the other. It reckons distances in floating point.
type twin struct {
	nets      []steer.Row
	rules     *Rules
	city, asn *maxminddb.Reader
	pops      *steer.PoPs
	country   map[string][]string // lists of what is known by its country only
}

func newTwin(t *testing.T, nets []steer.Row, rules *Rules, city, asn []byte, pops *steer.PoPs) *twin {
	t.Helper()
	open := func(data []byte) *maxminddb.Reader {
		r, err := maxminddb.OpenBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Verify(); err != nil {
			t.Fatalf("the test's own database is malformed: %v", err)
		}
		return r
	}
	w := &twin{nets: nets, rules: rules, city: open(city), asn: open(asn), pops: pops, country: map[string][]string{}}
	w.gather(t)
	return w
}

type fields map[string]any

func (f fields) sub(key string) fields { m, _ := f[key].(map[string]any); return m }
func (f fields) str(key string) string { s, _ := f[key].(string); return s }

func lookup(r *maxminddb.Reader, a netip.Addr) fields {
	var f map[string]any
	if err := r.Lookup(a).Decode(&f); err != nil {
		panic(err)
	}
	return f
}

func (w *twin) at(f fields) (p point, ok bool) {
	lat, ok := f.sub("location")["latitude"].(float64)
	lon, _ := f.sub("location")["longitude"].(float64)
	p, _ = pointAt(lat, lon)
	return p, ok && f.sub("country").str("iso_code") != ""
}

func (w *twin) subdivisions(f fields) (codes []string) {
	list, _ := f["subdivisions"].([]any)
	for _, s := range list {
		codes = append(codes, f.sub("country").str("iso_code")+"-"+fields(s.(map[string]any)).str("iso_code"))
	}
	slices.Reverse(codes)
	return codes
}

// coarse tells whether only the country is known; centroids are "country lat,lon" of what has neither city nor subdivision.
func (w *twin) coarse(f fields, centroids map[string]bool) bool {
	p, _ := w.at(f)
	radius, _ := f.sub("location")["accuracy_radius"].(uint64)
	noCity := f["city"] == nil
	return radius >= 1000 || noCity && (f["subdivisions"] == nil || centroids[fmt.Sprint(f.sub("country").str("iso_code"), p)])
}

var all4 = netip.MustParsePrefix("0.0.0.0/0")

// gather finds out by the library's own walk what each country has.
func (w *twin) gather(t *testing.T) {
	t.Helper()
	w.country = map[string][]string{}
	if w.rules.Near == nil {
		return
	}
	centroids := map[string]bool{}
	walk := func(visit func(p netip.Prefix, f fields, at point)) {
		for r := range w.city.Networks() {
			var f fields
			if err := r.Decode((*map[string]any)(&f)); err != nil {
				t.Fatal(err)
			}
			if at, ok := w.at(f); ok {
				visit(r.Prefix(), f, at)
			}
		}
	}
	walk(func(_ netip.Prefix, f fields, at point) {
		if f["city"] == nil && f["subdivisions"] == nil {
			centroids[fmt.Sprint(f.sub("country").str("iso_code"), at)] = true
		}
	})
	type tally struct{ v4, v6 map[string]float64 }
	first, lists := map[string]tally{}, map[string]tally{}
	add := func(to map[string]tally, country, key string, p netip.Prefix) {
		if to[country].v4 == nil {
			to[country] = tally{map[string]float64{}, map[string]float64{}}
		}
		if p.Addr().Is4() {
			to[country].v4[key] += math.Exp2(float64(32 - p.Bits()))
		} else {
			n := math.Exp2(float64(max(0, 48-p.Bits())))
			if teredo := netip.MustParsePrefix("2001::/32"); p.Bits() < 32 && p.Contains(teredo.Addr()) {
				n -= math.Exp2(48 - 32) // carries IPv4
			}
			to[country].v6[key] += n
		}
	}
	walk(func(p netip.Prefix, f fields, at point) {
		country := f.sub("country").str("iso_code")
		if w.coarse(f, centroids) {
			w.country[country+" coarse "+fmt.Sprint(at)] = nil
			return
		}
		if p.Addr().Is6() && p.Bits() >= 32 && inIPv4(p.Addr()) {
			return
		}
		near := w.nearest(at)
		add(first, country, near[0], p)
		add(lists, country, strings.Join(near, ","), p)
	})
	ranked := func(of tally) (keys []string, n map[string]float64, sum float64) {
		n = of.v4
		if len(n) == 0 {
			n = of.v6
		}
		for k, v := range n {
			keys = append(keys, k)
			sum += v
		}
		slices.SortFunc(keys, func(a, b string) int {
			if n[a] != n[b] {
				return int(math.Copysign(1, n[b]-n[a]))
			}
			return strings.Compare(a, b)
		})
		return keys, n, sum
	}
	for country := range first {
		commonest, _, _ := ranked(lists[country])
		names, n, sum := ranked(first[country])
		var list, in []string
		for _, name := range names {
			if percent := math.Floor(n[name]*100/sum + 0.5); percent > 0 {
				list, in = append(list, name+"*"+strconv.Itoa(int(percent))), append(in, name)
			}
		}
		for name := range strings.SplitSeq(commonest[0], ",") {
			if !slices.Contains(in, name) && len(list) < w.rules.Near.Count {
				list = append(list, name)
			}
		}
		if len(in) == 1 {
			list = strings.Split(commonest[0], ",")
		}
		w.country[country] = list
	}
	for c := range centroids {
		w.country["centroid "+c] = nil
	}
}

func inIPv4(a netip.Addr) bool {
	for _, b := range []string{"::/96", "64:ff9b::/96", "2001::/32", "2002::/16"} {
		if netip.MustParsePrefix(b).Contains(a) {
			return true
		}
	}
	return a.Is4In6()
}

func (w *twin) nearest(at point) []string {
	type site struct {
		name string
		d    float64
	}
	var sites []site
	for p := range w.pops.All() {
		there, _ := pointAt(p.Lat, p.Lon)
		d, bias := haversine(at, there), float64(w.rules.Near.Bias[p.Name].Percent)
		if d *= 1 - bias/100; bias < 0 {
			d = haversine(at, there) / (1 + bias/100)
		}
		sites = append(sites, site{p.Name, math.Round(d * 1e5)}) // poles have many longitudes
	}
	slices.SortFunc(sites, func(a, b site) int { return cmp.Or(cmp.Compare(a.d, b.d), strings.Compare(a.name, b.name)) })
	names := make([]string, 0, len(sites))
	for _, s := range sites[:min(len(sites), w.rules.Near.Count)] {
		names = append(names, s.name)
	}
	return names
}

// list is what the address gets in a plane, nil for a hole.
func (w *twin) list(p steer.Plane, a netip.Addr) []string {
	best, list := -1, []string(nil)
	for _, r := range w.nets {
		if r.Plane == p && r.Prefix.Contains(a) && r.Prefix.Bits() > best {
			best, list = r.Prefix.Bits(), r.PoPs
		}
	}
	if best >= 0 {
		return list
	}
	if len(w.rules.Planes) > 0 && !slices.Contains(w.rules.Planes, p) {
		return nil
	}
	as, _ := lookup(w.asn, a)["autonomous_system_number"].(uint64)
	if rule, ok := w.rules.ASN[uint32(as)]; ok && w.rules.NeedsASN() {
		return rule.List
	}
	f := lookup(w.city, a)
	country := f.sub("country").str("iso_code")
	for _, code := range w.subdivisions(f) {
		if rule, ok := w.rules.Subdivisions[code]; ok {
			return rule.List
		}
	}
	if rule, ok := w.rules.Countries[country]; ok {
		return rule.List
	}
	if rule, ok := w.rules.Continents[f.sub("continent").str("code")]; ok {
		return rule.List
	}
	at, ok := w.at(f)
	if w.rules.Near == nil || !ok {
		return nil
	}
	_, same := w.country["centroid "+fmt.Sprint(country, at)]
	if spread := w.country[country]; spread != nil && w.coarse(f, map[string]bool{fmt.Sprint(country, at): same}) {
		return spread
	}
	return w.nearest(at)
}

// world is a random database and all that goes with it.
type world struct {
	city, asn *geoiptest.Writer
	rules     *Rules
	nets      []steer.Row
	prefixes  []netip.Prefix // all that something was said of
	pops      *steer.PoPs
}

// randomNet is small IPv4 or IPv6 networks that nest and meet, and not in special-purpose blocks.
func randomNet(r *rand.Rand) netip.Prefix {
	if r.IntN(3) == 0 {
		b := [16]byte{0x20, 0x01, 0x0d, byte(0xb8 + r.IntN(2)), byte(r.IntN(4)), byte(r.Uint32()), byte(r.Uint32())}
		p, _ := netip.AddrFrom16(b).Prefix(20 + r.IntN(40))
		return p
	}
	p, _ := netip.AddrFrom4([4]byte{byte(44 + r.IntN(3)), byte(r.IntN(4)), byte(r.Uint32()), byte(r.Uint32())}).Prefix(6 + r.IntN(27))
	return p
}

func randomList(r *rand.Rand) []string {
	list := []string{fmt.Sprintf("pop%d", r.IntN(4)), fmt.Sprintf("pop%d", 4+r.IntN(3))}
	return list[:1+r.IntN(2)]
}

func randomWorld(t *testing.T, r *rand.Rand) *world {
	t.Helper()
	w := &world{city: geoiptest.New("GeoLite2-City"), asn: geoiptest.New("GeoLite2-ASN"), pops: randomPoPs(t, r, 7)}
	for w.pops.Len() != len(placed(w.pops)) {
		w.pops = randomPoPs(t, r, 7)
	}
	countries := []struct{ continent, country string }{{"EU", "NL"}, {"EU", "DE"}, {"NA", "US"}, {"AS", "SG"}}
	places := make([]map[string]any, 0, 24)
	for range 24 {
		c := countries[r.IntN(len(countries))]
		at := randomPoint(r)
		p := geoiptest.Place{Continent: c.continent, Country: c.country, Lat: float64(at.lat) / degree, Lon: float64(at.lon) / degree, Radius: 20}
		switch r.IntN(6) {
		case 0: // the country's centroid
			p.Lat, p.Lon, p.Radius = 10, float64(len(c.country)+int(c.country[0])), 200
		case 1: // the centroid again, with a subdivision
			p.Lat, p.Lon, p.Subdivisions = 10, float64(len(c.country)+int(c.country[0])), []string{"AA"}
		case 2:
			p.Radius, p.City, p.Subdivisions = 1000, "Somewhere", []string{"BB"}
		case 3:
			p = geoiptest.Place{Continent: c.continent} // an anonymous proxy
		default:
			p.City, p.Subdivisions = "Town", []string{"AA", "CCC"}[:r.IntN(3)]
		}
		places = append(places, p.Record())
	}
	for range 80 {
		p := randomNet(r)
		w.city.Insert(p, places[r.IntN(len(places))])
		w.prefixes = append(w.prefixes, p)
	}
	known, _ := netip.ParsePrefix("47.7.0.0/16") // so that the rules' subdivisions are known
	w.city.Insert(known, geoiptest.Place{Continent: "EU", Country: "NL", Subdivisions: []string{"AA", "CCC"}, City: "Town", Lat: 1, Lon: 2}.Record())
	w.prefixes = append(w.prefixes, known)
	w.asn.Insert(all4, geoiptest.ASN(64499))
	for range 20 {
		p := randomNet(r)
		w.asn.Insert(p, geoiptest.ASN(uint32(64500+r.IntN(4))))
		w.prefixes = append(w.prefixes, p)
	}
	if r.IntN(2) == 0 {
		for _, db := range []*geoiptest.Writer{w.city, w.asn} {
			db.Alias("2002::/16")
			db.Alias("::ffff:0:0/96")
		}
	}
	for range r.IntN(12) {
		p := randomNet(r)
		list := randomList(r)
		for _, plane := range [][]steer.Plane{{steer.Resolver}, {steer.ECS}, {steer.Resolver, steer.ECS}}[r.IntN(3)] {
			if !slices.ContainsFunc(w.nets, func(row steer.Row) bool { return row.Plane == plane && row.Prefix == p }) {
				w.nets = append(w.nets, steer.Row{Plane: plane, Prefix: p, PoPs: list})
			}
		}
		w.prefixes = append(w.prefixes, p)
	}
	w.rules = randomRules(r)
	return w
}

func randomRules(r *rand.Rand) *Rules {
	rules := &Rules{Near: &Near{Count: 1 + r.IntN(4), Bias: map[string]Bias{}}}
	rule := func() Rule { return Rule{List: randomList(r)} }
	if r.IntN(2) == 0 {
		rules.ASN = map[uint32]Rule{64500: rule(), 64502: rule()}
	}
	if r.IntN(2) == 0 {
		rules.Countries = map[string]Rule{[]string{"NL", "US", "SG"}[r.IntN(3)]: rule()}
	}
	if r.IntN(2) == 0 {
		rules.Continents = map[string]Rule{[]string{"EU", "NA", "AF"}[r.IntN(3)]: rule()}
	}
	if r.IntN(2) == 0 {
		rules.Subdivisions = map[string]Rule{"NL-AA": rule()}
	}
	if r.IntN(2) == 0 {
		rules.Subdivisions = map[string]Rule{"NL-AA": rule(), "NL-CCC": rule()}
	}
	if r.IntN(3) == 0 {
		rules.Planes = []steer.Plane{steer.Plane(r.IntN(2))}
	}
	for i := range r.IntN(3) {
		rules.Near.Bias[fmt.Sprintf("pop%d", i)] = Bias{Percent: r.IntN(120) - 60}
	}
	return rules
}

func (w *world) compile(t *testing.T) (*steer.Map, *Compiled) {
	t.Helper()
	b := steer.NewMapBuilder("world")
	if err := b.Default([]string{"pop0"}); err != nil {
		t.Fatal(err)
	}
	for _, n := range w.nets {
		if err := b.Add(n.Plane, n.Prefix, n.PoPs); err != nil {
			t.Fatal(err)
		}
	}
	dbs := Databases{}
	for _, db := range []struct {
		to   **Database
		data []byte
	}{{&dbs.City, w.city.Bytes()}, {&dbs.ASN, w.asn.Bytes()}} {
		var err error
		if *db.to, err = Parse("test.mmdb", db.data); err != nil {
			t.Fatal(err)
		}
	}
	c, err := w.rules.Compile(b, dbs, w.pops)
	if err != nil {
		t.Fatal(err)
	}
	m, err := b.Build(1)
	if err != nil {
		t.Fatal(err)
	}
	return m, c
}

func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// TestCompiledMapIsWhatLookingUpEachAddressFinds compares list and scope at every border of a few hundred random worlds and at random addresses.
func TestCompiledMapIsWhatLookingUpEachAddressFinds(t *testing.T) {
	seeds := 100
	if testing.Short() {
		seeds = 20
	}
	for seed := range uint64(seeds) {
		r := rand.New(rand.NewPCG(seed, 99))
		w := randomWorld(t, r)
		m, _ := w.compile(t)
		tw := newTwin(t, w.nets, w.rules, w.city.Bytes(), w.asn.Bytes(), w.pops)
		var addrs []netip.Addr
		for _, p := range w.prefixes {
			addrs = append(addrs, p.Addr(), p.Addr().Prev(), last(p), last(p).Next())
		}
		for range 100 {
			addrs = append(addrs, randomNet(r).Addr())
		}
		addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !a.IsValid() || a.Is6() && inIPv4(a) }) // that is steer's matter
		want := func(p steer.Plane, a netip.Addr) string {
			list := tw.list(p, a)
			if list == nil && p == steer.Resolver {
				list = []string{"pop0"}
			}
			return strings.Join(list, ",")
		}
		for _, p := range []steer.Plane{steer.Resolver, steer.ECS} {
			lists := make(map[netip.Addr]string, len(addrs))
			for _, a := range addrs {
				lists[a] = want(p, a)
			}
			for _, a := range addrs {
				leaf := m.Lookup(p, a)
				if got := strings.Join(m.PoPs(leaf.List), ","); got != lists[a] {
					t.Fatalf("seed %d: %s has %q in the %s plane, want %q", seed, a, got, p, lists[a])
				}
				block, _ := a.Prefix(int(leaf.Bits))
				for b, list := range lists {
					if list != lists[a] && block.Contains(b) {
						t.Fatalf("seed %d: %s has %q for all of %s, in which %s has %q", seed, a, lists[a], block, b, list)
					}
				}
				if leaf.Bits > 0 && !differs(lists, lists[a], a, int(leaf.Bits)-1) && a.Is4() {
					t.Fatalf("seed %d: scope of %s is %d, but its parent is uniform too", seed, a, leaf.Bits)
				}
			}
		}
	}
}

// differs tells whether some address of the block of this length around a has another list. All borders are among the addresses.
func differs(lists map[netip.Addr]string, list string, a netip.Addr, bits int) bool {
	parent, _ := a.Prefix(bits)
	for b, other := range lists {
		if other != list && parent.Contains(b) {
			return true
		}
	}
	return false
}
