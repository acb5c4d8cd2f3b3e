package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// startKnot serves zone files with Debian's Knot DNS on a loopback port until
// the test ends.
func startKnot(t *testing.T, port int, zones ...zoneFile) {
	t.Helper()
	dir := t.TempDir()
	var conf strings.Builder
	fmt.Fprintf(&conf, `server:
    rundir: %q
    listen: 127.0.0.1@%d
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: warning
database:
    storage: %q
template:
  - id: default
    semantic-checks: soft
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
zone:
`, dir, port, filepath.Join(dir, "db"))
	for _, z := range zones {
		fmt.Fprintf(&conf, "  - domain: %q\n    file: %q\n", z.origin, z.path)
	}
	if err := os.WriteFile(filepath.Join(dir, "knot.conf"), []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startProcess(t, exec.Command(systemBinary(t, "knotd", "knot"), "-c", filepath.Join(dir, "knot.conf")), dir, nil)
	awaitZones(t, d, port, zones)
}
