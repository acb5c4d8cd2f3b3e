// Command coredns is CoreDNS with popdns's plugins: every stock plugin in its
// stock order, and ours in front of file. Nothing is forked or generated: the
// server, its flags, signals and log format are CoreDNS's own (coremain).
package main

import (
	"fmt"
	"os"

	"github.com/popdns/popdns/build/directives"
	_ "github.com/popdns/popdns/plugin/fastpath"
	_ "github.com/popdns/popdns/plugin/freshness"
	_ "github.com/popdns/popdns/plugin/popmap"
	_ "github.com/popdns/popdns/plugin/zkzone"

	"github.com/coredns/caddy"
	_ "github.com/coredns/coredns/core/plugin" // every stock plugin
	"github.com/coredns/coredns/coremain"
)

// version is ours, set with -ldflags "-X main.version=…".
var version = "dev"

func main() {
	if err := directives.Install(); err != nil {
		fmt.Fprintln(os.Stderr, "coredns:", err)
		os.Exit(1)
	}
	// Drop-in: scripts parse "CoreDNS-1.15.0", so ours follows as build metadata.
	// -version, version.bind and dnstap all show it.
	caddy.AppVersion = coremain.CoreVersion + "+popdns." + version
	coremain.Run()
}
