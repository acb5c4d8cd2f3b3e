package test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/zone"

	"github.com/miekg/dns"
)

// signers are the ways in which both ldns-signzone and popctl can sign.
var signers = map[int]struct{ ldns, ours []string }{
	withNSEC:   {nil, []string{"--nsec"}},
	withNSEC3:  {[]string{"-n", "-t", "0"}, []string{"--nsec3"}},
	withOptOut: {[]string{"-n", "-t", "0", "-p"}, []string{"--opt-out"}},
}

// TestRandomZonesAreSignedAsLDNSDoes signs random zones with popctl and with
// ldns-signzone: both must make the same chain and sign the same sets, and
// ldns-verify-zone and BIND's dnssec-verify must find no fault. NSD, Knot and
// ours then serve what popctl signed, and must give the same answers.
func TestRandomZonesAreSignedAsLDNSDoes(t *testing.T) {
	seed := firstSeed()
	t.Logf("run again with -conformance-seed=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	keys := newKeyFiles(t)
	zones := make([]*conformanceZone, 12)
	for i := range zones {
		z := makeConformanceZone(t, rnd, keys, fmt.Sprintf("s%d.test.", i), []int{withNSEC, withNSEC3, withOptOut}[i%3])
		zones[i] = z
		how, content := signers[z.signed], strings.TrimSuffix(z.path, ".signed")
		theirs, ours := content+".ldns", content+".ours"
		mustRun(t, "ldns-signzone", append(how.ldns, "-o", z.origin, "-f", theirs, content, keys.write(t, z.origin))...)
		popctl(t, "", 0, append([]string{"zone", "sign", z.origin, content, "--keys", keys.dir, "--out", ours}, how.ours...)...)
		if got, want := essence(t, ours, z.signed == withOptOut), essence(t, theirs, z.signed == withOptOut); !maps.Equal(got, want) {
			t.Fatalf("%s: only ours: %s\nonly theirs: %s\nof\n%s", strings.Join(how.ours, " "), onlyIn(got, want), onlyIn(want, got), strings.Join(z.lines, "\n"))
		}
		verifyZone(t, z.origin, ours, "-z") // one key signs everything
		z.path, z.hashes = ours, nsec3Owners(t, ours)
	}
	c := comparison{servers: startConformanceServers(t, zones), kinds: map[string]int{}, explained: map[string]int{}}
	for _, z := range zones {
		c.compare(t, z)
	}
	c.report(t)
}

// mustRun runs a tool to its end and returns what it says.
func mustRun(t *testing.T, name string, args ...string) string {
	t.Helper()
	packages := map[string]string{"ldns-signzone": "ldnsutils", "ldns-verify-zone": "ldnsutils", "dnssec-verify": "bind9-utils", "dnssec-keygen": "bind9-utils", "delv": "bind9-dnsutils"}
	out, err := exec.CommandContext(t.Context(), systemBinary(t, name, packages[name]), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// verifyZone lets two implementations look at a signed zone file.
func verifyZone(t *testing.T, origin, path string, flags ...string) {
	t.Helper()
	mustRun(t, "ldns-verify-zone", path)
	mustRun(t, "dnssec-verify", append(flags, "-o", origin, path)...)
}

// essence is what two signers of the same content must agree on: the chain, and
// which sets are signed. With opt-out a signer may leave out unsigned cuts: ours
// leaves out all, ldns those without glue, so that the others are not compared.
func essence(t *testing.T, path string, optOut bool) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for rr := range records(t, path) {
		owner := oneForm(rr.Header().Name)
		switch rr := rr.(type) {
		case *dns.NSEC:
			out[fmt.Sprintf("%s NSEC %s %v", owner, oneForm(rr.NextDomain), rr.TypeBitMap)] = true
		case *dns.NSEC3:
			next := strings.ToLower(rr.NextDomain)
			if optOut {
				next = "…"
			}
			if unsignedCut := slices.Equal(rr.TypeBitMap, []uint16{dns.TypeNS}); !optOut || !unsignedCut {
				out[fmt.Sprintf("%s NSEC3 %d %d %q %s %v", owner, rr.Flags, rr.Iterations, rr.Salt, next, rr.TypeBitMap)] = true
			}
		case *dns.RRSIG:
			if !optOut || rr.TypeCovered != dns.TypeNSEC3 {
				out[fmt.Sprintf("%s RRSIG %s %d %d", owner, dns.Type(rr.TypeCovered), rr.Labels, rr.KeyTag)] = true
			}
		}
	}
	return out
}

// oneForm is a name in the one form that all spellings of it have.
func oneForm(name string) string { return zone.MustParseName(name).String() }

func onlyIn(of, in map[string]bool) []string {
	only := maps.Clone(of)
	maps.DeleteFunc(only, func(k string, _ bool) bool { return in[k] })
	return slices.Sorted(maps.Keys(only))
}

func nsec3Owners(t *testing.T, path string) (owners []string) {
	t.Helper()
	for rr := range records(t, path) {
		if rr.Header().Rrtype == dns.TypeNSEC3 {
			owners = append(owners, rr.Header().Name)
		}
	}
	return owners
}

// records reads a zone file as a server that knows no steering does.
func records(t *testing.T, path string) func(func(dns.RR) bool) {
	t.Helper()
	return func(yield func(dns.RR) bool) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		p := dns.NewZoneParser(f, "", path)
		for rr, ok := p.Next(); ok; rr, ok = p.Next() {
			if !yield(rr) {
				return
			}
		}
		if err := p.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

const steeredZone = `$TTL 300
@   SOA ns hostmaster 1 3600 600 86400 60
@   NS  ns
ns  A   192.0.2.1
www A   192.0.2.10 ;@ pop=ams1
www A   192.0.2.20 ;@ pop=iad2 answers=1 choose=weighted
www A   192.0.2.21 ;@ pop=iad2
www A   192.0.2.30
go  CNAME www      ;@ pop=ams1
go  CNAME ns
*.w TXT "any"
a.b A   192.0.2.9
sub NS  ns.sub
ns.sub A 192.0.2.3
`

// validated lists questions of each kind of answer, with what delv says last of one that validates.
var validated = []struct{ name, typ, verdict string }{
	{"www.example.org", "A", "fully validated"},
	{"go.example.org", "A", "fully validated"},
	{"x.y.w.example.org", "TXT", "fully validated"},
	{"www.example.org", "MX", "negative response, fully validated"},
	{"b.example.org", "A", "negative response, fully validated"},
	{"nothing.example.org", "A", "negative response, fully validated"},
	{"example.org", "SOA", "fully validated"},
}

// TestSteeredZoneValidatesForTheClientsOfEveryPoP signs a zone with steered
// names and asks with delv as clients of each PoP: before and after edits that
// sign only what they change, with NSEC and with NSEC3.
func TestSteeredZoneValidatesForTheClientsOfEveryPoP(t *testing.T) {
	dir := t.TempDir()
	url, keys, file := "dir://"+filepath.Join(dir, "store"), filepath.Join(dir, "keys"), writeFile(t, "example.org.zone", steeredZone)
	anchor := makeKeys(t, keys)
	popctl(t, url, 0, "init")
	popctl(t, url, 0, "zone", "publish", "example.org", file, "--keys", keys)

	ports := map[string]int{"ams1": freePort(t), "iad2": freePort(t), "": freePort(t)}
	var corefile strings.Builder
	for pop, port := range ports {
		steering := ""
		if pop != "" {
			steering = "popmap {\n default " + pop + "\n }\n"
		}
		fmt.Fprintf(&corefile, "example.org:%d {\n bind 127.0.0.1\n %s zkzone {\n source %s\n startup_timeout 20s\n }\n errors\n}\n", port, steering, url)
	}
	startCoreDNS(t, corefile.String(), loopback(ports[""]))

	check := func(step string) {
		t.Helper()
		out, _ := popctl(t, url, 0, "zone", "show", "example.org")
		serial := out[strings.Index(out, "SOA"):]
		for pop, port := range ports {
			verifyZone(t, "example.org", writeFile(t, "projected", project(out, pop)))
			eventually(t, "the edge follows", func() error {
				r, err := exchange(loopback(port), question("example.org", dns.TypeSOA))
				if err == nil && !strings.Contains(serial, fmt.Sprintf(" %d ", r.Answer[0].(*dns.SOA).Serial)) {
					err = fmt.Errorf("serial %s", r.Answer[0])
				}
				return err
			})
			for _, q := range validated {
				delv(t, step+" for PoP "+pop, port, anchor, q.name, q.typ, q.verdict)
			}
		}
	}
	check("the first time")
	for pop, want := range map[string]string{"ams1": "192.0.2.10", "iad2": "192.0.2.20", "": "192.0.2.30"} {
		if r := ask(t, loopback(ports[pop]), question("www.example.org", dns.TypeA)); !strings.Contains(values(r), want) {
			t.Errorf("PoP %q is answered %s, want %s", pop, values(r), want)
		}
	}
	popctl(t, url, 0, "zone", "set", "example.org", "www", "60", "A", "198.51.100.1", "--pop", "ams1", "--keys", keys)
	popctl(t, url, 0, "zone", "unset", "example.org", "a.b", "A", "--keys", keys)
	popctl(t, url, 0, "zone", "set", "example.org", "c.b", "60", "TXT", "new", "--keys", keys)
	check("after edits")
	popctl(t, url, 0, "zone", "sign", "example.org", "--published", "--keys", keys, "--nsec3")
	popctl(t, url, 0, "zone", "set", "example.org", "c.b", "60", "TXT", "newer", "--keys", keys)
	check("with NSEC3")
	out, said := popctl(t, url, 0, "zone", "sign", "example.org", "--published", "--keys", keys)
	if !strings.Contains(out, "nothing changed") || !strings.Contains(said, "0 made") {
		t.Errorf("signing again at once says %q and %q", out, said)
	}
	popctl(t, url, 0, "zone", "rollback", "example.org", "1", "--keys", keys, "--force")
	check("after a rollback")
}

// project is the zone that the clients of a PoP see: their variants, and the default variant where they have none.
func project(text, pop string) string {
	key := func(line string) string {
		f := strings.Fields(line)
		if f[3] == "RRSIG" {
			return f[0] + " " + f[4]
		}
		return f[0] + " " + f[3]
	}
	mine, tag := map[string]bool{}, "pop="+pop
	isMine := func(line string) bool { return pop != "" && slices.Contains(strings.Fields(line), tag) }
	var out strings.Builder
	for line := range strings.Lines(text) {
		if isMine(line) {
			mine[key(line)] = true
		}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "$") || isMine(line) || !strings.Contains(line, "pop=") && !mine[key(line)] {
			out.WriteString(line)
		}
	}
	return out.String()
}

// makeKeys makes a KSK and a ZSK of example.org with BIND's tool, and returns a
// file with the trust anchor for delv.
func makeKeys(t *testing.T, dir string) (anchor string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ksk := strings.Fields(mustRun(t, "dnssec-keygen", "-q", "-K", dir, "-a", "ECDSAP256SHA256", "-f", "KSK", "example.org"))[0]
	mustRun(t, "dnssec-keygen", "-q", "-K", dir, "-a", "ECDSAP256SHA256", "example.org")
	return anchorOf(t, filepath.Join(dir, ksk+".key"))
}

func anchorOf(t *testing.T, path string) string {
	t.Helper()
	for rr := range records(t, path) {
		k := rr.(*dns.DNSKEY)
		return writeFile(t, "anchor", fmt.Sprintf("trust-anchors { %s static-key %d %d %d %q; };\n", k.Hdr.Name, k.Flags, k.Protocol, k.Algorithm, k.PublicKey))
	}
	t.Fatalf("%s has no key", path)
	return ""
}

// delv asks with BIND's validator and wants its verdict.
func delv(t *testing.T, step string, port int, anchor, name, typ, verdict string) {
	t.Helper()
	out := mustRun(t, "delv", "@127.0.0.1", "-p", fmt.Sprint(port), "-a", anchor, "+root=example.org", name, typ)
	if !strings.Contains("\n"+out, "\n; "+verdict+"\n") {
		t.Errorf("%s: delv %s %s says\n%swant %s", step, name, typ, out, verdict)
	}
}

// TestStockDNSSECPluginSignsWhatZkzoneAnswers puts CoreDNS's own signer above
// zkzone: an unsigned zone with steered names validates for every PoP.
func TestStockDNSSECPluginSignsWhatZkzoneAnswers(t *testing.T) {
	dir := t.TempDir()
	url := "dir://" + filepath.Join(dir, "store")
	popctl(t, url, 0, "init")
	popctl(t, url, 0, "zone", "publish", "example.org", writeFile(t, "example.org.zone", steeredZone))
	name := strings.TrimSpace(mustRun(t, "dnssec-keygen", "-q", "-K", dir, "-a", "ECDSAP256SHA256", "-f", "KSK", "example.org"))
	key := filepath.Join(dir, name)
	anchor := anchorOf(t, key+".key")
	ports := map[string]int{"ams1": freePort(t), "iad2": freePort(t)}
	var corefile strings.Builder
	for pop, port := range ports {
		fmt.Fprintf(&corefile, "example.org:%d {\n bind 127.0.0.1\n dnssec {\n key file %s\n }\n popmap {\n default %s\n }\n zkzone {\n source %s\n startup_timeout 20s\n }\n errors\n}\n",
			port, key, pop, url)
	}
	startCoreDNS(t, corefile.String(), loopback(ports["ams1"]))
	for pop, port := range ports {
		for _, q := range validated {
			delv(t, "PoP "+pop, port, anchor, q.name, q.typ, q.verdict)
		}
	}
}
