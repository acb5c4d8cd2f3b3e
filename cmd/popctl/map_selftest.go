package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/selftest"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

func (a *app) mapSelftestCmd() *cobra.Command {
	t := selftest.Test{}
	var typ string
	cmd := &cobra.Command{
		Use:   "selftest NAME QNAME",
		Short: "Ask a server from every block of a map",
		Long: `Ask a running server for QNAME, which the published map NAME steers, once from every block of the ecs plane
(over UDP, with an EDNS Client Subnet option), and once without. Compare the records, the echoed option and
its scope with what the map, the PoP table and the zone in the store say.

The resolver plane goes by the address that a query comes from, so only the block of this host can be tested;
the others are counted. Behind address translation the server may see another address than this host's own.

A map of a million prefixes has about as many blocks: at the default rate that takes a quarter of an hour.

Exit status: 0 all is as the map says, 2 something is not, 1 error, 4 the map or the zone is not published.`,
		Example: `  popctl map selftest edge www.example.org --server 192.0.2.53
  popctl map selftest edge www.example.org --server [2001:db8::53]:1053 --type AAAA --rate 5000 -o json`,
		Args: wants("NAME", "QNAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.prepareSelftest(cmd, &t, args[0], args[1], typ); err != nil {
				return err
			}
			bar := a.progress("asking " + t.Server)
			t.Progress = bar.update
			r, err := t.Run(cmd.Context())
			bar.clear()
			if err != nil {
				return err
			}
			return a.reportSelftest(r)
		},
	}
	f := cmd.Flags()
	f.StringVar(&t.Server, "server", "", "`HOST` or HOST:PORT of the name server")
	f.StringVar(&t.Edge, "edge", "", "the server's `name`, which matters to a version of the map that is staged for edges")
	f.StringVar(&typ, "type", "A", "record `TYPE` to ask for")
	f.Float64Var(&t.Rate, "rate", 1000, "queries a second at most")
	f.IntVar(&t.Parallel, "parallel", 16, "queries under way at most, 1 to 1000")
	f.DurationVar(&t.Timeout, "try-timeout", 2*time.Second, "how long to wait for each answer")
	f.IntVar(&t.Tries, "tries", 3, "how often to ask for each, 1 to 100")
	return cmd
}

// prepareSelftest checks the flags, and reads what to judge by.
func (a *app) prepareSelftest(cmd *cobra.Command, t *selftest.Test, name, qname, typ string) (err error) {
	const maxParallel, maxTries, maxRate = 1000, 100, 1e6
	switch {
	case t.Server == "":
		return usagef("--server HOST is missing")
	case !(t.Rate > 0 && t.Rate <= maxRate): // written so that NaN fails
		return usagef("--rate %v: write a number above 0, at most %.0f", t.Rate, maxRate)
	case t.Parallel < 1 || t.Parallel > maxParallel:
		return usagef("--parallel %d: write 1 to %d", t.Parallel, maxParallel)
	case t.Tries < 1 || t.Tries > maxTries:
		return usagef("--tries %d: write 1 to %d", t.Tries, maxTries)
	case t.Timeout <= 0:
		return usagef("--try-timeout %s: must be above 0", t.Timeout)
	}
	if _, _, err := net.SplitHostPort(t.Server); err != nil {
		t.Server = net.JoinHostPort(strings.Trim(t.Server, "[]"), "53")
	}
	if t.Name, err = zone.ParseName(qname); err != nil {
		return usagef("name %q: %w", qname, err)
	}
	if t.Type, err = publish.ParseType(typ); err != nil {
		return usageError{err}
	}
	return a.withStore(cmd, func(ctx context.Context, s store.Store) error {
		m, err := publish.LoadMap(ctx, s, name)
		if err != nil {
			return err
		}
		t.Map = m.Value
		staged, err := publish.LoadCanary(ctx, s, name)
		if err != nil {
			return err
		}
		if staged != nil {
			t.Canary = staged.Value
		}
		if t.PoPs, err = publish.LoadPoPs(ctx, s); err != nil {
			return err
		}
		zones, err := publish.OpenZones(ctx, s, a.timeout)
		if err != nil {
			return err
		}
		if t.Zone, err = zones.Find(t.Name); err == nil && t.Zone == nil {
			err = fmt.Errorf("no published zone holds %s: %w", t.Name, dataset.ErrNoDataset)
		}
		return err
	})
}

func (a *app) reportSelftest(r *selftest.Report) error {
	var lines []string
	for _, f := range r.Findings {
		lines = append(lines, fmt.Sprintf("%s %s: %s", f.Plane, f.Block, f.What))
	}
	if more := r.Wrong - len(r.Findings); more > 0 {
		lines = append(lines, fmt.Sprintf("… and %d more", more))
	}
	lines = append(lines, fmt.Sprintf("%d blocks of the ecs plane asked from, and %s as %s; %d wrong", r.Blocks, r.ResolverBlock, r.Resolver, r.Wrong))
	if others := r.ResolverBlocks - 1; others > 0 {
		lines = append(lines, fmt.Sprintf("%d other blocks of the resolver plane can't be tested from here", others))
	}
	if err := a.print(r, lines...); err != nil {
		return err
	}
	if r.Wrong > 0 {
		return &statusError{status: exitChanges}
	}
	return nil
}
