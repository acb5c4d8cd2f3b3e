// Package storeurl opens a store from its URL, as commands and configuration files name it.
//
//	zk://10.0.0.1:2181,10.0.0.2:2181,10.0.0.3:2181/popdns   an ensemble and the root in it (default /popdns)
//	dir:///var/lib/popdns/store                             a directory
//	dir:store                                               a directory relative to the working directory
//
// Credentials are no part of a URL: process lists, logs and error messages show URLs.
package storeurl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/dir"
	"github.com/popdns/popdns/internal/store/zk"
)

// DefaultRoot is the root in an ensemble when the URL names none.
const DefaultRoot = "/popdns"

const (
	defaultPort = "2181"
	maxServers  = 64
)

// Options are what a URL does not say. Zero values mean the defaults of store/zk; a directory uses none of them.
type Options struct {
	Auth           string                      // "user:password", ZooKeeper's digest scheme
	TLS            func() (*tls.Config, error) // nil: plain TCP; see TLSFiles
	SessionTimeout time.Duration
	RequestTimeout time.Duration
	DialTimeout    time.Duration
	Logf           func(format string, args ...any)
}

// Location is a parsed URL.
type Location struct {
	Servers []string // "host:port" of an ensemble; empty for a directory
	Path    string   // the root in the ensemble, or the directory
}

// Open opens the store that url names. It does not wait for a connection: of an ensemble only its URL is checked, a directory is created when
// missing. Errors name the URL.
func Open(url string, o Options) (store.Store, error) {
	l, err := Parse(url)
	if err != nil {
		return nil, err
	}
	if len(l.Servers) == 0 {
		s, err := dir.Open(l.Path)
		if err != nil {
			return nil, err // not the typed nil
		}
		return s, nil
	}
	s, err := zk.Open(l.Servers, l.Path, zk.Options{
		Auth: o.Auth, TLS: o.TLS, SessionTimeout: o.SessionTimeout, RequestTimeout: o.RequestTimeout, DialTimeout: o.DialTimeout, Logf: o.Logf,
	})
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", url, err)
	}
	return s, nil
}

// Parse reads a store URL.
func Parse(url string) (Location, error) {
	scheme, rest, ok := strings.Cut(url, ":")
	if !ok {
		return Location{}, fmt.Errorf("store URL %q has no scheme; use zk://HOST:PORT/ROOT or dir:///PATH", url)
	}
	var l Location
	var err error
	switch scheme {
	case "zk":
		l, err = parseEnsemble(rest)
	case "dir":
		l, err = parseDirectory(rest)
	default:
		err = fmt.Errorf("unknown scheme %q; use zk://HOST:PORT/ROOT or dir:///PATH", scheme)
	}
	if err != nil {
		if strings.Contains(url, "@") {
			url = scheme + "://…" // perhaps a password
		}
		return Location{}, fmt.Errorf("store URL %q: %w", url, err)
	}
	return l, nil
}

func parseDirectory(rest string) (Location, error) {
	if path, ok := strings.CutPrefix(rest, "//"); ok {
		if !strings.HasPrefix(path, "/") {
			return Location{}, errors.New("a directory is dir:///ABSOLUTE/PATH or dir:RELATIVE/PATH")
		}
		rest = path
	}
	if rest == "" || strings.ContainsRune(rest, 0) {
		return Location{}, errors.New("no directory")
	}
	return Location{Path: rest}, nil
}

func parseEnsemble(rest string) (Location, error) {
	rest, ok := strings.CutPrefix(rest, "//")
	if !ok {
		return Location{}, errors.New("an ensemble is zk://HOST:PORT,HOST:PORT/ROOT")
	}
	hosts, root, hasRoot := strings.Cut(rest, "/")
	if strings.Contains(hosts, "@") {
		return Location{}, errors.New("credentials don't belong in a URL; give them by POPDNS_AUTH or a file")
	}
	l := Location{Path: DefaultRoot}
	if hasRoot && strings.Trim(root, "/") != "" {
		l.Path = "/" + strings.Trim(root, "/")
	}
	if err := store.CheckPath(l.Path[1:]); err != nil {
		return Location{}, err
	}
	for host := range strings.SplitSeq(hosts, ",") {
		server, err := parseServer(host)
		if err != nil {
			return Location{}, err
		}
		l.Servers = append(l.Servers, server)
	}
	if len(l.Servers) > maxServers {
		return Location{}, fmt.Errorf("%d servers, at most %d", len(l.Servers), maxServers)
	}
	return l, nil
}

// parseServer returns "host:port" of a host name or address with or without a port; an IPv6 address with a port is in brackets.
func parseServer(s string) (string, error) {
	if s == "" {
		return "", errors.New("an empty server name")
	}
	host, port := s, defaultPort
	if bare := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"); net.ParseIP(bare) != nil {
		host = bare
	} else if strings.Contains(s, ":") {
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "", fmt.Errorf("server %q: %w", s, err)
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || !validHost(host) {
		return "", fmt.Errorf("server %q: not HOST:PORT", s)
	}
	return net.JoinHostPort(host, port), nil
}

// validHost keeps out what is surely no host; whether it exists is found out when connecting.
func validHost(host string) bool {
	if net.ParseIP(host) != nil {
		return true
	}
	for _, c := range host {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._", c) {
			return false
		}
	}
	return host != ""
}
