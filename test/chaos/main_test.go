package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// coredns is the binary under test, built once.
var coredns string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "popdns-chaos-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	coredns = filepath.Join(dir, "coredns")
	build := exec.Command("go", "build", "-tags", "grpcnotrace", "-trimpath", "-ldflags", "-s -w", "-o", coredns, "./build")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building coredns: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// long skips a case that is left to `make chaos`.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes long: run by make chaos")
	}
}
