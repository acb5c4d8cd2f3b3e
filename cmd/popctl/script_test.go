package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/storeurl"
)

var update = flag.Bool("update", false, "write the golden parts of testdata/script anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"popctl": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("POPDNS_STORE", "dir://"+filepath.Join(e.WorkDir, "store"))
			e.Setenv("POPDNS_BY", "tester")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":    cmdStatus,
			"storenode": cmdStoreNode,
			"scrub":     cmdScrub,
			"makekey":   cmdMakeKey,
			"mmdb":      cmdMMDB,
		},
	})
}

// cmdStatus runs popctl and wants an exit status: "status 3 zone publish …".
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status CODE ARGS...")
	}
	got := 0
	if err := ts.Exec("popctl", args[1:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if args[0] != strconv.Itoa(got) {
		ts.Fatalf("exit status %d, want %s", got, args[0])
	}
}

// cmdStoreNode puts a node into the store: "storenode freeze DATA".
func cmdStoreNode(ts *testscript.TestScript, _ bool, args []string) {
	s, err := storeurl.Open(ts.Getenv("POPDNS_STORE"), storeurl.Options{})
	ts.Check(err)
	defer s.Close()
	ts.Check(s.Commit(context.Background(), store.Create(args[0], []byte(args[1]))))
}

// cmdMakeKey makes a key that signs a whole zone, as dnssec-keygen does: "makekey DIR ZONE".
func cmdMakeKey(ts *testscript.TestScript, _ bool, args []string) {
	k := dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: dns.Fqdn(args[1]), Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
		Flags: 257, Protocol: 3, Algorithm: dns.ED25519,
	}
	private, err := k.Generate(256)
	ts.Check(err)
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	base := filepath.Join(dir, fmt.Sprintf("K%s+%03d+%05d", k.Hdr.Name, k.Algorithm, k.KeyTag()))
	ts.Check(os.WriteFile(base+".key", []byte(k.String()+"\n"), 0o600))
	ts.Check(os.WriteFile(base+".private", []byte(k.PrivateKeyString(private)), 0o600))
}

var changing = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(\d+) bytes|"bytes": \d+`)

// cmdScrub writes the last output to a file, with what differs from run to run replaced: "scrub stdout FILE".
func cmdScrub(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(changing.ReplaceAllString(text, "XXX")), 0o600))
}
