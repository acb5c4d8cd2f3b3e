package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
)

func (a *app) mapCmd() *cobra.Command {
	return group("map", "Publish steering maps, and explain what they do",
		`A map says which PoPs serve which client networks, in order of preference: by EDNS Client Subnet
(the ecs plane) where the query has one, otherwise by the resolver's address (the resolver plane).`,
		`  popctl map plan edge edge.yaml
  popctl map publish edge edge.yaml
  popctl map publish edge edge.yaml --canary 5%   # for 5 % of the clients at first, then
  popctl map promote edge                         # for all of them
  popctl map explain edge 203.0.113.7 --ecs 198.51.100.0/24 --name www.example.org
  popctl map simulate edge queries.csv --drain ams1=50%
  popctl map selftest edge www.example.org --server 192.0.2.53`,
		a.mapPublishCmd(), a.mapPlanCmd(), a.mapShowCmd(), a.mapExplainCmd(), a.mapListCmd(),
		a.mapCanaryCmd(), a.mapPromoteCmd(), a.mapRollbackCmd(), a.mapHistoryCmd(), a.mapSimulateCmd(), a.mapSelftestCmd())
}

const mapFileHelp = `FILE is YAML or JSON, or "-" for standard input:

  default: [ams1, iad2]                      # for whoever no prefix covers
  nets: {198.51.100.0/24: [iad2, ams1]}      # both planes
  resolver: {192.0.2.53/32: [ams1, iad2]}    # by the resolver's address only
  ecs: {"2001:db8::/32": [iad2, ams1]}       # by EDNS Client Subnet only
  geo:                                       # where no prefix says anything, by MaxMind databases
    databases: {city: GeoLite2-City.mmdb, asn: GeoLite2-ASN.mmdb}   # relative to FILE
    planes: [ecs]                            # both without this
    asn: {AS64500: [iad2]}                   # the first that fits decides, in this order
    subdivision: {US-CA: [sjc1, iad2]}
    country: {NL: [ams1]}
    continent: {EU: [ams1, iad2]}
    near: {count: 3, bias: {ams1: -10%}}     # the nearest PoPs by the PoP table's lat and lon`

// geoFlags are the flags that stand in for what a map file's geo section names.
type geoFlags struct{ city, asn string }

func (g *geoFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&g.city, "geoip-city", "", "City, Enterprise or Country database `file`, in place of the one that the map file names")
	f.StringVar(&g.asn, "geoip-asn", "", "ASN or ISP database `file`, likewise")
}

// readMap reads a map file, with what its geo section needs from the store and the flags.
func (a *app) readMap(ctx context.Context, s store.Reader, g *geoFlags, file, name string, anyPoP bool) (*publish.MapFile, error) {
	src, _, err := a.source(file)
	if err != nil {
		return nil, err
	}
	pops, err := publish.LoadPoPs(ctx, s)
	if err != nil {
		return nil, err
	}
	known := pops
	if anyPoP {
		known = nil
	}
	f, err := publish.ReadMapFile(src, name, known, publish.GeoInput{PoPs: pops, City: g.city, ASN: g.asn})
	if err != nil {
		return nil, err
	}
	if f.Geo != nil {
		a.warnAll(f.Geo.Warnings)
	}
	return f, nil
}

func (a *app) mapPublishCmd() *cobra.Command {
	var w writeFlags
	var geo geoFlags
	var moves moveFlags
	var canary canaryFlags
	cmd := &cobra.Command{
		Use:   "publish NAME FILE",
		Short: "Make a map what a file says",
		Long: `Make the map NAME what FILE says, and print what changed.

` + mapFileHelp + `

Refused unless --force is given (exit status 3): PoPs that the PoP table, if there is one, does not have;
for maps of 10 rows or more a change that deletes most of them; and a change that moves more than --max-move
allows from one PoP to another ("map plan" says what moves).

With --canary or --canary-edges the map is not published but staged beside the published one, for a share
of the client blocks, for whoever asks certain edges (see "edge" of popmap), or both. There is one staged
version of a map: staging replaces the one before. It ends with "map promote" or "map rollback"; until then
publishing without these flags is refused, and with --force leaves what is staged as it is.`,
		Example: `  popctl map publish edge edge.yaml -m "latencies of week 47"
  popctl map publish edge edge.yaml --canary 5%
  popctl map publish edge edge.yaml --canary-edges 'lab1,ams1-*'`,
		Args: wants("NAME", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			rule, staged, err := canary.rule()
			if err != nil {
				return err
			}
			if w.moves, err = moves.budget(a); err != nil {
				return err
			}
			bar := a.progress("publishing map " + args[0])
			defer bar.clear()
			return a.publish(cmd, &w, bar, func(ctx context.Context, p *publish.Publisher) error {
				next, err := a.readMap(ctx, p.Store(), &geo, args[1], args[0], w.force)
				if err != nil {
					return err
				}
				if staged {
					defer bar.clear()
					return a.stage(ctx, p, next.Map, rule)
				}
				r, err := p.PublishMap(ctx, next.Map)
				bar.clear()
				if err != nil {
					return err
				}
				return a.mapReceipt(args[0], r, "")
			})
		},
	}
	w.register(cmd)
	geo.register(cmd)
	moves.register(cmd)
	canary.register(cmd.Flags())
	return cmd
}

func (a *app) mapPlanCmd() *cobra.Command {
	var geo geoFlags
	var moves moveFlags
	cmd := &cobra.Command{
		Use:   "plan NAME FILE",
		Short: "Show what publishing a map would change",
		Long: `Show what "map publish NAME FILE" would change, without changing anything: the rows that come (+), go (-)
or change (~), and what would move from one PoP to another: of the address space (all of IPv4; of IPv6 the
global unicast addresses), of the prefixes, and with --weights of your own clients or queries; then the
greatest movers. PoPs that are down or drained are passed over as they are now.

In the ecs plane (resolver) stands for a hole, in which the resolver's address decides, and (as IPv4) for
IPv6 addresses that carry an IPv4 one, which are counted there.

` + mapFileHelp + `

Exit status: 0 nothing would change, 2 something would, 3 a guard would refuse it, 4 publishing would be a
conflict, 1 error.`,
		Example: `  popctl map plan edge edge.yaml
  popctl map plan edge edge.yaml --weights clients.csv --max-move 5%`,
		Args: wants("NAME", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			budget, err := moves.budget(a)
			if err != nil {
				return err
			}
			return a.publish(cmd, &writeFlags{moves: budget}, &progress{}, func(ctx context.Context, p *publish.Publisher) error {
				next, err := a.readMap(ctx, p.Store(), &geo, args[1], args[0], true)
				if err != nil {
					return err
				}
				plan, err := p.PlanMap(ctx, next.Map)
				if plan == nil {
					return err
				}
				a.warnAll(plan.Warnings)
				perr := a.print(plan, append(a.paint(plan.Lines()), plan.Summary())...)
				return planOutcome(perr, err, plan.Guard(), plan.Empty())
			})
		},
	}
	geo.register(cmd)
	moves.register(cmd)
	return cmd
}

func (a *app) mapShowCmd() *cobra.Command {
	canary := false
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Print a map",
		Long: `Print the map NAME as a map file, which "map publish" reads back to the same map; with --canary its staged
version. A comment at its head says what is staged.`,
		Example: `  popctl map show edge > edge.yaml
  popctl map show edge -o json | jq .rows`,
		Args: wants("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd, func(ctx context.Context, s store.Store) error {
				staged, err := publish.LoadCanary(ctx, s, args[0])
				if err != nil {
					return err
				}
				if canary {
					return a.showCanary(args[0], staged)
				}
				v, err := publish.LoadMap(ctx, s, args[0])
				if err != nil {
					return err
				}
				view := publish.ViewMap(v)
				if staged != nil {
					view.Canary = publish.ViewStaged(staged)
				}
				if a.output == "json" {
					return a.printJSON(view)
				}
				if staged != nil {
					fmt.Fprintf(a.stdout, "# staged beside it: %s, by %s; see it with --canary\n", view.Canary, oneLine(view.Canary.By))
				}
				return publish.WriteMap(a.stdout, v.Value)
			})
		},
	}
	cmd.Flags().BoolVar(&canary, "canary", false, "show the staged version")
	return cmd
}

// showCanary prints a staged version.
func (a *app) showCanary(name string, staged *dataset.Version[*steer.Canary]) error {
	if staged == nil {
		return fmt.Errorf("map %s: %w", name, publish.ErrNotStaged)
	}
	if a.output == "json" {
		return a.printJSON(publish.ViewCanary(staged))
	}
	view := publish.ViewStaged(staged)
	fmt.Fprintf(a.stdout, "# staged: %s, by %s\n", view, oneLine(view.By))
	return publish.WriteMap(a.stdout, staged.Value.Map())
}

func (a *app) mapListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the maps",
		Long:    "List all maps with their serial, size, when and by whom they were published last, and what is staged.",
		Example: "  popctl map list",
		Args:    wants(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, func(ctx context.Context, s store.Store) error {
				list, err := publish.ListMaps(ctx, s)
				if err != nil {
					return err
				}
				rows := listRows(list)
				for i, l := range list {
					staged := ""
					if l.Canary != nil {
						staged = l.Canary.String()
					}
					rows[i] = append(rows[i], staged)
				}
				return a.printTable(list, append(listHeader("MAP"), "STAGED"), rows)
			})
		},
	}
}

func (a *app) mapExplainCmd() *cobra.Command {
	var q publish.ExplainText
	var geo geoFlags
	var file string
	cmd := &cobra.Command{
		Use:   "explain NAME ADDRESS",
		Short: "Show to which PoP a client is sent, and why",
		Long: `Show what the map NAME decides for a query that comes from ADDRESS, with --ecs for one that carries that
EDNS Client Subnet: the plane, the block and the row that decided, the scope of the reply, the PoPs in order
of preference, and why each PoP before the chosen one was passed over. With --name also the answer.

With --file the same for a map file that need not be published, and which of its rows or rules decided: by a
GeoIP database, say "asn=AS64500" or "country=NL". A published map holds the result alone.`,
		Example: `  popctl map explain edge 203.0.113.7
  popctl map explain edge 203.0.113.7 --ecs 198.51.100.0/24
  popctl map explain edge 203.0.113.7 --ecs 2001:db8::/56 --name www.example.org --type AAAA -o json
  popctl map explain edge 203.0.113.7 --file edge.yaml`,
		Args: wants("NAME", "ADDRESS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Map, q.Address = args[0], args[1]
			question, err := q.Parse()
			if err != nil {
				return usageError{err}
			}
			return a.withStore(cmd, func(ctx context.Context, s store.Store) error {
				if file != "" {
					if question.File, err = a.readMap(ctx, s, &geo, file, args[0], true); err != nil {
						return err
					}
				}
				e, err := publish.Explain(ctx, s, question)
				if err != nil {
					return err
				}
				a.warnAll(e.Notes)
				return a.print(e, e.Lines()...)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.ECS, "ecs", "", "client subnet that the query carries, as `PREFIX` or address")
	f.StringVar(&q.Edge, "edge", "", "`name` of the edge that is asked, which matters to a version staged for edges")
	f.StringVar(&q.Name, "name", "", "also show the answer for this `QNAME`")
	f.StringVar(&q.Type, "type", "A", "record `TYPE` of the answer")
	f.StringVar(&file, "file", "", "map `FILE` to explain instead of the published map")
	geo.register(cmd)
	f.StringVar(&q.Zone, "zone", "", "`ORIGIN` of the zone to look the name up in (default: the longest published one)")
	return cmd
}
