package tinydns

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/popdns/popdns/internal/zone"
)

// Fields are read as tinydns-data reads them where it has a meaning for them, and refused where it would guess.

var (
	errLabelLen = errors.New("a label is longer than 63 octets (shorten it)")
	errNameLen  = errors.New("the name is longer than 255 octets (shorten it)")
)

// parseName reads a name: labels between dots, of which empty ones are left out, with octal escapes. An escaped dot is part of its label.
func parseName(s string) (zone.Name, error) {
	wire := make([]byte, 0, len(s)+2)
	label := make([]byte, 0, 64)
	flush := func() {
		if len(label) > 0 {
			wire = append(append(wire, byte(len(label))), label...) //nolint:gosec // at most 63
			label = label[:0]
		}
	}
	for i := 0; i < len(s); {
		if s[i] == '.' {
			flush()
			i++
			continue
		}
		c, n := octet(s[i:])
		if n == 0 {
			break // a lone backslash at the end
		}
		i += n
		if len(label) == 63 {
			return "", errLabelLen
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		label = append(label, c)
	}
	flush()
	if len(wire)+1 > 255 {
		return "", errNameLen
	}
	return zone.Name(append(wire, 0)), nil
}

// octet takes one octet, escaped or not, from the front of s. It takes nothing from a lone backslash, as tinydns-data does.
func octet(s string) (c byte, taken int) {
	if s[0] != '\\' {
		return s[0], 1
	}
	if len(s) == 1 {
		return 0, 0
	}
	if s[1] < '0' || s[1] > '7' {
		return s[1], 2
	}
	taken = 1
	for taken < len(s) && taken <= 3 && s[taken] >= '0' && s[taken] <= '7' {
		c = c<<3 + s[taken] - '0' // \777 wraps, as it does in C
		taken++
	}
	return c, taken
}

// unescape reads octets with octal escapes.
func unescape(s string) []byte {
	out := make([]byte, 0, len(s))
	for len(s) > 0 {
		c, n := octet(s)
		if n == 0 {
			break
		}
		out = append(out, c)
		s = s[n:]
	}
	return out
}

// parseNumber reads a decimal number up to limit; an empty field is otherwise.
func parseNumber(what, s string, otherwise, limit uint32) (uint32, error) {
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > uint64(limit) {
		return 0, fmt.Errorf(`%s %.40q is not a number from 0 to %d (a colon inside a field is written \072)`, what, s, limit)
	}
	return uint32(n), nil
}

// parseIP reads an IPv4 address. Leading zeros are decimal, as for tinydns-data.
func parseIP(s string) (netip.Addr, error) {
	b, ok := octets(s)
	if !ok || len(b) != 4 {
		return netip.Addr{}, fmt.Errorf("%.60q is not an IPv4 address (IPv6 addresses go into a : line of type 28)", s)
	}
	return netip.AddrFrom4([4]byte(b)), nil
}

// octets reads decimal octets between dots, at most four.
func octets(s string) ([]byte, bool) {
	parts := strings.SplitN(s, ".", 5)
	if len(parts) > 4 {
		return nil, false
	}
	out := make([]byte, 0, 4)
	for _, p := range parts {
		n, err := strconv.ParseUint(p, 10, 8)
		if err != nil || len(p) > 3 || p[0] == '+' {
			return nil, false
		}
		out = append(out, byte(n))
	}
	return out, true
}

// checkTimestamp refuses any timestamp but the one that means none (all zero).
func checkTimestamp(s string) error {
	if strings.Trim(s, "0") == "" {
		return nil
	}
	return fmt.Errorf("timestamp %.40q would make the record appear or vanish by the clock (remove the timestamp, or the record)", s)
}

// checkLocation refuses what tinydns-data would cut off.
func checkLocation(s string) error {
	if len(s) > 2 {
		return fmt.Errorf("location %.40q is longer than two characters (tinydns-data would read %q)", s, s[:2])
	}
	return nil
}

// parsePrefix reads the client prefix of a % line: no to four octets.
func parsePrefix(s string) (netip.Prefix, error) {
	s = strings.TrimSuffix(s, ".")
	if s == "" {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
	}
	b, ok := octets(s)
	if !ok {
		return netip.Prefix{}, fmt.Errorf("client prefix %.60q is not one to four octets between dots (write 192.0.2 for 192.0.2.0/24)", s)
	}
	var a [4]byte
	copy(a[:], b)
	return netip.PrefixFrom(netip.AddrFrom4(a), 8*len(b)), nil
}
