package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
)

// canaryFlags say who gets a staged version.
type canaryFlags struct {
	share string
	edges []string
}

func (c *canaryFlags) register(f *pflag.FlagSet) {
	f.StringVar(&c.share, "canary", "", "only stage it, for this `share` of the client blocks, like 5% or 0.25%")
	f.StringSliceVar(&c.edges, "canary-edges", nil, "only stage it, for whoever asks one of these `edges`: names or patterns like ams1-*")
}

// rule returns the rule that the flags make, and false without any.
func (c *canaryFlags) rule() (steer.CanaryRule, bool, error) {
	rule := steer.CanaryRule{Edges: publish.ParseCanaryEdges(c.edges)}
	if c.share == "" {
		return rule, len(rule.Edges) > 0, nil
	}
	var err error
	if rule.Share, err = steer.ParseShare(c.share); err != nil {
		err = usagef("--canary: %w", err)
	}
	return rule, true, err
}

// stage publishes a map as a canary and prints what it did.
func (a *app) stage(ctx context.Context, p *publish.Publisher, next *steer.Map, rule steer.CanaryRule) error {
	before, err := publish.LoadCanary(ctx, p.Store(), next.Name())
	if err != nil {
		return err
	}
	r, err := p.StageMap(ctx, next, rule)
	if err != nil {
		return err
	}
	a.warnAll(r.Plan.Warnings)
	what := "map " + next.Name()
	line := what + ": the same as the published version, so nothing is staged"
	if r.Changed {
		line = fmt.Sprintf("%s: staged serial %d for %s: %s against the published serial %d; publish it with: popctl map promote %s; take it back with: popctl map rollback %s",
			what, r.New, rule, r.Plan.Counts(), r.Plan.OldSerial, next.Name(), next.Name())
		if before != nil {
			line += fmt.Sprintf("; serial %d, which was staged, is replaced", before.Head.Serial)
		}
	} else if !r.Plan.Empty() {
		line = fmt.Sprintf("%s: staged already, serial stays %d", what, r.New)
	}
	return a.printReceipt(r.Receipt, r.Plan.Added, r.Plan.Deleted, r.Plan.Changed, line)
}

func (a *app) mapCanaryCmd() *cobra.Command {
	var w writeFlags
	var edges []string
	cmd := &cobra.Command{
		Use:   "canary NAME [SHARE]",
		Short: "Change who gets the staged version of a map",
		Long: `Give the staged version of the map NAME to SHARE of all client blocks, which are /24 in IPv4 and /48 in IPv6.
Which ones is the same on every edge; a greater share only adds blocks. With --edges it goes to everybody
who asks one of these edges, in place of those named before; "" names none. What is not given stays.`,
		Example: `  popctl map canary edge 20%
  popctl map canary edge --edges 'ams1-*,lab1'`,
		Args: wants("NAME", "[SHARE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			setEdges := cmd.Flags().Changed("edges")
			if len(args) < 2 && !setEdges {
				return usagef("give a SHARE, like 20%%, or --edges (see popctl map canary --help)")
			}
			var share steer.Share
			if len(args) == 2 {
				var err error
				if share, err = steer.ParseShare(args[1]); err != nil {
					return usageError{err}
				}
			}
			return a.publish(cmd, &w, &progress{}, func(ctx context.Context, p *publish.Publisher) error {
				r, err := p.SetCanary(ctx, args[0], func(rule steer.CanaryRule) steer.CanaryRule {
					if share != 0 {
						rule.Share = share
					}
					if setEdges {
						rule.Edges = publish.ParseCanaryEdges(edges)
					}
					return rule
				})
				if err != nil {
					return err
				}
				line := fmt.Sprintf("map %s: the staged version goes to %s already", args[0], r.After)
				if r.Changed {
					line = fmt.Sprintf("map %s: the staged version goes to %s instead of %s, serial %d → %d", args[0], r.After, r.Before, r.Old, r.New)
				}
				return a.printReceipt(r.Receipt, 0, 0, 0, line)
			})
		},
	}
	w.register(cmd)
	cmd.Flags().StringSliceVar(&edges, "edges", nil, "`names` or patterns of edges, separated by commas")
	return cmd
}

func (a *app) mapPromoteCmd() *cobra.Command {
	var w writeFlags
	cmd := &cobra.Command{
		Use:   "promote NAME",
		Short: "Publish the staged version of a map for everybody",
		Long: `Make the staged version of the map NAME the published one and end the canary. Clients that have it already
notice nothing. Guards apply as they do to "map publish".`,
		Example: `  popctl map promote edge`,
		Args:    wants("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.publish(cmd, &w, &progress{}, func(ctx context.Context, p *publish.Publisher) error {
				r, err := p.PromoteMap(ctx, args[0])
				if err != nil {
					return err
				}
				return a.mapReceipt(args[0], r, "promoted, ")
			})
		},
	}
	w.register(cmd)
	return cmd
}

func (a *app) mapRollbackCmd() *cobra.Command {
	var w writeFlags
	cmd := &cobra.Command{
		Use:   "rollback NAME [SERIAL]",
		Short: "Take the staged version back, or return to an earlier one",
		Long: `While a version of the map NAME is staged: take it back, so that everybody has the published one again.

Otherwise, or with SERIAL: publish what the map was at SERIAL again, as a new version with a new serial;
without SERIAL the version before the present one. "map history" lists those that are kept. Guards apply as
they do to "map publish", and what is staged stays staged.`,
		Example: `  popctl map rollback edge            # the canary, or the last version
  popctl map rollback edge 41 -m "iad2 was overrun"`,
		Args: wants("NAME", "[SERIAL]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var serial uint32
			if len(args) == 2 {
				var err error
				if serial, err = publish.ParseSerial(args[1]); err != nil || serial == 0 {
					return usagef("%q is no serial: see popctl map history %s", args[1], args[0])
				}
			}
			return a.publish(cmd, &w, &progress{}, func(ctx context.Context, p *publish.Publisher) error {
				if serial == 0 {
					r, err := p.WithdrawMap(ctx, args[0])
					if err == nil {
						line := fmt.Sprintf("map %s: serial %d, staged for %s, is taken back: everybody has the published version", args[0], r.Old, r.Before)
						return a.printReceipt(r.Receipt, 0, 0, 0, line)
					}
					if !errors.Is(err, publish.ErrNotStaged) {
						return err
					}
				}
				r, err := p.RollbackMap(ctx, args[0], serial)
				if err != nil {
					return err
				}
				return a.mapReceipt(args[0], r, "")
			})
		},
	}
	w.register(cmd)
	return cmd
}

// mapReceipt prints what a change of the published map did, and how to undo it.
func (a *app) mapReceipt(name string, r *publish.MapReceipt, how string) error {
	a.warnAll(r.Plan.Warnings)
	line := commitLine("map "+name, how+r.Plan.Counts(), r.Receipt)
	if r.Changed && r.Old != 0 {
		line += fmt.Sprintf("; roll back with: popctl map rollback %s %d", name, r.Old)
	}
	return a.printReceipt(r.Receipt, r.Plan.Added, r.Plan.Deleted, r.Plan.Changed, line)
}

func (a *app) mapHistoryCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "history NAME",
		Short: "List the versions of a map",
		Long: `List the versions of the map NAME that can still be rolled back to, newest first: when each was published,
by whom, how many rows it has, and why.`,
		Example: `  popctl map history edge
  popctl map history edge -o json`,
		Args: wants("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.history(cmd, func(ctx context.Context, r store.Reader) ([]publish.HistoryEntry, error) {
				return publish.MapHistory(ctx, r, args[0])
			})
		},
	}
}
