package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/freshcheck"
)

func (a *app) checkCmd() *cobra.Command {
	return group("check", "Check servers, as a monitoring plugin",
		`Checks for Nagios, Icinga and their relatives: one line of output with performance data, and the exit
status 0 OK, 1 WARNING, 2 CRITICAL or 3 UNKNOWN.`,
		`  popctl check freshness _freshness.example.org --server 192.0.2.53:53`,
		a.checkFreshnessCmd())
}

func (a *app) checkFreshnessCmd() *cobra.Command {
	var c freshcheck.Check
	cmd := &cobra.Command{
		Use:   "freshness QNAME",
		Short: "Check how old the data is that a server answers with",
		Long: `Ask a server for its freshness record and compare the age of the source time in it with --warn and --crit.
It needs no store. The source time is stamped where the data comes from (see "popctl pulse"), so the check
proves that the whole way from there to the server works.

Exit status: 0 OK; 1 WARNING, also when the server says that it has lost the store; 2 CRITICAL, also when
the server does not answer; 3 UNKNOWN: wrong arguments, no freshness record, clocks that are apart.`,
		Example: `  popctl check freshness _freshness.example.org --server 192.0.2.53:53 --warn 30s --crit 60s`,
		Args:    func(cmd *cobra.Command, args []string) error { return a.unknown(wants("QNAME")(cmd, args)) },
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.Server == "" {
				return a.unknown(errors.New("--server HOST:PORT is missing"))
			}
			c.Name = args[0]
			return a.reportFreshness(c.Run(cmd.Context()))
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Server, "server", "", "`HOST:PORT` of the name server")
	f.DurationVar(&c.Warn, "warn", 30*time.Second, "older than this is WARNING")
	f.DurationVar(&c.Crit, "crit", 60*time.Second, "older than this is CRITICAL")
	f.DurationVar(&c.Timeout, "try-timeout", 2*time.Second, "how long to wait for each answer")
	f.IntVar(&c.Tries, "tries", 3, "how often to ask")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return a.unknown(err) })
	return cmd
}

func (a *app) reportFreshness(r freshcheck.Report) error {
	if err := a.print(r, r.Line()); err != nil {
		return &statusError{int(freshcheck.Unknown), err}
	}
	if r.Status == freshcheck.OK {
		return nil
	}
	return &statusError{status: int(r.Status)}
}

// unknown reports an error in the command line as monitoring wants it, on standard output: it would take popctl's usual status 1 for a warning.
func (a *app) unknown(err error) error {
	if err == nil {
		return nil
	}
	return a.reportFreshness(freshcheck.Report{Status: freshcheck.Unknown, Message: err.Error()})
}
