package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
)

// maxBody is what is read of an answer: a health page is short, and its end is worth nothing.
const maxBody = 64 << 10

// Ask makes the check once. nil is a success.
func (c *Check) Ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var d net.Dialer
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", c.Address.String())
	}
	if c.URL == nil {
		conn, err := dial(ctx, "", "")
		if err != nil {
			return err
		}
		return conn.Close()
	}
	config := &tls.Config{InsecureSkipVerify: c.Insecure} //nolint:gosec // the spec says so, for services that check for themselves
	if c.Roots != nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(c.Roots)
	}
	// A connection of its own for each check: a kept one would prove that an old process still answers.
	transport := &http.Transport{DialContext: dial, TLSClientConfig: config, DisableKeepAlives: true, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL.String(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", "popctl-probe")
	answer, err := client.Do(r)
	if err != nil {
		return errors.Unwrap(err) // without method and URL, which the target says
	}
	defer answer.Body.Close()
	if !slices.Contains(c.Status, answer.StatusCode) {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, maxBody))
	return err
}
