package publish

import (
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/zone"
)

func TestParseRRsetMakesRecordsOfArguments(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, tt := range []struct {
		text RecordText
		want string // lines, joined by newlines
	}{
		{RecordText{Name: "www", TTL: "60", Type: "A", Rdata: []string{"192.0.2.1", "192.0.2.2"}},
			"www.example.org. 60 A 192.0.2.1\nwww.example.org. 60 A 192.0.2.2"},
		{RecordText{Name: "www", TTL: "1h", Type: "a", Rdata: []string{"192.0.2.1", "192.0.2.2"}, PoP: "ams1", Weights: []uint32{3, 4}},
			"www.example.org. 3600 A 192.0.2.1 ;@ pop=ams1 weight=3\nwww.example.org. 3600 A 192.0.2.2 ;@ pop=ams1 weight=4"},
		{RecordText{Name: "www", TTL: "60", Type: "A", Rdata: []string{"192.0.2.1", "192.0.2.2"}, Weights: []uint32{7}},
			"www.example.org. 60 A 192.0.2.1 ;@ weight=7\nwww.example.org. 60 A 192.0.2.2 ;@ weight=7"},
		{RecordText{Name: "@", TTL: "2d", Type: "MX", Rdata: []string{"10", "mail"}}, "example.org. 172800 MX 10 mail.example.org."},
		{RecordText{Name: "@", TTL: "60", Type: "MX", Rdata: []string{"10 mail", "20 mx.example.net."}},
			"example.org. 60 MX 10 mail.example.org.\nexample.org. 60 MX 20 mx.example.net."},
		{RecordText{Name: "a.example.org.", TTL: "0", Type: "CNAME", Rdata: []string{"@"}}, "a.example.org. 0 CNAME example.org."},
		{RecordText{Name: "*", TTL: "60", Type: "TXT", Rdata: []string{"two words", `say "hi"; \o/`}},
			`*.example.org. 60 TXT "two words"` + "\n" + `*.example.org. 60 TXT "say \"hi\"; \\o/"`},
		{RecordText{Name: "t", TTL: "60", Type: "TXT", Rdata: []string{`"one" "two"`}}, `t.example.org. 60 TXT "one" "two"`},
		{RecordText{Name: "t", TTL: "60", Type: "TXT", Rdata: []string{""}}, `t.example.org. 60 TXT ""`},
		{RecordText{Name: "t", TTL: "60", Type: "TXT", Rdata: []string{long}}, `t.example.org. 60 TXT "` + long[:255] + `" "` + long[255:] + `"`},
		{RecordText{Name: "t", TTL: "60", Type: "TXT", Rdata: []string{"ü\n"}}, `t.example.org. 60 TXT "\195\188\010"`},
		{RecordText{Name: "@", TTL: "60", Type: "CAA", Rdata: []string{"0", "issue", "ca.example.net; account=7"}},
			`example.org. 60 CAA 0 issue "ca.example.net; account=7"`},
		{RecordText{Name: "_sip._tcp", TTL: "60", Type: "SRV", Rdata: []string{"0", "5", "5060", "sip"}}, "_sip._tcp.example.org. 60 SRV 0 5 5060 sip.example.org."},
		{RecordText{Name: "x", TTL: "60", Type: "TYPE65280", Rdata: []string{`\#`, "2", "abcd"}}, `x.example.org. 60 TYPE65280 \# 2 abcd`},
	} {
		set, err := ParseRRset(tt.text, origin)
		if err != nil {
			t.Errorf("%+v: %v", tt.text, err)
			continue
		}
		v, err := ViewRRset(set)
		if got := strings.Join(v.Lines(), "\n"); err != nil || got != tt.want {
			t.Errorf("%+v:\n got %s, %v\nwant %s", tt.text, got, err, tt.want)
		}
	}
}

func TestParseRRsetNamesWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		text RecordText
		want string
	}{
		{RecordText{Name: "", TTL: "60", Type: "A"}, "name is empty: write @ for the zone itself"},
		{RecordText{Name: "www.Example.ORG", TTL: "60", Type: "A"}, `name "www.Example.ORG" ends in the zone's own: write "www.Example.ORG." with a dot at its end, or leave the zone out of it`},
		{RecordText{Name: "www.example.net.", TTL: "60", Type: "A"}, `name "www.example.net." is outside zone example.org.: leave out the dot at its end if it is relative`},
		{RecordText{Name: "www", TTL: "-1", Type: "A"}, `ttl "-1" is not a number of seconds from 0 to 2147483647 (or like 5m, 1h, 2d)`},
		{RecordText{Name: "www", TTL: "2147483648", Type: "A"}, `ttl "2147483648" is not a number of seconds from 0 to 2147483647 (or like 5m, 1h, 2d)`},
		{RecordText{Name: "www", TTL: "99999999999999999999w", Type: "A"}, `ttl "99999999999999999999w" is not a number of seconds from 0 to 2147483647 (or like 5m, 1h, 2d)`},
		{RecordText{Name: "www", TTL: "m", Type: "A"}, `ttl "m" is not a number of seconds from 0 to 2147483647 (or like 5m, 1h, 2d)`},
		{RecordText{Name: "www", TTL: "60", Type: "A6X"}, `unknown record type "A6X": write A, AAAA, TXT, … or TYPE followed by its number`},
		{RecordText{Name: "www", TTL: "60", Type: "TYPE1x"}, `unknown record type "TYPE1x": write A, AAAA, TXT, … or TYPE followed by its number`},
		{RecordText{Name: "www", TTL: "60", Type: "A", Rdata: []string{"192.0.2.300"}}, `www.example.org. A "192.0.2.300": bad A A: "192.0.2.300"`},
		{RecordText{Name: "www", TTL: "60", Type: "MX", Rdata: []string{"10"}}, `www.example.org. MX "10": bad MX Mx: something is missing at the end`},
		{RecordText{Name: "www", TTL: "60", Type: "A", Rdata: []string{"192.0.2.1\nevil A 192.0.2.2"}}, `www.example.org. A "192.0.2.1\nevil A 192.0.2.2": rdata must be one line`},
		{RecordText{Name: "www", TTL: "60", Type: "A", Rdata: []string{"192.0.2.1"}, Weights: []uint32{1, 2}}, "2 weights for 1 records: give one for all or one for each"},
	} {
		_, err := ParseRRset(tt.text, origin)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%+v:\n got %v\nwant %s", tt.text, err, tt.want)
		}
	}
}

// FuzzParseRRset holds that whatever arguments make an RRset, it is of the owner and type that they name, and in the zone.
func FuzzParseRRset(f *testing.F) {
	f.Add("www", "60", "A", "192.0.2.1", "192.0.2.2")
	f.Add("@", "1h", "TXT", `a"b`, `\`)
	f.Add("t", "1", "MX", "10 a", "20 b ; c")
	f.Add("t", "1", "TYPE65280", `\#`, "0")
	f.Fuzz(func(t *testing.T, name, ttl, typ, a, b string) {
		set, err := ParseRRset(RecordText{Name: name, TTL: ttl, Type: typ, Rdata: []string{a, b}}, origin)
		if err != nil {
			return
		}
		if !set.Owner.IsSubdomainOf(origin) || len(set.Rdata) == 0 || len(set.Rdata) > 2 {
			t.Errorf("%q %q %q %q %q: owner %s, %d records", name, ttl, typ, a, b, set.Owner, len(set.Rdata))
		}
		if want, _ := ParseType(typ); set.Type != want {
			t.Errorf("%q: type %d, want %d", typ, set.Type, want)
		}
		if set.TTL > zone.MaxTTL {
			t.Errorf("%q: ttl %d", ttl, set.TTL)
		}
	})
}
