package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A secondary is a real name server that transfers a zone.
type secondary struct {
	name   string
	addr   string
	daemon *daemon
}

// startBINDSecondary has Debian's BIND transfer the zone from primaryPort on the
// loopback address and give it to anybody there. Its log says of each transfer
// what came.
func startBINDSecondary(tb testing.TB, origin string, primaryPort, port int) *secondary {
	tb.Helper()
	dir := tb.TempDir()
	conf := fmt.Sprintf(`options {
    directory %[1]q;
    pid-file none;
    session-keyfile none;
    listen-on port %[2]d { 127.0.0.1; };
    listen-on-v6 { none; };
    recursion no;
    dnssec-validation no;
    notify no;
    allow-transfer { 127.0.0.1; };
    serial-query-rate 1000;
};
controls { };
logging {
    channel errors { stderr; severity info; };
    channel transfers { stderr; severity debug 3; };
    category default { errors; };
    category xfer-in { transfers; };
};
zone %[3]q {
    type secondary;
    primaries { 127.0.0.1 port %[4]d; };
    file "zone.db";
};
`, dir, port, origin, primaryPort)
	if err := os.WriteFile(filepath.Join(dir, "named.conf"), []byte(conf), 0o600); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(systemBinary(tb, "named", "bind9"), "-f", "-n", "1", "-c", filepath.Join(dir, "named.conf"))
	return &secondary{"BIND", loopback(port), startProcess(tb, cmd, dir, nil)}
}

// startNSDSecondary is startBINDSecondary with Debian's NSD.
func startNSDSecondary(tb testing.TB, origin string, primaryPort, port int) *secondary {
	tb.Helper()
	dir := tb.TempDir()
	conf := fmt.Sprintf(`server:
    ip-address: 127.0.0.1@%[2]d
    username: ""
    zonesdir: %[1]q
    database: ""
    pidfile: "%[1]s/nsd.pid"
    xfrdfile: "%[1]s/xfrd.state"
    xfrdir: %[1]q
    zonelistfile: "%[1]s/zone.list"
    server-count: 1
    verbosity: 2
    xfrd-reload-timeout: 0
    rrl-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: %[3]q
    zonefile: "zone.db"
    request-xfr: 127.0.0.1@%[4]d NOKEY
    allow-notify: 127.0.0.1 NOKEY
    provide-xfr: 127.0.0.1 NOKEY
`, dir, port, origin, primaryPort)
	if err := os.WriteFile(filepath.Join(dir, "nsd.conf"), []byte(conf), 0o600); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(systemBinary(tb, "nsd", "nsd"), "-d", "-c", filepath.Join(dir, "nsd.conf"))
	return &secondary{"NSD", loopback(port), startProcess(tb, cmd, dir, nil)}
}

// serial asks for the serial that the secondary serves.
func (s *secondary) serial(origin string) (uint32, error) {
	r, err := exchange(s.addr, question(origin, dns.TypeSOA))
	if err != nil {
		return 0, err
	}
	if len(r.Answer) == 1 {
		if soa, ok := r.Answer[0].(*dns.SOA); ok {
			return soa.Serial, nil
		}
	}
	return 0, fmt.Errorf("no SOA: %s", dns.RcodeToString[r.Rcode])
}

// await waits until the secondary serves the serial.
func (s *secondary) await(tb testing.TB, origin string, serial uint32, within time.Duration) {
	tb.Helper()
	var got uint32
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		select {
		case <-s.daemon.done:
			tb.Fatalf("%s ended:\n%s", s.name, s.daemon.log)
		default:
		}
		if got, err = s.serial(origin); err == nil && got == serial {
			return
		}
	}
	tb.Fatalf("%s has serial %d of %s after %s, want %d: %v", s.name, got, origin, within, serial, err)
}

// axfr transfers the zone and returns its records in canonical form, sorted,
// the SOA once.
func axfr(tb testing.TB, addr, origin string) []string {
	tb.Helper()
	m := new(dns.Msg)
	m.SetAxfr(origin)
	envelopes, err := (&dns.Transfer{ReadTimeout: deadline}).In(m, addr)
	if err != nil {
		tb.Fatalf("AXFR of %s from %s: %v", origin, addr, err)
	}
	var rrs []dns.RR
	for e := range envelopes {
		if e.Error != nil {
			tb.Fatalf("AXFR of %s from %s: %v", origin, addr, e.Error)
		}
		rrs = append(rrs, e.RR...)
	}
	if len(rrs) < 3 {
		tb.Fatalf("AXFR of %s from %s: %d records", origin, addr, len(rrs))
	}
	return canonical(rrs[:len(rrs)-1])
}

// sameZone compares two results of axfr.
func sameZone(tb testing.TB, what string, got, want []string) {
	tb.Helper()
	if slices.Equal(got, want) {
		return
	}
	var differ []string
	for _, side := range []struct {
		sign string
		a, b []string
	}{{"+", got, want}, {"-", want, got}} {
		for _, rr := range side.a {
			if _, found := slices.BinarySearch(side.b, rr); !found && len(differ) < 20 {
				differ = append(differ, side.sign+" "+rr)
			}
		}
	}
	tb.Errorf("%s: %d records, want %d:\n%s", what, len(got), len(want), strings.Join(differ, "\n"))
}

// systemBinary finds a server of a Debian package.
func systemBinary(tb testing.TB, name, pkg string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/usr/sbin/" + name // not in everybody's PATH
	}
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("%s is not installed, run: apt-get install %s (%v)", name, pkg, err)
	}
	return path
}
