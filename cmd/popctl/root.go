package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// app is one run of popctl: its surroundings, and the flags that all commands share.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string

	storeURL string
	authFile string
	tls      tlsFlags
	timeout  time.Duration
	output   string
}

// run is popctl as a function: it returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, getenv: getenv}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	status := exitStatus(err)
	if err != nil && !isSilent(err) {
		fmt.Fprintf(stderr, "popctl: %s\n", a.describe(err))
	}
	return status
}

func (a *app) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "popctl",
		Short: "Publish zones, maps and PoPs to a popdns store",
		Long: `popctl is the writing side of popdns: it puts zones, steering maps and the table of PoPs
(points of presence) into a store, from which every edge server follows them live.

The store is named by --store or the environment variable POPDNS_STORE:
  zk://10.0.0.1:2181,10.0.0.2:2181,10.0.0.3:2181/popdns   a ZooKeeper ensemble
  dir:///var/lib/popdns                                  a directory, without any server

Credentials (user:password, ZooKeeper's digest scheme) come from the environment variable
POPDNS_AUTH or from the file that --auth-file names, never from an argument.

Exit status, for all commands but "check", which has its own:
  0  done, or nothing to do
  1  error
  2  "plan" or --dry-run found changes, "map selftest" wrong answers
  3  refused by a guard, because it looks like a mistake; --force overrides
  4  conflict or precondition: another writer, a frozen store, a serial that is not newer,
     a zone or version that is not there, a store without "popctl init"`,
		Example: `  export POPDNS_STORE=dir:///tmp/popdns
  popctl init
  popctl zone publish example.org example.org.zone -m "first version"
  popctl zone set example.org www 60 A 192.0.2.10 --pop ams1
  popctl zone history example.org
  popctl pop drain ams1
  popctl map explain edge 203.0.113.7 --ecs 198.51.100.0/24 --name www.example.org`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          unknownVerb,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.output != "text" && a.output != "json" {
				return usagef("-o %s: write text or json", a.output)
			}
			if a.timeout <= 0 {
				return usagef("--timeout %s: must be above 0", a.timeout)
			}
			return nil
		},
	}
	f := cmd.PersistentFlags()
	f.StringVar(&a.storeURL, "store", "", "URL of the `store` (default $POPDNS_STORE)")
	f.StringVar(&a.authFile, "auth-file", "", "`file` with user:password for the store (default: $POPDNS_AUTH holds them)")
	a.tls.register(f)
	f.DurationVar(&a.timeout, "timeout", time.Minute, "how long to wait for the store, and for another writer's lock")
	f.StringVarP(&a.output, "output", "o", "text", "`format` of the output: text or json")
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w (see %s --help)", err, cmd.CommandPath())
	})
	cmd.SetVersionTemplate("popctl {{.Version}}\n")
	cmd.AddCommand(a.initCmd(), a.zoneCmd(), a.popCmd(), a.mapCmd(), a.probeCmd(), a.pulseCmd(), a.adoptCmd(), a.keyCmd(), a.checkCmd(), a.versionCmd())
	return cmd
}

// group is a command that only holds others.
func group(use, short, long, example string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		Args: unknownVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(verbs...)
	return cmd
}

// unknownVerb is the Args of a group: whatever cobra did not recognise as one of its commands.
func unknownVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "see " + cmd.CommandPath() + " --help"
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return usagef("unknown command %q for %s (%s)", args[0], cmd.CommandPath(), hint)
}

// wants is the Args of a command with exactly the named arguments. A last name that ends in "..." stands for one or more, names in brackets may
// be left out from the end.
func wants(names ...string) cobra.PositionalArgs {
	least, most := 0, len(names)
	for _, n := range names {
		if !strings.HasPrefix(n, "[") {
			least++
		}
		if strings.HasSuffix(n, "...") {
			most = 1 << 16
		}
	}
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		want := strings.Join(names, " ")
		if want == "" {
			want = "no arguments"
		}
		return usagef("%s wants %s, but %d arguments were given (see %s --help)", cmd.CommandPath(), want, len(args), cmd.CommandPath())
	}
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print popctl's version",
		Long:    "Print the version of this popctl.",
		Example: "  popctl version",
		Args:    wants(),
		RunE: func(*cobra.Command, []string) error {
			return a.print(map[string]string{"version": version}, "popctl "+version)
		},
	}
}

// A usageError is a command line that can't be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return errors.Unwrap(e.error) }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }
