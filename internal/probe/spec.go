package probe

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/steer"
)

// maxSpecBytes bounds a file: a check takes some hundred octets.
const maxSpecBytes = 4 << 20

// ReadSpec reads a file of checks, in YAML; file is its name for messages, and where a certificate authority's path begins. An error about the
// content is a *finding.List.
func ReadSpec(r io.Reader, file string) (*Spec, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSpecBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	s := &specReader{errs: &finding.List{File: file}, seen: map[Target]int{}}
	if len(data) > maxSpecBytes {
		s.errs.Add(0, "more than %d bytes", maxSpecBytes)
		return nil, s.errs.Err()
	}
	var doc yaml.Node
	switch err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc); {
	case errors.Is(err, io.EOF):
		s.errs.Add(0, "the file is empty")
	case err != nil:
		s.errs.Add(lineOf(err), "not YAML: %w", err)
	default:
		s.top(doc.Content[0])
	}
	if err := s.errs.Err(); err != nil {
		return nil, err
	}
	return &s.spec, nil
}

var yamlLine = regexp.MustCompile(`line (\d+):`)

func lineOf(err error) int {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

type specReader struct {
	errs     *finding.List
	spec     Spec
	seen     map[Target]int // target → line
	defaults Check          // what each check begins with
}

// settings are the keys that may stand beside checks and in each check.
var settings = map[string]func(c *Check, s string) error{
	"interval":    func(c *Check, s string) error { return parseDuration(s, MinInterval, MaxInterval, &c.Interval) },
	"timeout":     func(c *Check, s string) error { return parseDuration(s, 10*time.Millisecond, MaxInterval, &c.Timeout) },
	"up_thresh":   func(c *Check, s string) error { return parseThreshold(s, &c.Up) },
	"ok_thresh":   func(c *Check, s string) error { return parseThreshold(s, &c.OK) },
	"down_thresh": func(c *Check, s string) error { return parseThreshold(s, &c.Down) },
}

func (s *specReader) top(n *yaml.Node) {
	s.defaults = Check{Interval: 10 * time.Second, Timeout: 5 * time.Second, Thresholds: DefaultThresholds, Status: []int{200}}
	var checks *yaml.Node
	s.mapping(n, "the file", append(slices.Sorted(maps.Keys(settings)), "checks"), func(key string, v *yaml.Node) {
		if key == "checks" {
			checks = v
			return
		}
		s.setting(&s.defaults, key, v)
	})
	if checks == nil {
		if s.errs.Len() == 0 {
			s.errs.Add(n.Line, "there are no checks: write checks: [{url: https://www.example.org/, pops: {ams1: 192.0.2.1}}]")
		}
		return
	}
	if checks.Kind != yaml.SequenceNode {
		s.errs.Add(checks.Line, "checks: want a list")
		return
	}
	for _, c := range checks.Content {
		s.check(resolve(c))
	}
	if len(s.spec.Checks) == 0 && s.errs.Len() == 0 {
		s.errs.Add(checks.Line, "there are no checks")
	}
}

func (s *specReader) setting(c *Check, key string, v *yaml.Node) {
	if err := settings[key](c, v.Value); err != nil || v.Kind != yaml.ScalarNode {
		s.errs.Add(v.Line, "%s: %w", key, cmpErr(err, errors.New("want a single value")))
	}
}

func cmpErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// check reads one entry of the list, which is a check of one service at several PoPs.
func (s *specReader) check(n *yaml.Node) {
	c := s.defaults
	var pops *yaml.Node
	port := uint16(0)
	before := s.errs.Len()
	known := append(slices.Sorted(maps.Keys(settings)), "service", "url", "tcp", "status", "verify", "ca", "pops")
	given := map[string]int{}
	s.mapping(n, "a check", known, func(key string, v *yaml.Node) {
		given[key] = v.Line
		var err error
		switch key {
		case "pops":
			pops = v
			return
		case "status":
			c.Status, err = parseStatus(v)
		case "service":
			if c.Target.Service = v.Value; steer.CheckName(c.Target.Service) != nil {
				err = fmt.Errorf("%q: want 1 to %d of a-z, 0-9 and '-'; leave it out for the PoP itself", v.Value, steer.MaxNameBytes)
			}
		case "url":
			c.URL, port, err = parseURL(v.Value)
		case "tcp":
			port, err = parsePort(v.Value)
		case "verify":
			var verify bool
			if verify, err = strconv.ParseBool(v.Value); err != nil {
				err = fmt.Errorf("%q: want true or false", v.Value)
			}
			c.Insecure = !verify
		case "ca":
			c.Roots, err = readRoots(v.Value, s.errs.File)
		default:
			s.setting(&c, key, v)
		}
		if err != nil {
			s.errs.Add(v.Line, "%s: %w", key, err)
		}
	})
	if n.Kind != yaml.MappingNode {
		return
	}
	switch {
	case (given["url"] == 0) == (given["tcp"] == 0):
		s.errs.Add(n.Line, "a check has either url: https://NAME/PATH or tcp: PORT")
	case given["tcp"] != 0 && given["status"]+given["verify"]+given["ca"] != 0:
		s.errs.Add(n.Line, "status, verify and ca are for a url, not for tcp")
	case c.URL != nil && c.URL.Scheme == "http" && given["verify"]+given["ca"] != 0:
		s.errs.Add(n.Line, "verify and ca are for https")
	case c.Timeout > c.Interval:
		s.errs.Add(n.Line, "timeout %s is longer than the interval, %s", c.Timeout, c.Interval)
	case pops == nil:
		s.errs.Add(n.Line, "pops is missing: write pops: {ams1: 192.0.2.1}")
	}
	if s.errs.Len() == before {
		s.pops(c, port, pops)
	}
}

// pops adds the check for each PoP that it is for.
func (s *specReader) pops(c Check, port uint16, n *yaml.Node) {
	found := 0
	s.mapping(n, "pops", nil, func(name string, v *yaml.Node) {
		found++
		c := c
		c.Target.PoP = name
		address, err := parseAddress(v.Value, port)
		switch first, twice := s.seen[c.Target]; {
		case steer.CheckName(name) != nil:
			s.errs.Add(v.Line, "%w", steer.CheckName(name))
		case err != nil:
			s.errs.Add(v.Line, "pop %s: %w", name, err)
		case twice:
			s.errs.Add(v.Line, "%s is checked in line %d already: keep one of them", c.Target, first)
		case len(s.spec.Checks) == MaxChecks:
			s.errs.Add(v.Line, "more than %d checks", MaxChecks)
		default:
			c.Address = address
			s.seen[c.Target] = v.Line
			s.spec.Checks = append(s.spec.Checks, c)
		}
	})
	if n.Kind == yaml.MappingNode && found == 0 {
		s.errs.Add(n.Line, "pops is empty: write pops: {ams1: 192.0.2.1}")
	}
}

// mapping walks a mapping, each key once; known are the keys that there are, nil for any.
func (s *specReader) mapping(n *yaml.Node, what string, known []string, each func(key string, v *yaml.Node)) {
	if n = resolve(n); n.Kind != yaml.MappingNode {
		s.errs.Add(n.Line, "%s: want a mapping, KEY: VALUE", what)
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, line := n.Content[i].Value, n.Content[i].Line
		if first, twice := seen[key]; twice {
			s.errs.Add(line, "%s is in line %d already: keep one of them", key, first)
			continue
		}
		seen[key] = line
		if known != nil && !slices.Contains(known, key) {
			hint := "known: " + strings.Join(known, ", ")
			if near := finding.Nearest(key, known); near != "" {
				hint = "did you mean " + near + "?"
			}
			s.errs.Add(line, "unknown key %q (%s)", key, hint)
			continue
		}
		each(key, resolve(n.Content[i+1]))
	}
}

// resolve follows an alias. The walk goes to a fixed depth, so nested ones can't blow up.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func parseDuration(s string, least, most time.Duration, to *time.Duration) error {
	d, err := time.ParseDuration(s)
	if err != nil || d < least || d > most {
		return fmt.Errorf("%q: want a time from %s to %s, like 10s", s, least, most)
	}
	*to = d
	return nil
}

func parseThreshold(s string, to *int) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("%q: want 1 to 65535", s)
	}
	*to = int(n)
	return nil
}

func parseURL(s string) (*url.URL, uint16, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return nil, 0, fmt.Errorf("%q: want http://NAME/PATH or https://NAME/PATH", s)
	}
	port := uint16(80)
	if u.Scheme == "https" {
		port = 443
	}
	if u.Port() != "" {
		if port, err = parsePort(u.Port()); err != nil {
			return nil, 0, err
		}
	}
	return u, port, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q: want a port, 1 to 65535", s)
	}
	return uint16(n), nil
}

// parseAddress reads an address with or without a port. It takes no names: they would be resolved by the very service that is checked.
func parseAddress(s string, port uint16) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.AddrPortFrom(a, port), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Port() == 0 || a.Addr().Zone() != "" {
		return a, fmt.Errorf("%q: want an IP address, with a port if it is another, like 192.0.2.1 or [2001:db8::1]:8443", s)
	}
	return a, nil
}

func parseStatus(n *yaml.Node) ([]int, error) {
	codes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		codes = n.Content
	}
	if len(codes) == 0 || len(codes) > maxStatusCodes {
		return nil, fmt.Errorf("want 1 to %d codes", maxStatusCodes)
	}
	out := make([]int, len(codes))
	for i, c := range codes {
		code, err := strconv.Atoi(c.Value)
		if err != nil || code < 100 || code > 599 {
			return nil, fmt.Errorf("%q: want a code from 100 to 599, or a list of them", c.Value)
		}
		out[i] = code
	}
	return out, nil
}

// readRoots reads a file of authorities, whose path begins where the spec lies.
func readRoots(path, spec string) ([]byte, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(spec), path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	pem, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return pem, nil
}
