package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/store/zktest"
)

func TestZooKeeperTakesWritesOnlyWithCredentials(t *testing.T) {
	server := zktest.Start(t)
	auth := filepath.Join(t.TempDir(), "auth")
	if err := os.WriteFile(auth, []byte("writer:s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	anonymous := map[string]string{"POPDNS_STORE": server.URL("/popdns"), "POPDNS_BY": "tester"}
	writer := map[string]string{"POPDNS_STORE": server.URL("/popdns"), "POPDNS_BY": "tester", "POPDNS_AUTH": "writer:s3cret"}
	other := map[string]string{"POPDNS_STORE": server.URL("/popdns"), "POPDNS_AUTH": "other:guess"}

	open := map[string]string{"POPDNS_STORE": server.URL("/open"), "POPDNS_BY": "tester"}

	set := []string{"zone", "set", "example.org", "a", "60", "A", "192.0.2.1"}
	for _, step := range []struct {
		what   string
		env    map[string]string
		args   []string
		status int
		out    string // in standard output or error
	}{
		{"nothing there", anonymous, []string{"zone", "list"}, exitConflict, "not a popdns store yet: run popctl init"},
		{"init without credentials", open, []string{"init"}, exitOK, "warning: no credentials, so whoever reaches the ensemble may change everything"},
		{"init from the file", anonymous, []string{"init", "--auth-file", auth}, exitOK, "initialised: cluster "},
		{"publish", writer, []string{"zone", "publish", "example.org", "-"}, exitOK, "first serial 1 "},
		{"set", writer, set, exitOK, "serial 1 → 2 "},
		{"anonymous writer", anonymous, []string{"zone", "unset", "example.org", "a", "A"}, exitError, "give credentials with POPDNS_AUTH or --auth-file"},
		{"another writer", other, []string{"zone", "unset", "example.org", "a", "A"}, exitError, "not permitted"},
		{"another's pulse", other, []string{"pulse", "--once"}, exitError, "not permitted"},
		{"anonymous reader", anonymous, []string{"zone", "show", "example.org", "a", "A"}, exitOK, "192.0.2.1"},
		{"anonymous plan", anonymous, []string{"zone", "plan", "example.org", "-"}, exitChanges, "- a.example.org. 60 A 192.0.2.1"},
		{"roll back", writer, []string{"zone", "rollback", "example.org", "1"}, exitOK, "+0 -1 ~0 RRsets, serial 2 → 3 "},
		{"pulse", writer, []string{"pulse", "--once"}, exitOK, ""},
	} {
		status, stdout, stderr := popctl(t.Context(), step.env, testZone, step.args...)
		if status != step.status || !strings.Contains(stdout+stderr, step.out) {
			t.Fatalf("%s: status %d, want %d and %q; output:\n%s%s", step.what, status, step.status, step.out, stdout, stderr)
		}
		if strings.Contains(stdout+stderr, "s3cret") {
			t.Fatalf("%s: the password is in the output", step.what)
		}
	}
}

func TestStoreThatCantBeReachedIsSaidAfterTheTimeout(t *testing.T) {
	env := map[string]string{"POPDNS_STORE": "zk://127.0.0.1:1/popdns"}
	status, _, stderr := popctl(t.Context(), env, "", "zone", "list", "--timeout", "300ms")
	if status != exitError || !strings.Contains(stderr, "is the store zk://127.0.0.1:1/popdns running, and can it be reached from here?") {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
}
