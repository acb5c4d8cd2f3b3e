package publish

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
)

// A RecordText is an RRset as the arguments of a command give it.
type RecordText struct {
	Name, TTL, Type string
	Rdata           []string
	PoP             string
	Weights         []uint32 // none, one for all records, or one for each
}

// ParseRRset reads t as an RRset of the zone. How Rdata becomes records depends on the type:
//
//   - A, AAAA, CNAME, DNAME, NS, PTR, whose rdata is one word: each is a record;
//   - TXT and SPF: each is a record; unless it begins with a double quote it is taken literally, and cut into strings of 255 bytes;
//   - others: they are the words of one record; or, when each of them holds a blank, each is a record.
func ParseRRset(t RecordText, origin zone.Name) (zone.RRset, error) {
	owner, err := ParseOwner(t.Name, origin)
	if err != nil {
		return zone.RRset{}, err
	}
	typ, err := ParseType(t.Type)
	if err != nil {
		return zone.RRset{}, err
	}
	ttl, err := parseTTL(t.TTL)
	if err != nil {
		return zone.RRset{}, err
	}
	texts := rdataTexts(typ, t.Rdata)
	if n := len(t.Weights); n > 1 && n != len(texts) {
		return zone.RRset{}, fmt.Errorf("%d weights for %d records: give one for all or one for each", n, len(texts))
	}
	rdata := make([]zone.Rdata, 0, len(texts))
	for i, text := range texts {
		wire, err := parseRdata(owner, typ, text, origin)
		if err != nil {
			return zone.RRset{}, err
		}
		rdata = append(rdata, zone.Rdata{Wire: wire, Weight: weightOf(t.Weights, i)})
	}
	return zone.NewRRset(owner, typ, ttl, t.PoP, rdata...)
}

func weightOf(weights []uint32, i int) uint32 {
	switch len(weights) {
	case 0:
		return 0
	case 1:
		return weights[0]
	}
	return weights[i]
}

// ParseOwner reads NAME as a zone file would in the zone: "@" is the origin, a name without a dot at its end is relative to it. A name outside
// the zone is an error, and so is one that has the zone in it but no dot at its end.
func ParseOwner(name string, origin zone.Name) (zone.Name, error) {
	abs := name
	switch {
	case name == "@":
		return origin, nil
	case name == "":
		return "", errors.New("name is empty: write @ for the zone itself")
	case dns.IsFqdn(name):
	case origin == zone.Root:
		abs = name + "."
	case strings.HasSuffix("."+strings.ToLower(name)+".", "."+origin.String()):
		// www.example.org.example.org. is what a zone file would make of it, and nobody's meaning.
		return "", fmt.Errorf("name %q ends in the zone's own: write %q with a dot at its end, or leave the zone out of it", name, name+".")
	default:
		abs = name + "." + origin.String()
	}
	owner, err := zone.ParseName(abs)
	if err != nil {
		return "", fmt.Errorf("name %q: %w", name, err)
	}
	if !owner.IsSubdomainOf(origin) {
		return "", fmt.Errorf("name %q is outside zone %s: leave out the dot at its end if it is relative", name, origin)
	}
	return owner, nil
}

// ParseType reads an RR type's mnemonic or TYPE12345, in any case.
func ParseType(s string) (uint16, error) {
	up := strings.ToUpper(s)
	if typ, ok := dns.StringToType[up]; ok {
		return typ, nil
	}
	var typ uint16
	if n, err := fmt.Sscanf(up, "TYPE%d", &typ); err == nil && n == 1 && fmt.Sprintf("TYPE%d", typ) == up {
		return typ, nil
	}
	return 0, fmt.Errorf("unknown record type %q: write A, AAAA, TXT, … or TYPE followed by its number", s)
}

// rdataTexts returns one presentation form per record.
func rdataTexts(typ uint16, args []string) []string {
	switch typ {
	case dns.TypeA, dns.TypeAAAA, dns.TypeCNAME, dns.TypeDNAME, dns.TypeNS, dns.TypePTR:
		return args
	case dns.TypeTXT, dns.TypeSPF:
		out := make([]string, len(args))
		for i, arg := range args {
			if out[i] = arg; !strings.HasPrefix(arg, `"`) {
				out[i] = quoteText(arg)
			}
		}
		return out
	}
	whole, words := true, make([]string, len(args))
	for i, arg := range args {
		blank := strings.ContainsFunc(arg, unicode.IsSpace)
		whole = whole && blank
		if words[i] = arg; (blank || strings.Contains(arg, ";")) && !strings.Contains(arg, `"`) {
			words[i] = quoteText(arg)
		}
	}
	if whole {
		return args
	}
	return []string{strings.Join(words, " ")}
}

// quoteText writes s as character-strings (RFC 1035 5.1), each of at most 255 bytes.
func quoteText(s string) string {
	const maxString = 255
	var b strings.Builder
	for first := true; first || s != ""; first = false {
		n := min(len(s), maxString)
		if !first {
			b.WriteByte(' ')
		}
		b.WriteByte('"')
		for _, c := range []byte(s[:n]) {
			switch {
			case c == '"' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < ' ' || c > '~':
				fmt.Fprintf(&b, `\%03d`, c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('"')
		s = s[n:]
	}
	return b.String()
}

// atEnd stands for the blank or line end that the parser quotes where it wanted more.
const atEnd = "something is missing at the end"

// parseRdata reads one record's rdata; names in it are relative to the origin.
func parseRdata(owner zone.Name, typ uint16, text string, origin zone.Name) ([]byte, error) {
	fail := func(why string) error { return fmt.Errorf("%s %s %q: %s", owner, TypeName(typ), text, why) }
	if strings.ContainsAny(text, "\n\r") {
		return nil, fail("rdata must be one line")
	}
	line := fmt.Sprintf("%s 0 IN %s %s\n", owner, TypeName(typ), text)
	zp := dns.NewZoneParser(strings.NewReader(line), origin.String(), "")
	rr, _ := zp.Next()
	if err := zp.Err(); err != nil {
		why := strings.TrimPrefix(err.Error(), "dns: ")
		if i := strings.LastIndex(why, " at line:"); i >= 0 {
			why = why[:i]
		}
		why = strings.NewReplacer("\"\n\"", atEnd, "\" \"", atEnd).Replace(why)
		return nil, fail(why)
	}
	if rr == nil {
		return nil, fail("rdata is missing")
	}
	got, wire, err := zone.RdataOf(rr)
	if err != nil {
		return nil, fail(err.Error())
	}
	if got != typ {
		return nil, fail("is a " + TypeName(got) + " record")
	}
	return wire, nil
}

// parseTTL reads seconds, or a number with the unit s, m, h, d or w.
func parseTTL(s string) (uint32, error) {
	digits, unit := s, uint64(1)
	if s != "" {
		if u, ok := map[byte]uint64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 604800}[s[len(s)-1]]; ok {
			digits, unit = s[:len(s)-1], u
		}
	}
	var n uint64
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' || n > zone.MaxTTL {
			n = zone.MaxTTL + 1
			break
		}
		n = n*10 + uint64(digits[i]-'0')
	}
	if digits == "" || n*unit > zone.MaxTTL {
		return 0, fmt.Errorf("ttl %q is not a number of seconds from 0 to %d (or like 5m, 1h, 2d)", s, uint32(zone.MaxTTL))
	}
	return uint32(n * unit), nil //nolint:gosec // bounded above
}

// ParseWeight bounds a record's weight to what a zone can hold: 1 to 2³²-1.
func ParseWeight(n uint) (uint32, error) {
	if n == 0 || n > 1<<32-1 {
		return 0, fmt.Errorf("weight %d is outside 1 to %d", n, uint32(1<<32-1))
	}
	return uint32(n), nil
}

// ParseSerial reads a serial: 0 to 2³²-1.
func ParseSerial(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("serial %q is not a number from 0 to %d", s, uint32(1<<32-1))
	}
	return uint32(n), nil
}
