package sign

import (
	"cmp"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestKeyFilesThatCannotSignAreRefusedWithTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		of        string
		algorithm uint8
		timing    string
		spoil     func(base string) error // what to do to the files
		want      string
	}{
		"another zone":    {of: "example.net.", want: "it has keys of example.net.): make one with dnssec-keygen"},
		"no private half": {spoil: func(base string) error { return os.Remove(base + ".private") }, want: ".private is missing"},
		"no public half":  {spoil: func(base string) error { return os.Remove(base + ".key") }, want: ".key is missing"},
		"RSA":             {algorithm: dns.RSASHA256, want: "algorithm 8 (RSASHA256); only ECDSAP256SHA256 (13) and ED25519 (15)"},
		"revoked":         {timing: "Revoke: 20261124000000", want: "RFC 5011"},
		"bad time":        {timing: "Publish: soon", want: `Publish "soon" is no time`},
		"another owner":   {spoil: renameOwner, want: "is example.com.'s, not example.org.'s"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			base := writeKey(t, dir, cmp.Or(c.of, "example.org."), 257, cmp.Or(c.algorithm, dns.ED25519), c.timing)
			if c.spoil != nil {
				if err := c.spoil(base); err != nil {
					t.Fatal(err)
				}
			}
			wantError(t, dir, c.want)
		})
	}
	wantError(t, t.TempDir(), "it has no key files): make one with dnssec-keygen")
}

func wantError(t *testing.T, dir, want string) {
	t.Helper()
	if _, err := LoadKeys(dir, origin); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
}

// renameOwner makes the public half another zone's.
func renameOwner(base string) error {
	text, err := os.ReadFile(base + ".key")
	if err != nil {
		return err
	}
	return os.WriteFile(base+".key", []byte(strings.ReplaceAll(string(text), "example.org.", "example.com.")), 0o600)
}

func TestHalvesOfDifferentKeysAreRefused(t *testing.T) {
	for _, algorithm := range []uint8{dns.ECDSAP256SHA256, dns.ED25519} {
		dir := t.TempDir()
		a, b := writeKey(t, dir, "example.org.", 257, algorithm), writeKey(t, t.TempDir(), "example.org.", 257, algorithm)
		if err := os.Rename(b+".private", a+".private"); err != nil {
			t.Fatal(err)
		}
		wantError(t, dir, "is not the private half of")
	}
}

func TestPrivateFilesThatEverybodyReadsAreWarnedOf(t *testing.T) {
	dir := t.TempDir()
	base := writeKey(t, dir, "example.org.", 257, dns.ED25519)
	if w := mustLoad(t, dir).Warnings; len(w) != 0 {
		t.Errorf("warnings %q for files of mode 0600", w)
	}
	if err := os.Chmod(base+".private", 0o644); err != nil {
		t.Fatal(err)
	}
	if w := mustLoad(t, dir).Warnings; len(w) != 1 || !strings.Contains(w[0], "can be read by everybody") {
		t.Errorf("warnings %q", w)
	}
}

func TestKeysAreUsedAtTheirTimes(t *testing.T) {
	at := func(hours int) string { return noon.Add(time.Duration(hours) * time.Hour).Format("20060102150405") }
	for name, c := range map[string]struct {
		timing            []string
		published, active bool
	}{
		"no times":                 {nil, true, true},
		"made but never published": {[]string{"Created: " + at(-9)}, false, false},
		"in use":                   {[]string{"Created: " + at(-9), "Publish: " + at(-9), "Activate: " + at(-9)}, true, true},
		"published before use":     {[]string{"Publish: " + at(-9), "Activate: " + at(1)}, true, false},
		"published, never used":    {[]string{"Publish: " + at(-9)}, true, false},
		"not yet":                  {[]string{"Publish: " + at(1), "Activate: " + at(1)}, false, false},
		"out of use":               {[]string{"Publish: " + at(-9), "Activate: " + at(-9), "Inactive: " + at(-1)}, true, false},
		"deleted":                  {[]string{"Publish: " + at(-9), "Activate: " + at(-9), "Inactive: " + at(-2), "Delete: " + at(-1)}, false, false},
		"deleted later":            {[]string{"Publish: " + at(-9), "Activate: " + at(-9), "Delete: " + at(1)}, true, true},
		"this very second":         {[]string{"Publish: " + at(0), "Activate: " + at(0)}, true, true},
	} {
		dir := t.TempDir()
		writeKey(t, dir, "example.org.", 257, dns.ED25519, c.timing...)
		k := mustLoad(t, dir).list[0]
		if k.published(noon) != c.published || k.active(noon) != c.active {
			t.Errorf("%s: published %t active %t, want %t %t", name, k.published(noon), k.active(noon), c.published, c.active)
		}
	}
}

func TestAKeyThatGoesOutOfUseIsReplacedAndThenLeavesTheZone(t *testing.T) {
	dir := t.TempDir()
	at := func(days int) string { return noon.AddDate(0, 0, days).Format("20060102150405") }
	writeKey(t, dir, "example.org.", 257, dns.ED25519)
	writeKey(t, dir, "example.org.", 256, dns.ED25519, "Publish: "+at(-9), "Activate: "+at(-9), "Inactive: "+at(1), "Delete: "+at(3))
	writeKey(t, dir, "example.org.", 256, dns.ED25519, "Publish: "+at(-1), "Activate: "+at(1))
	ks := mustLoad(t, dir)
	signed, first := mustSign(t, zoneOf(t, 1, "a A 192.0.2.1", "b A 192.0.2.1"), nil, ks, Policy{})
	rolled, r := mustSign(t, signed, signed, ks, Policy{Now: noon.AddDate(0, 0, 2)})
	if r.Kept != 1 || r.Made != first.Made-1 { // the KSK's own signature over the keys
		t.Errorf("%d kept and %d made of %d, want one kept: the DNSKEY set's", r.Kept, r.Made, first.Made)
	}
	verifyAll(t, rolled)
	gone, r := mustSign(t, rolled, rolled, ks, Policy{Now: noon.AddDate(0, 0, 4)})
	if r.Made != 2 { // the DNSKEY set and the SOA
		t.Errorf("%d made when the old key leaves, want 2", r.Made)
	}
	if verifyAll(t, gone); strings.Count(dump(gone), "\tDNSKEY\t") != 2 {
		t.Errorf("want two keys left:\n%s", dump(gone))
	}
}

func TestAnotherSignersKeyStays(t *testing.T) {
	ks := newKeys(t, dns.ED25519)
	const theirs = "@ 600 DNSKEY 256 3 15 GzYBgq8mV0ZrIFvc1l1FJZ7RpLjOcV5aFh3w0sHFzN0="
	signed, _ := mustSign(t, zoneOf(t, 1, theirs), nil, ks, Policy{})
	if n := strings.Count(dump(signed), "\tDNSKEY\t"); n != 3 {
		t.Errorf("%d keys, want two and theirs:\n%s", n, dump(signed))
	}
}

func TestSigningNeedsAKeyThatADSCanStandFor(t *testing.T) {
	for name, flags := range map[string]uint16{"SEP": 256, "active": 257} {
		dir := t.TempDir()
		timing := ""
		if name == "active" {
			timing = "Publish: 20990101000000"
		}
		writeKey(t, dir, "example.org.", flags, dns.ED25519, timing)
		if _, _, err := Sign(zoneOf(t, 1), nil, mustLoad(t, dir), Policy{Now: noon}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want one about %s", err, name)
		}
	}
}

func TestOneKeyMaySignEverything(t *testing.T) {
	dir := t.TempDir()
	writeKey(t, dir, "example.org.", 257, dns.ECDSAP256SHA256)
	signed, r := mustSign(t, zoneOf(t, 1, "a A 192.0.2.1"), nil, mustLoad(t, dir), Policy{})
	if n := verifyAll(t, signed); n != r.Made || n != 6 { // SOA, NS, DNSKEY, A, two NSEC
		t.Errorf("%d signatures verify, %d made, want 6", n, r.Made)
	}
}
