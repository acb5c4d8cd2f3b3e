package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/miekg/dns"
)

// startNSD serves a zone file with Debian's NSD on a loopback port until the
// test ends.
func startNSD(t *testing.T, origin, zoneFile string, port int) {
	t.Helper()
	dir := t.TempDir()
	conf := fmt.Sprintf(`server:
    ip-address: 127.0.0.1@%d
    username: ""
    zonesdir: %q
    database: ""
    pidfile: %q
    xfrdfile: %q
    zonelistfile: %q
    server-count: 1
    ipv4-edns-size: 4096
    rrl-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: %q
    zonefile: %q
`, port, dir, filepath.Join(dir, "nsd.pid"), filepath.Join(dir, "xfrd.state"), filepath.Join(dir, "zone.list"), origin, zoneFile)
	if err := os.WriteFile(filepath.Join(dir, "nsd.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startProcess(t, exec.Command(systemBinary(t, "nsd", "nsd"), "-d", "-c", filepath.Join(dir, "nsd.conf")), dir, nil)
	eventually(t, "NSD answers", func() error {
		select {
		case <-d.done:
			t.Fatalf("nsd ended:\n%s", d.log)
		default:
		}
		r, err := exchange(loopback(port), question(origin, dns.TypeSOA))
		if err == nil && len(r.Answer) == 0 {
			err = fmt.Errorf("rcode %s", dns.RcodeToString[r.Rcode])
		}
		return err
	})
}
