package test

import (
	"bytes"
	"crypto"
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

// The ways in which a zone of the conformance test is signed.
const (
	unsigned = iota
	withNSEC
	withNSEC3
	withOptOut
	signings
)

// conformanceZone is a random zone in which everything that an authority has to
// know meets: few labels, so that names hit, miss and cross one another.
type conformanceZone struct {
	rnd    *rand.Rand
	origin string
	signed int // one of the constants above
	path   string
	owners []string
	hashes []string // owners of NSEC3
	lines  []string
	taken  map[zone.Name]bool
	key    *dns.DNSKEY
}

// conformanceLabels has odd octets, a dot in a label, and letters of both cases.
var conformanceLabels = []string{"a", "b", "c", "d", "*", "www", "ns", "_tcp", `\000`, `\255\001`, `x\.y`, "MiXeD", `sp\032ace`, strings.Repeat("l", 63)}

// conformanceLabel is one of the few labels, the plain ones more often.
func (z *conformanceZone) label() string {
	if z.rnd.IntN(2) == 0 {
		return conformanceLabels[z.rnd.IntN(6)]
	}
	return conformanceLabels[z.rnd.IntN(len(conformanceLabels))]
}

// maxLDNSName is the longest presentation form that ldns reads, escapes and all.
const maxLDNSName = 250

// name is a name of the zone, now and then a long one.
func (z *conformanceZone) name() string {
	name, labels := z.origin, 1+z.rnd.IntN(4)
	if z.rnd.IntN(25) == 0 {
		labels = 120
	}
	for range labels {
		longer := z.label() + "." + name
		if !z.readable(longer) {
			break
		}
		name = longer
	}
	return name
}

// readable tells whether all who are to read the zone can read the name.
func (z *conformanceZone) readable(name string) bool {
	_, err := zone.ParseName(name)
	return err == nil && (z.signed == unsigned || len(name) <= maxLDNSName)
}

func (z *conformanceZone) target() string {
	switch z.rnd.IntN(8) {
	case 0:
		return "elsewhere.invalid."
	case 1, 2, 3:
		if len(z.owners) > 0 {
			if target := strings.Replace(z.owners[z.rnd.IntN(len(z.owners))], "*", z.label(), z.rnd.IntN(2)); z.readable(target) {
				return target
			}
		}
	}
	return z.name()
}

// add adds a record. The TTL depends on the type alone, because one RRset has one.
func (z *conformanceZone) add(owner, typ, format string, args ...any) {
	z.lines = append(z.lines, fmt.Sprintf("%s %d IN %s %s", owner, 100+7*len(typ), typ, fmt.Sprintf(format, args...)))
}

func (z *conformanceZone) addresses(owner string) {
	for i := range 1 + z.rnd.IntN(2) {
		z.add(owner, "A", "192.0.2.%d", 1+i+z.rnd.IntN(9)*2)
	}
	if z.rnd.IntN(2) == 0 {
		z.add(owner, "AAAA", "2001:db8::%d", 1+z.rnd.IntN(9))
	}
}

// fill gives an owner records of some plausible sort.
func (z *conformanceZone) fill(owner string) {
	wildcard := strings.HasPrefix(owner, "*.")
	switch sort := z.rnd.IntN(12); {
	case sort < 2:
		z.add(owner, "CNAME", "%s", z.target())
	case sort < 5 && !wildcard:
		z.cut(owner)
	case sort == 5 && !wildcard:
		z.add(owner, "DNAME", "%s", z.dnameTarget())
		z.add(owner, "TXT", `"beside a DNAME"`)
	case sort == 6:
		z.add(owner, "MX", "10 %s", z.target())
		z.add(owner, "SRV", "0 0 443 %s", z.target())
		z.add(owner, "HTTPS", "1 . alpn=h2")
		z.addresses(owner)
	case sort == 7:
		z.add(owner, "TXT", `"%d" ""`, z.rnd.IntN(9))
		z.add(owner, "TYPE65280", `\# 4 0A0000%02X`, z.rnd.IntN(256))
	default:
		z.addresses(owner)
	}
}

// cut delegates the owner, signed or not, with glue below it, elsewhere in the
// zone, or outside.
func (z *conformanceZone) cut(owner string) {
	for range 1 + z.rnd.IntN(2) {
		target := z.target()
		if below := "ns." + owner; z.rnd.IntN(2) == 0 && z.readable(below) && z.claim(below) {
			target = below
			z.addresses(below)
		}
		z.add(owner, "NS", "%s", target)
	}
	if z.rnd.IntN(2) == 0 {
		z.add(owner, "DS", "1 15 2 %064x", z.rnd.Uint64())
	}
}

// tooLong leaves 36 octets for what stands before it.
var tooLong = strings.Repeat(strings.Repeat("z", 58)+".", 3) + strings.Repeat("z", 40) + "."

func (z *conformanceZone) dnameTarget() string {
	if z.rnd.IntN(3) == 0 {
		return tooLong
	}
	return z.target()
}

// claim tells whether the name is a new owner, and makes it one.
func (z *conformanceZone) claim(name string) bool {
	n, err := zone.ParseName(name)
	if err != nil || z.taken[n] {
		return false
	}
	z.taken[n] = true
	z.owners = append(z.owners, name)
	return true
}

// makeConformanceZone writes a random zone, signs it with ldns-signzone if it
// is to be signed, and puts the file into dir.
func makeConformanceZone(t *testing.T, rnd *rand.Rand, keys keyFiles, origin string, signed int) *conformanceZone {
	t.Helper()
	z := &conformanceZone{rnd: rnd, origin: origin, signed: signed, taken: map[zone.Name]bool{}, key: keys.key(origin)}
	z.claim(origin)
	z.add(origin, "SOA", "ns.%s hostmaster.%s 7 3600 900 86400 %d", origin, origin, 60+rnd.IntN(120))
	z.add(origin, "NS", "%s", z.target())
	z.add(origin, "NS", "ns.invalid.")
	if rnd.IntN(12) == 0 {
		z.add(origin, "DNAME", "%s", z.dnameTarget())
	}
	z.claim("over." + origin)
	z.add("over."+origin, "DNAME", "%s", tooLong)
	if signed == unsigned {
		for _, labelLen := range []int{1, 63} {
			if name := longest(labelLen, origin); z.claim(name) {
				z.addresses(name)
			}
		}
	}
	for range 1 + rnd.IntN(30) {
		if name := z.name(); z.claim(name) {
			z.fill(name)
		}
	}
	z.dropOccluded()
	z.path = filepath.Join(keys.dir, origin+"zone")
	if err := os.WriteFile(z.path, []byte(strings.Join(z.lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if signed != unsigned {
		z.sign(t, keys)
	}
	return z
}

// longest is a name below the origin of 255 octets, the most there can be (RFC 1035
// 2.3.4), in labels of the given length but for the first, which takes what is left.
func longest(labelLen int, origin string) string {
	name, left := origin, 255-len(origin)-1 // a name without escapes takes one octet more than its text
	for left > 1+labelLen+1 {
		name, left = strings.Repeat("m", labelLen)+"."+name, left-1-labelLen
	}
	return strings.Repeat("n", left-1) + "." + name
}

// dropOccluded takes out what lies below a DNAME, because NSD refuses to load it,
// and wildcards below cuts: NSD and Knot make glue of them, which nobody needs.
func (z *conformanceZone) dropOccluded() {
	var dnames, cuts []string
	for _, line := range z.lines {
		f := strings.Fields(line)
		switch owner := strings.ToLower(f[0]); {
		case f[3] == "DNAME":
			dnames = append(dnames, owner)
		case f[3] == "NS" && owner != z.origin:
			cuts = append(cuts, owner)
		}
	}
	z.lines = slices.DeleteFunc(z.lines, func(line string) bool {
		owner := strings.ToLower(strings.Fields(line)[0])
		below := func(above string) bool { return owner != above && dns.IsSubDomain(above, owner) }
		return slices.ContainsFunc(dnames, below) || strings.HasPrefix(owner, "*.") && slices.ContainsFunc(cuts, below)
	})
}

// sign replaces the file by the signed zone.
func (z *conformanceZone) sign(t *testing.T, keys keyFiles) {
	t.Helper()
	args := []string{"-o", z.origin, "-f", z.path + ".signed", "-i", "20200101", "-e", "20380101"}
	if z.signed != withNSEC {
		args = append(args, "-n", "-t", fmt.Sprint(z.rnd.IntN(3)*5))
		if z.rnd.IntN(2) == 0 {
			args = append(args, "-s", "c0ffee")
		}
	}
	if z.signed == withOptOut {
		args = append(args, "-p")
	}
	out, err := exec.CommandContext(t.Context(), "ldns-signzone", append(args, z.path, keys.write(t, z.origin))...).CombinedOutput()
	if err != nil {
		t.Fatalf("ldns-signzone %s: %v\n%s\n%s", strings.Join(args, " "), err, out, strings.Join(z.lines, "\n"))
	}
	z.path += ".signed"
	text, err := os.ReadFile(z.path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if f := strings.Fields(string(line)); len(f) > 3 && f[3] == "NSEC3" {
			z.hashes = append(z.hashes, f[0])
		}
	}
}

// belowHash is the label of the names that are asked for below NSEC3 owners.
const belowHash = "below-a-hash"

// unsignedText is a zone's file without its signatures.
func unsignedText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, "\tRRSIG\t") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// conformanceQuestion is a name and a type to ask all servers for.
type conformanceQuestion struct {
	name string
	typ  uint16
}

var conformanceTypes = []uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeCNAME, dns.TypeDNAME, dns.TypeMX, dns.TypeSRV, dns.TypeHTTPS, dns.TypeSVCB, dns.TypeTXT, dns.TypeDS,
	dns.TypeSOA, dns.TypeNSEC, dns.TypeNSEC3PARAM, dns.TypeNSEC3, dns.TypeDNSKEY, 65280, dns.TypeANY,
}

// questions asks for each of the names with some of the types.
func (z *conformanceZone) questions() []conformanceQuestion {
	names := z.names()
	all := make([]conformanceQuestion, 0, 7*len(names))
	for _, name := range names {
		for _, i := range z.rnd.Perm(len(conformanceTypes))[:7] {
			all = append(all, conformanceQuestion{name, conformanceTypes[i]})
		}
	}
	return all
}

// names are every owner, what is above, beside and below it, what its wildcards
// stand for and what its DNAMEs lead to, and NSEC3 owners, in order.
func (z *conformanceZone) names() []string {
	names := map[string]bool{z.origin: true, "nothing." + z.origin: true}
	for _, owner := range z.owners {
		names[owner] = true
		labels := dns.SplitDomainName(owner)
		for i := 1; i < len(labels) && len(labels)-i >= dns.CountLabel(z.origin) && i < 6; i++ {
			names[dns.Fqdn(strings.Join(labels[i:], "."))] = true
		}
		if owner != z.origin {
			names[z.label()+"."+strings.Join(labels[1:], ".")+"."] = true
			names[labels[0]+"0."+strings.Join(labels[1:], ".")+"."] = true
		}
		names[z.label()+"."+owner] = true
		names[z.label()+"."+z.label()+"."+owner] = true
		names[strings.Repeat("q", 1+z.rnd.IntN(63))+"."+owner] = true
		names[strings.Replace(owner, "*", z.label(), 1)] = true
		names[strings.Replace(owner, "*", z.label()+"."+z.label(), 1)] = true
	}
	for _, hash := range z.hashes[:min(3, len(z.hashes))] {
		names[hash] = true
		names[belowHash+"."+hash] = true
	}
	maps.DeleteFunc(names, func(name string, _ bool) bool {
		_, err := zone.ParseName(name)
		return err != nil
	})
	return slices.Sorted(maps.Keys(names))
}

// keyFiles is the key that signs all zones.
type keyFiles struct {
	dir     string
	public  dns.DNSKEY
	private crypto.PrivateKey
}

func newKeyFiles(t *testing.T) keyFiles {
	t.Helper()
	k := keyFiles{dir: t.TempDir(), public: dns.DNSKEY{
		Hdr:   dns.RR_Header{Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
		Flags: 257, Protocol: 3, Algorithm: dns.ED25519,
	}}
	var err error
	if k.private, err = k.public.Generate(256); err != nil {
		t.Fatal(err)
	}
	return k
}

// key is the DNSKEY of a zone.
func (k keyFiles) key(origin string) *dns.DNSKEY {
	key := k.public
	key.Hdr.Name = origin
	return &key
}

// write writes a zone's key as BIND names and writes them, and returns the
// files' common name.
func (k keyFiles) write(t *testing.T, origin string) string {
	t.Helper()
	key := k.key(origin)
	base := filepath.Join(k.dir, fmt.Sprintf("K%s+%03d+%05d", origin, key.Algorithm, key.KeyTag()))
	for ext, text := range map[string]string{".key": key.String() + "\n", ".private": key.PrivateKeyString(k.private)} {
		if err := os.WriteFile(base+ext, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return base
}
