package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/storeurl"
)

// withStore opens the store, calls fn with a context that ends after --timeout, and closes the store.
func (a *app) withStore(cmd *cobra.Command, fn func(context.Context, store.Store) error) (err error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), a.timeout)
	defer cancel()
	return a.withOpenStore(ctx, fn)
}

// withOpenStore is withStore for commands that run until a signal.
func (a *app) withOpenStore(ctx context.Context, fn func(context.Context, store.Store) error) (err error) {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return fn(ctx, s)
}

func (a *app) open() (store.Store, error) {
	url := a.url()
	if url == "" {
		return nil, usagef("no store: give --store or set POPDNS_STORE, to zk://HOST:2181/popdns or dir:///PATH")
	}
	auth, err := a.auth()
	if err != nil {
		return nil, err
	}
	secure, err := a.tls.option()
	if err != nil {
		return nil, err
	}
	s, err := storeurl.Open(url, storeurl.Options{Auth: auth, TLS: secure})
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", url, err)
	}
	return s, nil
}

// url is the store's URL as given, "" for none. It holds no secret: credentials come by other ways.
func (a *app) url() string { return cmp.Or(a.storeURL, a.getenv("POPDNS_STORE")) }

// openToAll tells that what is created in the store is writable by everybody who reaches it.
func (a *app) openToAll() bool {
	return strings.HasPrefix(a.url(), "zk:") && a.authFile == "" && a.getenv("POPDNS_AUTH") == ""
}

// maxAuthBytes bounds what is read of an auth file: a user, a colon and a password.
const maxAuthBytes = 4096

// auth returns user:password from --auth-file or POPDNS_AUTH, "" for none.
func (a *app) auth() (string, error) {
	if a.authFile == "" {
		return checkAuth(a.getenv("POPDNS_AUTH"), "POPDNS_AUTH")
	}
	f, err := os.Open(a.authFile)
	if err != nil {
		return "", fmt.Errorf("--auth-file: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Mode().Perm()&0o077 != 0 {
		a.warn(fmt.Sprintf("--auth-file %s can be read by others: chmod 600 %s", a.authFile, a.authFile))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxAuthBytes+1))
	if err != nil {
		return "", fmt.Errorf("--auth-file: %w", err)
	}
	switch {
	case len(b) == 0:
		return "", fmt.Errorf("--auth-file %s: has 0 bytes, want user:password", a.authFile)
	case len(b) > maxAuthBytes:
		return "", fmt.Errorf("--auth-file %s: has more than %d bytes, want user:password", a.authFile, maxAuthBytes)
	}
	return checkAuth(strings.TrimRight(string(b), "\r\n"), "--auth-file "+a.authFile)
}

// checkAuth never shows what it was given.
func checkAuth(s, from string) (string, error) {
	if s == "" {
		return "", nil
	}
	user, password, ok := strings.Cut(s, ":")
	if !ok || user == "" || password == "" || strings.ContainsAny(s, "\n\r") {
		return "", fmt.Errorf("%s: is not of the form user:password", from)
	}
	return s, nil
}

// tlsFlags are the flags for TLS to the store. Any of them turns TLS on.
type tlsFlags struct{ files storeurl.TLSFiles }

func (t *tlsFlags) register(f *pflag.FlagSet) {
	f.StringVar(&t.files.CA, "tls-ca", "", "PEM `file` of the authorities that may sign the store's certificate")
	f.StringVar(&t.files.Cert, "tls-cert", "", "PEM `file` of our certificate")
	f.StringVar(&t.files.Key, "tls-key", "", "PEM `file` of its key")
	f.StringVar(&t.files.ServerName, "tls-server-name", "", "`name` that the store's certificate must have")
}

// option returns nil when no flag was given.
func (t *tlsFlags) option() (func() (*tls.Config, error), error) {
	if (t.files.Cert == "") != (t.files.Key == "") {
		return nil, usagef("--tls-cert and --tls-key belong together: give both")
	}
	return t.files.Option()
}
