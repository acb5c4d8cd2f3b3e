package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/popdns/popdns/build/directives"

	"github.com/coredns/coredns/core/dnsserver"
)

// bin is the folder of the binaries under test, built once.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "popdns-test-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = dir
	for name, pkg := range map[string]string{"coredns": "./build", "popctl": "./cmd/popctl"} {
		build := exec.Command("go", "build", "-tags", "grpcnotrace", "-trimpath", "-ldflags", "-s -w -X main.version=1.2.3-test", "-o", filepath.Join(dir, name), pkg)
		build.Dir = ".."
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building %s: %v\n%s", name, err, out)
			return 1
		}
	}
	if err := installDirectives(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// installDirectives gives servers of this process the binary's order of plugins, and
// the tests' own behind it.
func installDirectives() error {
	if err := directives.Install(); err != nil {
		return err
	}
	return dnsserver.SetDirectives(append(slices.Clone(dnsserver.Directives), capture))
}
