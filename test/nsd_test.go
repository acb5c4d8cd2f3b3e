package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/miekg/dns"
)

// zoneFile is a zone that a peer serves from its file.
type zoneFile struct{ origin, path string }

// startNSD serves zone files with Debian's NSD on a loopback port until the
// test ends.
func startNSD(tb testing.TB, port int, zones ...zoneFile) *daemon {
	tb.Helper()
	dir := tb.TempDir()
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
`, port, dir, filepath.Join(dir, "nsd.pid"), filepath.Join(dir, "xfrd.state"), filepath.Join(dir, "zone.list"))
	for _, z := range zones {
		conf += fmt.Sprintf("zone:\n    name: %q\n    zonefile: %q\n", z.origin, z.path)
	}
	if err := os.WriteFile(filepath.Join(dir, "nsd.conf"), []byte(conf), 0o600); err != nil {
		tb.Fatal(err)
	}
	d := startProcess(tb, exec.Command(systemBinary(tb, "nsd", "nsd"), "-d", "-c", filepath.Join(dir, "nsd.conf")), dir, nil)
	awaitZones(tb, d, port, zones)
	return d
}

// awaitZones returns once the daemon answers for every zone.
func awaitZones(tb testing.TB, d *daemon, port int, zones []zoneFile) {
	tb.Helper()
	for _, z := range zones {
		eventually(tb, z.origin+" is served", func() error {
			select {
			case <-d.done:
				tb.Fatalf("the server ended:\n%s", d.log)
			default:
			}
			r, err := exchange(loopback(port), question(z.origin, dns.TypeSOA))
			if err == nil && len(r.Answer) == 0 {
				err = fmt.Errorf("rcode %s", dns.RcodeToString[r.Rcode])
			}
			return err
		})
	}
}
