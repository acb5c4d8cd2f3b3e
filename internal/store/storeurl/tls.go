package storeurl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLSFiles name what TLS to an ensemble needs. The zero value is plain TCP, with any of them it is TLS. Equal ones mean the same.
type TLSFiles struct {
	CA         string // PEM file of the authorities that may sign the servers' certificates, "" for the system's
	Cert, Key  string // PEM files of our certificate, for servers that ask for one, and its key
	ServerName string // that the servers' certificates must have, "" for the host's in the URL
}

// Option returns what Options.TLS takes: nil for the zero value. It reads the files once and fails when they are of no use; later it reads
// them anew for each connection, so a certificate is exchanged by exchanging the file.
func (f TLSFiles) Option() (func() (*tls.Config, error), error) {
	if f == (TLSFiles{}) {
		return nil, nil
	}
	if _, err := f.config(); err != nil {
		return nil, err
	}
	return f.config, nil
}

func (f TLSFiles) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.ServerName}
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("TLS authorities: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("TLS authorities: %s holds no PEM certificate", f.CA)
		}
	}
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("TLS: a certificate and its key belong together: give both")
	}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("TLS certificate %s: %w", f.Cert, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
