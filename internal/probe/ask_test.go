package probe

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

func checkOf(tb testing.TB, address, target string) *Check {
	tb.Helper()
	c := &Check{Address: netip.MustParseAddrPort(address), Status: []int{200}, Timeout: 5 * time.Second}
	if target != "" {
		u, err := url.Parse(target)
		if err != nil {
			tb.Fatal(err)
		}
		c.URL = u
	}
	return c
}

// health answers as its path says, and only under its own name.
var health = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Host != "www.example.org":
		w.WriteHeader(http.StatusMisdirectedRequest)
	case r.URL.Path == "/moved":
		http.Redirect(w, r, "/", http.StatusFound)
	case r.URL.Path == "/broken":
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.URL.Path == "/slow":
		select {
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
		}
	case r.URL.Path == "/cut":
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("short"))
	}
})

func TestHTTPChecks(t *testing.T) {
	plain, secure := httptest.NewServer(health), httptest.NewUnstartedServer(health)
	secure.Config.ErrorLog = nil
	secure.StartTLS() // its certificate is for example.com
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	for _, c := range []struct {
		name, url string
		change    func(*Check)
		want      string // "" is a success
	}{
		{"good", "http://www.example.org/", nil, ""},
		{"another name", "http://example.net/", nil, "status 421"},
		{"broken", "http://www.example.org/broken", nil, "status 503"},
		{"a code that is wanted", "http://www.example.org/broken", func(c *Check) { c.Status = []int{200, 503} }, ""},
		{"redirects are not followed", "http://www.example.org/moved", nil, "status 302"},
		{"too slow", "http://www.example.org/slow", func(c *Check) { c.Timeout = 50 * time.Millisecond }, "deadline"},
		{"cut off", "http://www.example.org/cut", nil, "EOF"},
		{"certificate of nobody", "https://www.example.org/", nil, "certificate"},
		{"certificate of another name", "https://www.example.org/", func(c *Check) { c.Roots = authority }, "www.example.org"},
		{"certificate that fits", "https://example.com/", func(c *Check) { c.Roots = authority; c.Status = []int{421} }, ""},
		{"unverified", "https://www.example.org/", func(c *Check) { c.Insecure = true }, ""},
	} {
		addr := plain.Listener.Addr().String()
		if strings.HasPrefix(c.url, "https:") {
			addr = secure.Listener.Addr().String()
		}
		check := checkOf(t, addr, c.url)
		if c.change != nil {
			c.change(check)
		}
		err := check.Ask(t.Context())
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestTCPChecks(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	check := checkOf(t, l.Addr().String(), "")
	if err := check.Ask(t.Context()); err != nil {
		t.Errorf("somebody listens: %v", err)
	}
	_ = l.Close()
	if err := check.Ask(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens: %v", err)
	}
}
