package publish

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
	"github.com/popdns/popdns/internal/zonefile"
)

// RRset is an RRset for people and JSON: names, types and rdata in presentation form.
type RRset struct {
	Owner   string   `json:"owner"`
	Type    string   `json:"type"`
	TTL     uint32   `json:"ttl"`
	PoP     string   `json:"pop,omitempty"`
	Rdata   []string `json:"rdata"`
	Weights []uint32 `json:"weights,omitempty"` // one per rdata, 0 = unweighted; absent when no record has one
}

// ViewRRset returns the presentation form of set. It fails when set's rdata can't be decoded.
func ViewRRset(set zone.RRset) (RRset, error) {
	v := RRset{Owner: set.Owner.String(), Type: TypeName(set.Type), TTL: set.TTL, PoP: set.PoP}
	rrs, err := set.RRs()
	if err != nil {
		return v, fmt.Errorf("%s %s: %w", v.Owner, v.Type, err)
	}
	weighted := false
	for i, rr := range rrs {
		v.Rdata = append(v.Rdata, rdataText(rr))
		v.Weights = append(v.Weights, set.Rdata[i].Weight)
		weighted = weighted || set.Rdata[i].Weight != 0
	}
	if !weighted {
		v.Weights = nil
	}
	return v, nil
}

func rdataText(rr dns.RR) string {
	if unknown, ok := rr.(*dns.RFC3597); ok { // whose String writes a header of its own
		return strings.TrimRight(fmt.Sprintf("\\# %d %s", len(unknown.Rdata)/2, unknown.Rdata), " ")
	}
	return strings.TrimPrefix(rr.String(), rr.Header().String())
}

// Lines returns one line per record, "www.example.org. 60 A 192.0.2.1 ;@ pop=ams1 weight=10".
func (v RRset) Lines() []string {
	out := make([]string, len(v.Rdata))
	for i := range v.Rdata {
		out[i] = fmt.Sprintf("%s %d %s %s%s", v.Owner, v.TTL, v.Type, v.Rdata[i], mark(v.PoP, v.weight(i)))
	}
	return out
}

// weight returns the weight of record i.
func (v RRset) weight(i int) uint32 {
	if v.Weights == nil {
		return 0
	}
	return v.Weights[i]
}

// mark is the comment that a zone file carries behind such a record, with a leading blank.
func mark(pop string, weight uint32) string {
	if pop == "" && weight == 0 {
		return ""
	}
	out := " ;@"
	if pop != "" {
		out += " pop=" + pop
	}
	if weight != 0 {
		out += fmt.Sprintf(" weight=%d", weight)
	}
	return out
}

// Steering is an owner's steering settings for people and JSON.
type Steering struct {
	Map     string   `json:"map,omitempty"`
	Answers int      `json:"answers,omitempty"`
	Choose  string   `json:"choose,omitempty"` // "weighted", "sticky", or "" for all
	PoPs    []string `json:"pops,omitempty"`   // that may answer, nil for all
	Service string   `json:"service,omitempty"`
	AllDown string   `json:"alldown,omitempty"` // "all", "none", or "" for last-resort
	DownTTL uint32   `json:"downttl,omitempty"` // seconds

	text string
}

// ViewSteering returns the presentation form of s.
func ViewSteering(s zone.Steering) Steering {
	v := Steering{Map: s.Map, Answers: s.Answers, Service: s.Service, DownTTL: s.DownTTL, text: strings.Join(zonefile.Settings(s), " ")}
	if s.Choose != zone.ChooseAll {
		v.Choose = s.Choose.String()
	}
	if s.AllDown != zone.AllDownLastResort {
		v.AllDown = s.AllDown.String()
	}
	if s.PoPs != "" {
		v.PoPs = strings.Split(s.PoPs, ",")
	}
	return v
}

// String returns the settings as a zone file's comment has them, "(none)" for the zero value.
func (v Steering) String() string {
	if v.text == "" {
		return "(none)"
	}
	return v.text
}

// TypeName returns the mnemonic of an RR type, TYPE12345 for one without (RFC 3597 5).
func TypeName(typ uint16) string { return dns.Type(typ).String() }
