package tinydns

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
)

// Against the real thing: for every name, type and client, the variant for the client's location holds exactly what
// tinydns-get says that tinydns answers from the file that tinydns-data makes.
func TestVariantsHoldWhatTinydnsAnswers(t *testing.T) {
	data, errData := exec.LookPath("tinydns-data")
	get, errGet := exec.LookPath("tinydns-get")
	if errData != nil || errGet != nil {
		t.Skip("tinydns-data and tinydns-get are not installed (apt-get install tinydns)")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	asked := 0
	for range 8 {
		text := randomData(rnd)
		dir := t.TempDir()
		path := filepath.Join(dir, "data")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), data)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("tinydns-data: %v: %s\n%s", err, out, text)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Convert(f, "data", org)
		f.Close()
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		for k := range keysOf(c.Snapshot) {
			for client, loc := range clients {
				cmd := exec.CommandContext(t.Context(), get, fmt.Sprint(k.Type), strings.TrimSuffix(k.Owner.String(), "."), client)
				cmd.Dir = dir
				out, err := cmd.Output()
				if err != nil {
					t.Fatal(err)
				}
				asked++
				if got, want := variantFor(t, c, k, loc), answers(string(out)); !slices.Equal(got, want) {
					t.Fatalf("%v for %s: converted\n%q\ntinydns answers\n%q\nfrom\n%s", k, client, got, want, text)
				}
			}
		}
	}
	t.Logf("%d questions", asked)
}

// clients and the location that randomData's % lines put them in.
var clients = map[string]string{"10.1.2.3": "in", "10.1.9.1": "", "192.0.2.7": "ex", "198.51.100.1": "", "10.2.3.4": "in"}

func randomData(rnd *rand.Rand) string {
	var b strings.Builder
	b.WriteString("%in:10.1\n%in:10.2.3\n%ex:192.0.2.7\n%:10.1.9\n")
	b.WriteString(".example.org:192.0.2.1:a:1000\n.example.org:192.0.2.2:b.ns.example.net\n")
	loc := func() string { return []string{"", "", "in", "ex"}[rnd.IntN(4)] }
	ttl := func() string { return []string{"", "300", "60", "0"}[rnd.IntN(4)] }
	// Names by type, so that a CNAME stands alone; each has an unmarked record, because a name that only other locations
	// have does not exist for tinydns, and is answered from another PoP here.
	for i := range 4 {
		n := fmt.Sprintf("%d.Ex\\141mple.org", i)
		fmt.Fprintf(&b, "+a%s:192.0.2.%d\n=h%s:192.0.2.9:77\n'*.t%s:x:%s\n@m%s:192.0.2.4:mx:5\nCc%s:a%s:%s\n^p%s:a.b:1\n", n, i, n, n, ttl(), n, n, n, ttl(), n)
		fmt.Fprintf(&b, ":v%s:28:\\040\\001\\015\\2700000000000%d1:%s\n", n, i, ttl())
		for j := range rnd.IntN(5) {
			fmt.Fprintf(&b, "+a%s:10.0.%d.%d:%s::%s\n", n, i, j, ttl(), loc())
			fmt.Fprintf(&b, "'*.t%s:\\00%d \\072%s:%s::%s\n", n, j, strings.Repeat("long", 40*rnd.IntN(2)), ttl(), loc())
			fmt.Fprintf(&b, "@m%s:10.1.%d.%d:%d:%d:%s::%s\n", n, i, j, j, rnd.IntN(9), ttl(), loc())
			fmt.Fprintf(&b, "^p%s:%d.example.net.:%s::%s\n", n, j, ttl(), loc())
		}
	}
	return b.String()
}

func keysOf(s *zone.Snapshot) map[zone.Key]bool {
	keys := map[zone.Key]bool{}
	for set := range s.RRsets() {
		k := set.Key()
		k.PoP = ""
		keys[k] = true
	}
	return keys
}

// variantFor gives the data that a client of the location gets, sorted.
func variantFor(t *testing.T, c *Conversion, k zone.Key, loc string) []string {
	t.Helper()
	k.PoP = c.PoPs[loc]
	set, ok := c.Snapshot.Get(k)
	if !ok {
		k.PoP = ""
		set, _ = c.Snapshot.Get(k)
	}
	out := make([]string, 0, len(set.Rdata))
	ttl := fmt.Sprint(set.TTL)
	if k.Type == dns.TypeA {
		ttl = "-"
	}
	for _, rd := range set.Rdata {
		out = append(out, fmt.Sprintf("%s %s", ttl, shown(k.Type, rd.Wire)))
	}
	slices.Sort(out)
	return out
}

// shown is rdata as tinydns-get prints it, in lower case as a zone stores names.
func shown(typ uint16, wire []byte) string {
	name := func(w []byte) string { return strings.TrimSuffix(zone.Name(w).String(), ".") }
	switch typ {
	case dns.TypeA:
		return fmt.Sprintf("%d.%d.%d.%d", wire[0], wire[1], wire[2], wire[3])
	case dns.TypeNS, dns.TypeCNAME, dns.TypePTR:
		return name(wire)
	case dns.TypeMX:
		return fmt.Sprintf("%d %s", int(wire[0])<<8|int(wire[1]), name(wire[2:]))
	case dns.TypeSOA:
		rr, _, err := dns.UnpackRR(append([]byte{0, 0, 6, 0, 1, 0, 0, 0, 0, 0, byte(len(wire))}, wire...), 0)
		if err != nil {
			return err.Error()
		}
		soa := rr.(*dns.SOA)
		return fmt.Sprintf("%s %s %d %d %d %d %d", strings.TrimSuffix(soa.Ns, "."), strings.TrimSuffix(soa.Mbox, "."), soa.Serial, soa.Refresh, soa.Retry, soa.Expire, soa.Minttl)
	}
	var b strings.Builder
	for _, c := range wire {
		if c > 32 && c < 127 && c != '\\' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "\\%03o", c)
		}
	}
	return b.String()
}

// answers gives "ttl data" of each answer that tinydns-get prints, sorted, duplicates dropped, all with the least TTL (RFC 2181 5.2).
func answers(out string) []string {
	var data []string
	least := ""
	for l := range strings.SplitSeq(out, "\n") {
		rest, ok := strings.CutPrefix(l, "answer: ")
		if !ok {
			continue
		}
		f := strings.SplitN(rest, " ", 4)
		if f[2] == "A" { // tinydns gives all addresses the TTL of the one that the file has last: no rule to follow
			f[1] = "-"
		}
		if least == "" || len(f[1]) < len(least) || len(f[1]) == len(least) && f[1] < least {
			least = f[1]
		}
		data = append(data, f[3])
	}
	slices.Sort(data)
	data = slices.Compact(data)
	for i, d := range data {
		data[i] = least + " " + d
	}
	return data
}
