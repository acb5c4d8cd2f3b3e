package chaos

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/popdns/popdns/internal/store/zktest"
)

// TestCertificatesExpireAndAreExchanged follows over TLS, from servers that ask
// for the reader's certificate too, while one after the other is of no use any
// more and is replaced where it lies.
func TestCertificatesExpireAndAreExchanged(t *testing.T) {
	long(t)
	dir := t.TempDir()
	servers, clients := newAuthority(t), newAuthority(t)
	file := func(name string, content ...[]byte) string {
		path := filepath.Join(dir, name)
		write(t, path, content...)
		return path
	}
	cert, key := servers.issue(t, time.Hour)
	identity := file("server.pem", cert, key)
	cert, key = clients.issue(t, time.Hour)
	ours, oursKey := file("client.pem", cert), file("client.key", key)
	ca := file("servers.pem", servers.pem)
	clientCA := file("clients.pem", clients.pem)

	r := setup{
		member: func(s *zktest.Server) {
			if err := s.Secure(identity, clientCA); err != nil {
				t.Fatal(err)
			}
		},
		zkzone: fmt.Sprintf("tls %s %s %s", ours, oursKey, ca),
	}.rig(t)
	restartAll := func() { // one at a time: the publisher goes on
		for _, s := range r.zk.Servers {
			_ = s.Restart()
		}
	}
	refused := func(what string) {
		t.Helper()
		already := len(r.server.log.lines("session 0x"))
		r.cut() // what is connected stays connected
		r.heal()
		r.state("stale")
		hold(r, 3*time.Second) // some tries
		if lines := r.server.log.lines("session 0x"); len(lines) > already {
			t.Errorf("with %s: %s", what, lines[len(lines)-1])
		}
		r.state("stale")
	}

	cert, key = servers.issue(t, -time.Minute)
	write(t, identity, cert, key)
	restartAll()
	refused("servers whose certificates have expired")
	if len(r.server.log.lines("certificate has expired")) == 0 {
		t.Error("the log does not say why there is no session")
	}
	cert, key = servers.issue(t, time.Hour)
	write(t, identity, cert, key)
	restartAll()
	r.converge("with new certificates of the servers")

	stranger := newAuthority(t)
	cert, key = stranger.issue(t, time.Hour)
	write(t, identity, cert, key)
	restartAll()
	refused("servers of another authority")
	write(t, ca, servers.pem, stranger.pem)
	r.converge("with another authority in the file that the server was started with")

	cert, key = clients.issue(t, -time.Minute)
	write(t, ours, cert)
	write(t, oursKey, key)
	refused("a certificate of ours that has expired")
	cert, key = clients.issue(t, time.Hour)
	write(t, ours, cert)
	write(t, oursKey, key)
	r.converge("with another certificate of ours")

	write(t, oursKey, []byte("garbage"))
	refused("a key of ours that is garbage")
	write(t, oursKey, key)
	r.converge("with the key mended")
	r.finish()
	r.restart(syscall.SIGTERM)
	r.converge("after a start over TLS")
}

func write(t *testing.T, path string, content ...[]byte) {
	t.Helper()
	var all []byte
	for _, c := range content {
		all = append(all, c...)
	}
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
}

// An authority signs certificates for 127.0.0.1.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, cert: &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "authority " + time.Now().Format(time.StampNano)},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// issue returns a certificate that has lasted for an hour and ends in so long, with its key.
func (a *authority) issue(t *testing.T, ends time.Duration) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "127.0.0.1"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(ends),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}
