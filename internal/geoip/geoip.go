// Package geoip turns MaxMind databases and an operator's rules into rows of a steering map.
//
//	city, err := geoip.Open("GeoLite2-City.mmdb")
//	rules := geoip.Rules{Near: &geoip.Near{Count: 3}}
//	compiled, err := rules.Compile(builder, geoip.Databases{City: city}, pops)
//
// [Rules.Compile] walks each database once or twice and adds layers beneath the rows that the builder has, so whatever is written for a prefix
// wins over what a database says of it. Nothing is looked up per query, and whoever has the compiled map needs no database. [Watch] tells when
// the files change. DESIGN.md beside this file says why it works as it does.
package geoip

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/steer"
)

// Bounds on [Near].
const (
	MaxCount = steer.MaxListLen
	MaxBias  = 99 // percent
	// DefaultCount is how many PoPs near takes unless told: the nearest and two to fail over to.
	DefaultCount = 3
)

// Rules say which PoPs networks get by what the databases know of them. The first that fits counts, in the order of the fields: by AS
// number, by subdivision (the smallest first), by country, by continent, and then by distance. A network that none fits has no row.
type Rules struct {
	File     string        // where the rules stand, for messages
	CityFile string        // path of the City, Enterprise or Country database as the rules name it, "" for none
	ASNFile  string        // path of the ASN or ISP database, likewise
	Planes   []steer.Plane // whose networks are meant, both if it is empty

	ASN          map[uint32]Rule
	Subdivisions map[string]Rule // by ISO 3166-2 code, "US-CA"
	Countries    map[string]Rule // by ISO 3166-1 code, "NL"
	Continents   map[string]Rule // by one of AF, AN, AS, EU, NA, OC, SA
	Near         *Near           // nil = not by distance
}

// Rule is the list of a code.
type Rule struct {
	List []string
	Line int // in Rules.File, 0 for unknown
}

// Near gives each network the PoPs that are nearest to it along the globe, whatever their states are.
type Near struct {
	Count int // PoPs in a list, 1 to MaxCount
	// Bias makes a PoP's area larger or smaller, in percent of -MaxBias to MaxBias. As in Route 53's geoproximity routing, a distance d
	// counts as d·(1 - bias/100) with a positive bias and as d/(1 + bias/100) with a negative one: 50 halves it, -50 doubles it.
	Bias map[string]Bias
	Line int // in Rules.File, 0 for unknown
}

// Bias is one PoP's.
type Bias struct {
	Percent int
	Line    int // in Rules.File, 0 for unknown
}

// Databases are what rules need: City for all but those by AS number, ASN for these.
type Databases struct{ City, ASN *Database }

// NeedsCity tells whether there is a rule that only the City database can answer, NeedsASN the same of the other one.
func (r *Rules) NeedsCity() bool {
	return len(r.Subdivisions)+len(r.Countries)+len(r.Continents) > 0 || r.Near != nil
}

// NeedsASN tells whether there is a rule by AS number.
func (r *Rules) NeedsASN() bool { return len(r.ASN) > 0 }

// continents are the codes that MaxMind's databases use.
var continents = []string{"AF", "AN", "AS", "EU", "NA", "OC", "SA"}

// countries are the officially assigned codes of ISO 3166-1, and XK, which the databases use for Kosovo.
const countries = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ " +
	"CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG " +
	"GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ " +
	"LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR " +
	"NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ " +
	"TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW"

// CheckContinent returns an error that says what to write unless code is a continent's.
func CheckContinent(code string) error {
	if slices.Contains(continents, code) {
		return nil
	}
	if upper := strings.ToUpper(code); slices.Contains(continents, upper) {
		return fmt.Errorf("continent %q: write %s", code, upper)
	}
	return fmt.Errorf("continent %q is unknown: write one of %s", code, strings.Join(continents, ", "))
}

// CheckCountry returns an error that says what to write unless code is a country's of ISO 3166-1, two capital letters.
func CheckCountry(code string) error {
	if isCountry(code) {
		return nil
	}
	if upper := strings.ToUpper(code); upper == "UK" {
		return fmt.Errorf("country %q: the code of the United Kingdom is GB", code)
	} else if isCountry(upper) {
		return fmt.Errorf("country %q: write %s", code, upper)
	}
	return fmt.Errorf("country %q is unknown: write a code of ISO 3166-1, like NL", code)
}

func isCountry(code string) bool {
	return len(code) == 2 && code[0] != ' ' && code[1] != ' ' && strings.Contains(countries, code)
}

// CheckSubdivision returns an error that says what to write unless code has the form of ISO 3166-2 and a known country. Whether that country has
// such a subdivision the database knows, see [Rules.Compile].
func CheckSubdivision(code string) error {
	country, part, ok := strings.Cut(code, "-")
	if !ok {
		if country, part, ok = strings.Cut(code, "/"); ok {
			return fmt.Errorf("subdivision %q: write %s-%s", code, country, part)
		}
		return fmt.Errorf("subdivision %q has no country: write a code of ISO 3166-2, like US-CA", code)
	}
	if err := CheckCountry(country); err != nil {
		return fmt.Errorf("subdivision %q: %w", code, err)
	}
	if part == "" || len(part) > 3 || strings.ToUpper(part) != part || strings.ContainsFunc(part, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}) {
		return fmt.Errorf("subdivision %q: write a code of ISO 3166-2, like US-CA", code)
	}
	return nil
}

// ParseASN reads an AS number, "64500" or "AS64500".
func ParseASN(s string) (uint32, error) {
	digits := s
	if len(s) > 2 && strings.EqualFold(s[:2], "AS") {
		digits = s[2:]
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 0 || digits[0] == '+' {
		return 0, fmt.Errorf("asn %q is not an AS number, like 64500 or AS64500", s)
	}
	return uint32(n), nil
}

// check finds what is wrong with the rules for these databases and PoPs, before anything is walked.
func (r *Rules) check(dbs Databases, pops *steer.PoPs) error {
	errs := &finding.List{File: r.File}
	if r.NeedsCity() && dbs.City == nil {
		errs.Add(0, "geo: there is no database for the rules by place: name a City or Country database")
	}
	if r.NeedsASN() && dbs.ASN == nil {
		errs.Add(0, "geo: there is no database for the rules by AS number: name an ASN or ISP database")
	}
	if r.Near == nil {
		return errs.Err()
	}
	if r.Near.Count < 1 || r.Near.Count > MaxCount {
		errs.Add(r.Near.Line, "near: count %d is outside 1..%d", r.Near.Count, MaxCount)
	}
	if len(placed(pops)) == 0 {
		errs.Add(r.Near.Line, "near: no pop of the pop table has a place: give the pops lat and lon")
	}
	for name, b := range r.Near.Bias {
		p, ok := pops.Get(name)
		switch {
		case b.Percent < -MaxBias || b.Percent > MaxBias:
			errs.Add(b.Line, "near: bias %d%% of pop %s is outside -%d..%d", b.Percent, name, MaxBias, MaxBias)
		case !ok:
			errs.Add(b.Line, "near: bias of pop %s, which is not in the pop table%s", name, didYouMean(name, popNames(pops)))
		case !hasPlace(p):
			errs.Add(b.Line, "near: bias of pop %s, which has no place: give it lat and lon", name)
		}
	}
	return errs.Err()
}

func didYouMean(word string, known []string) string {
	if near := finding.Nearest(word, known); near != "" {
		return fmt.Sprintf(" (did you mean %s?)", near)
	}
	return ""
}

func popNames(pops *steer.PoPs) []string {
	var names []string
	for p := range pops.All() {
		names = append(names, p.Name)
	}
	return names
}
