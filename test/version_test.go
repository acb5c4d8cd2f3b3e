package test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coredns/coredns/coremain"
)

func TestVersionShowsCoreDNSsAndOurs(t *testing.T) {
	out, err := exec.Command(filepath.Join(bin, "coredns"), "-version").Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := "CoreDNS-" + coremain.CoreVersion + "+popdns.1.2.3-test"; !strings.HasPrefix(string(out), want+"\n") {
		t.Errorf("coredns -version printed %q, want first line %q", out, want)
	}
}

func TestPluginsListsOurs(t *testing.T) {
	out, err := exec.Command(filepath.Join(bin, "coredns"), "-plugins").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(out))
	for _, name := range []string{"freshness", "popmap", "zkzone", "file", "forward", "kubernetes"} {
		if !slices.Contains(lines, name) && !slices.Contains(lines, "dns."+name) {
			t.Errorf("coredns -plugins does not list %s:\n%s", name, out)
		}
	}
}
