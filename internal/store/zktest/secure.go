package zktest

import "fmt"

// Configure adds lines ("key=value") to the server's configuration, which hold from its next start on.
func (s *Server) Configure(lines ...string) {
	for _, l := range lines {
		s.member.config += l + "\n"
	}
}

// Secure lets the server speak TLS, on a port of its own, from its next start on. The file has its certificate and its key in PEM and is read at each
// start: this ZooKeeper doesn't notice when it changes. authorities is a PEM file too; with one, clients need a certificate that they signed.
func (s *Server) Secure(identity, authorities string) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	s.securePort = ports[0]
	s.Configure("serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory", fmt.Sprint("secureClientPort=", s.securePort),
		"ssl.keyStore.type=PEM", "ssl.keyStore.location="+identity)
	if authorities == "" {
		s.Configure("ssl.clientAuth=none")
		return nil
	}
	s.Configure("ssl.clientAuth=need", "ssl.trustStore.type=PEM", "ssl.trustStore.location="+authorities)
	return nil
}

// SecureAddr returns the address of a server that is Secure, "127.0.0.1:port".
func (s *Server) SecureAddr() string { return fmt.Sprintf("127.0.0.1:%d", s.securePort) }
