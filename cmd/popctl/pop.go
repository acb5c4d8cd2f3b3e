package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
)

func (a *app) popCmd() *cobra.Command {
	return group("pop", "Keep the table of PoPs: their places, states and drains",
		`The PoP table says where each PoP is and whether it takes clients. It is one small dataset, so that a
drain reaches every edge in milliseconds.`,
		`  popctl pop apply pops.yaml
  popctl pop drain ams1 --percent 30   # move 30 % of its clients elsewhere
  popctl pop down ams1                 # all of them, at once
  popctl pop down ams1 --service mail  # for names marked service=mail`,
		a.popApplyCmd(), a.popListCmd(),
		a.popEditCmd("undrain", "End a PoP's drain", "Let the PoP NAME take all of its clients again. A PoP that is down stays down.",
			func(ctx context.Context, p *publish.Publisher, name, service string) (*publish.PoPsReceipt, error) {
				return drain(ctx, p, name, service, 0)
			}),
		a.popDrainCmd(),
		a.popEditCmd("down", "Take a PoP out of service", "Send no client to the PoP NAME any more. A drain stays recorded for when it is up again.",
			func(ctx context.Context, p *publish.Publisher, name, service string) (*publish.PoPsReceipt, error) {
				return setState(ctx, p, name, service, steer.Down)
			}),
		a.popEditCmd("up", "Put a PoP into service", "Send clients to the PoP NAME again, but for what a drain keeps away. If checks found it down\n(see popctl probe), that is forgotten until they find it again.",
			func(ctx context.Context, p *publish.Publisher, name, service string) (*publish.PoPsReceipt, error) {
				return setState(ctx, p, name, service, steer.Up)
			}),
	)
}

func drain(ctx context.Context, p *publish.Publisher, name, service string, percent int) (*publish.PoPsReceipt, error) {
	if service != "" {
		return p.DrainService(ctx, name, service, percent)
	}
	return p.DrainPoP(ctx, name, percent)
}

func setState(ctx context.Context, p *publish.Publisher, name, service string, state steer.State) (*publish.PoPsReceipt, error) {
	if service != "" {
		return p.SetServiceState(ctx, name, service, state)
	}
	return p.SetPoPState(ctx, name, state)
}

func (a *app) popApplyCmd() *cobra.Command {
	var w writeFlags
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Make the PoP table what a file says",
		Long: `Make the table of PoPs what FILE says (YAML or JSON, "-" for standard input):

  ams1:
    lat: 52.3        # degrees north
    lon: 4.9         # degrees east
    state: up        # or down
    drain: 30        # percent of its clients that go elsewhere
    capacity: 100    # in a unit of your own, the same for all
    services:        # of names marked service=NAME; the worse of PoP and service counts
      mail: {state: down}
  iad2: {lat: 38.9, lon: -77.4}

A PoP that is not in FILE is deleted. Where FILE leaves out state, drain or services of a PoP, they stay
as they are, so that applying a file never ends a drain by accident.

Refused unless --force is given (exit status 3): a table without a PoP that a map names, and one in which
no PoP is up and not fully drained.`,
		Example: `  popctl pop apply pops.yaml -m "new site sin1"`,
		Args:    wants("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			src, _, err := a.source(args[0])
			if err != nil {
				return err
			}
			return a.publish(cmd, &w, &progress{}, func(ctx context.Context, p *publish.Publisher) error {
				cur, err := publish.LoadPoPs(ctx, p.Store())
				if err != nil {
					return err
				}
				next, err := publish.ReadPoPs(src, cur)
				if err != nil {
					return err
				}
				r, err := p.ApplyPoPs(ctx, next)
				return a.popsReceipt(r, err)
			})
		},
	}
	w.register(cmd)
	return cmd
}

func (a *app) popDrainCmd() *cobra.Command {
	var percent int
	cmd := a.popEditCmd("drain", "Move clients away from a PoP",
		`Send the clients of the PoP NAME to the next PoP of their list: all of them, or with --percent a stable
share, which is the same on every edge; raising the percentage only adds clients to it.

Refused unless --force is given (exit status 3): a drain after which no PoP takes clients.`,
		func(ctx context.Context, p *publish.Publisher, name, service string) (*publish.PoPsReceipt, error) {
			return drain(ctx, p, name, service, percent)
		})
	cmd.Example = "  popctl pop drain ams1\n  popctl pop drain ams1 --percent 30 -m \"transit maintenance\""
	cmd.Flags().IntVar(&percent, "percent", 100, "share of the clients to move, 0 to 100")
	return cmd
}

func (a *app) popEditCmd(verb, short, long string, edit func(ctx context.Context, p *publish.Publisher, name, service string) (*publish.PoPsReceipt, error)) *cobra.Command {
	var w writeFlags
	var service string
	cmd := &cobra.Command{
		Use: verb + " NAME", Short: short, Long: long,
		Example: fmt.Sprintf("  popctl pop %s ams1", verb),
		Args:    wants("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.publish(cmd, &w, &progress{}, func(ctx context.Context, p *publish.Publisher) error {
				r, err := edit(ctx, p, args[0], service)
				return a.popsReceipt(r, err)
			})
		},
	}
	w.register(cmd)
	cmd.Flags().StringVar(&service, "service", "", "only for the names that are marked service=`NAME` in their zone")
	return cmd
}

// popsReceipt prints what a change of the PoP table did.
func (a *app) popsReceipt(r *publish.PoPsReceipt, err error) error {
	if err != nil {
		return err
	}
	line := commitLine("PoP table", strings.Join(r.Lines(), ", "), r.Receipt)
	return a.printReceipt(r.Receipt, len(r.Added), len(r.Deleted), len(r.Edited), line)
}

func (a *app) popListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the PoPs",
		Long:    "List all PoPs with their state, drain, place and capacity.",
		Example: "  popctl pop list\n  popctl pop list -o json",
		Args:    wants(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, func(ctx context.Context, s store.Store) error {
				list, err := publish.ListPoPs(ctx, s)
				if err != nil {
					return err
				}
				rows := make([][]string, len(list.PoPs))
				for i, p := range list.PoPs {
					rows[i] = []string{p.Name, popState(p), fmt.Sprintf("%d%%", p.Drain), fmt.Sprint(p.Lat), fmt.Sprint(p.Lon), strconv.FormatInt(p.Capacity, 10), services(p)}
				}
				return a.printTable(list, []string{"POP", "STATE", "DRAIN", "LAT", "LON", "CAPACITY", "SERVICES"}, rows)
			})
		},
	}
}

// services lists what is out of order at a PoP beside the PoP itself: "mail down, web 30%".
func services(p publish.PoPView) string {
	var out []string
	for _, s := range p.Services {
		switch {
		case s.State != steer.Up.String():
			out = append(out, s.Name+" "+s.State)
		default:
			out = append(out, fmt.Sprintf("%s %d%%", s.Name, s.Drain))
		}
	}
	for _, name := range p.Failing {
		if service, ok := strings.CutPrefix(name, "service/"); ok {
			out = append(out, service+" failing")
		}
	}
	return strings.Join(out, ", ")
}

// popState is the PoP's state for the table, with what checks found.
func popState(p publish.PoPView) string {
	if slices.Contains(p.Failing, "pop") {
		return p.State + ", failing"
	}
	return p.State
}
