package sign

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
)

// Keys is the keys of one zone.
type Keys struct {
	// Warnings say what is unsafe about the files.
	Warnings []string

	list []*key
}

// maxKeyFile bounds a key's file in octets; they have a few hundred.
const maxKeyFile = 64 << 10

// keyName is how BIND's dnssec-keygen names the files of a key: K, the zone, +, the algorithm, +, the key's tag.
var keyName = regexp.MustCompile(`^K(.+)\+(\d{3})\+(\d{5})\.(key|private)$`)

// LoadKeys reads the keys of a zone from a folder in which dnssec-keygen made them: pairs of K<zone>+<algorithm>+<tag>.key and .private. Other zones'
// keys may lie there too.
func LoadKeys(dir string, origin zone.Name) (*Keys, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	var bases, others []string
	for _, e := range entries {
		m := keyName.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		base := strings.TrimSuffix(strings.TrimSuffix(e.Name(), ".key"), ".private")
		of, err := zone.ParseName(strings.ReplaceAll(m[1], "%2F", "/"))
		switch {
		case err == nil && of == origin:
			bases = append(bases, base)
		case err == nil:
			others = append(others, of.String())
		}
	}
	if len(bases) == 0 {
		return nil, noKeys(dir, origin, others)
	}
	ks := &Keys{}
	for _, base := range slices.Compact(bases) { // the folder is read in order, so that a pair stands together
		if err := ks.load(filepath.Join(dir, base), origin); err != nil {
			return nil, err
		}
	}
	return ks, nil
}

func noKeys(dir string, origin zone.Name, others []string) error {
	has := "it has no key files"
	if len(others) > 0 {
		slices.Sort(others)
		has = "it has keys of " + strings.Join(slices.Compact(others), ", ")
	}
	name := strings.TrimSuffix(origin.String(), ".")
	if name == "" {
		name = "."
	}
	return fmt.Errorf("no keys of %s in %s (%s): make one with dnssec-keygen -K %s -a ECDSAP256SHA256 -f KSK %s", origin, dir, has, dir, name)
}

// load adds one key.
func (ks *Keys) load(base string, origin zone.Name) error {
	public, err := readPublic(base+".key", origin)
	if err != nil {
		return err
	}
	k := &key{file: base, flags: public.Flags, algorithm: public.Algorithm, tag: public.KeyTag()}
	if _, k.rdata, err = zone.RdataOf(public); err != nil {
		return fmt.Errorf("%s.key: %w", base, err)
	}
	text, err := readHalf(base + ".private")
	if err != nil {
		return err
	}
	if k.private, err = public.ReadPrivateKey(bytes.NewReader(text), base+".private"); err != nil {
		return fmt.Errorf("%s.private: %w", base, err)
	}
	if !k.matches(public) {
		return fmt.Errorf("%s.private is not the private half of %s.key", base, base)
	}
	if k.times, err = parseTimes(text); err != nil {
		return fmt.Errorf("%s.private: %w", base, err)
	}
	if !k.times.revoked.IsZero() {
		return fmt.Errorf("%s.private: has a time of revocation (RFC 5011), which is not supported: dnssec-settime -R none takes it out", base)
	}
	for _, other := range ks.list {
		if other.tag == k.tag && other.algorithm == k.algorithm {
			return fmt.Errorf("%s and %s have the same tag and algorithm: make another key", other.file, base)
		}
	}
	if st, err := os.Stat(base + ".private"); err == nil && st.Mode().Perm()&0o007 != 0 {
		ks.Warnings = append(ks.Warnings, base+".private can be read by everybody: chmod 600 it, and think about a new key")
	}
	ks.list = append(ks.list, k)
	return nil
}

// readHalf reads one file of a pair.
func readHalf(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing: a key has a .key and a .private file", path)
	}
	if err != nil {
		return nil, err
	}
	if st.Size() > maxKeyFile {
		return nil, fmt.Errorf("%s: %d octets are no key", path, st.Size())
	}
	return os.ReadFile(path)
}

// readPublic reads a DNSKEY and checks that it is one that can sign the zone.
func readPublic(path string, origin zone.Name) (*dns.DNSKEY, error) {
	text, err := readHalf(path)
	if err != nil {
		return nil, err
	}
	rr, err := dns.ReadRR(bytes.NewReader(text), path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	public, ok := rr.(*dns.DNSKEY)
	if !ok {
		return nil, fmt.Errorf("%s: holds no DNSKEY", path)
	}
	of, err := zone.ParseName(public.Hdr.Name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	case of != origin:
		return nil, fmt.Errorf("%s: the key in it is %s's, not %s's", path, of, origin)
	case public.Algorithm != dns.ECDSAP256SHA256 && public.Algorithm != dns.ED25519:
		return nil, fmt.Errorf("%s: algorithm %d (%s); only ECDSAP256SHA256 (13) and ED25519 (15) sign here",
			path, public.Algorithm, dns.AlgorithmToString[public.Algorithm])
	case public.Flags&dns.ZONE == 0 || public.Flags&dns.REVOKE != 0 || public.Protocol != 3:
		return nil, fmt.Errorf("%s: flags %d, protocol %d: not a zone's key in use, which has 256 or 257, and 3", path, public.Flags, public.Protocol)
	}
	return public, nil
}

// parseTimes reads the times that dnssec-keygen writes into a private key's file. A file with none, as ldns-keygen makes it, is of a key that is always in
// use; one that only tells when it was made (dnssec-keygen -G) is of a key that is not in use yet.
func parseTimes(text []byte) (times, error) {
	var t times
	var created time.Time
	fields := map[string]*time.Time{
		"Created": &created, "Publish": &t.publish, "Activate": &t.activate, "Inactive": &t.inactive, "Delete": &t.deleted, "Revoke": &t.revoked,
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		into := fields[name]
		if into == nil {
			continue
		}
		at, err := time.Parse("20060102150405", strings.TrimSpace(value))
		if err != nil {
			return times{}, fmt.Errorf("%s %q is no time like 20261124120000", name, strings.TrimSpace(value))
		}
		*into, t.managed = at, true
	}
	return t, nil
}
