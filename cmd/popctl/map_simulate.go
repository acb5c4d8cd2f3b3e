package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/querylog"
	"github.com/popdns/popdns/internal/simulate"
	"github.com/popdns/popdns/internal/store"
)

func (a *app) mapSimulateCmd() *cobra.Command {
	var f simulateFlags
	cmd := &cobra.Command{
		Use:   "simulate NAME QUERIES",
		Short: "Show which share of a query log each PoP would get",
		Long: `Read QUERIES ("-" for standard input) and show which share of them the map NAME sends to each PoP, by which
rule of the map, and how the PoP was chosen. Nobody is asked and nothing is written.

QUERIES is CSV, address,ecs,qname,weight: fields may be empty, and those at the end left out; a first line may
name other columns (also type). Or it is what CoreDNS's log plugin wrote; that knows no client subnets.

Without a qname, and for names in no published zone, every PoP counts as having a variant. In the place of
a PoP stand (default) for the default variant, (none) where all PoPs of the list are away, (unsteered) for
names that are not steered, and (other map).

With --file, --drain, --down or --up the shares are those with that map and those states, and those of what is
published stand beside. With --file and no store set, every PoP counts as up and no name is known.`,
		Example: `  popctl map simulate edge queries.csv
  popctl map simulate edge queries.csv --drain ams1=50% --down iad2
  popctl map simulate edge coredns.log --file next.yaml -o json
  zcat queries.gz | popctl map simulate edge -`,
		Args: wants("NAME", "QUERIES"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.simulate(cmd, args[0], args[1], &f)
		},
	}
	f.register(cmd)
	return cmd
}

// simulateFlags say what differs from what is published.
type simulateFlags struct {
	file, format    string
	drain, down, up []string
	noNames         bool
}

func (f *simulateFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.file, "file", "", "a map `FILE` in the place of the published map")
	fs.StringVar(&f.format, "format", "auto", "`FORMAT` of QUERIES: auto, csv or log")
	fs.StringArrayVar(&f.drain, "drain", nil, "as if a PoP were drained, `POP=50%`; may be given again")
	fs.StringArrayVar(&f.down, "down", nil, "as if the `POP` were down; may be given again")
	fs.StringArrayVar(&f.up, "up", nil, "as if the `POP` were up and not drained; may be given again")
	fs.BoolVar(&f.noNames, "no-names", false, "let every PoP count as having a variant of every name")
}

func (f *simulateFlags) supposition(a *app) (publish.Supposition, error) {
	s := publish.Supposition{NoNames: f.noNames}
	for _, pop := range f.up {
		s.States = append(s.States, pop+"=up")
	}
	for _, drain := range f.drain {
		if pop, percent, ok := strings.Cut(drain, "="); !ok || pop == "" || percent == "" || !strings.HasSuffix(percent, "%") {
			return s, usagef("--drain %s: write POP=50%%", drain)
		}
		s.States = append(s.States, drain)
	}
	for _, pop := range f.down {
		s.States = append(s.States, pop+"=down")
	}
	if f.file != "" {
		src, _, err := a.source(f.file)
		if err != nil {
			return s, err
		}
		s.File = &src
	}
	return s, nil
}

func (a *app) simulate(cmd *cobra.Command, name, queries string, f *simulateFlags) error {
	format, err := querylog.ParseFormat(f.format)
	if err != nil {
		return usageError{err}
	}
	sup, err := f.supposition(a)
	if err != nil {
		return err
	}
	in, err := a.openQueries(queries)
	if err != nil {
		return err
	}
	defer in.Close()
	run := func(ctx context.Context, r store.Reader) error {
		sim, err := publish.NewSimulation(ctx, r, name, sup, a.timeout)
		if err != nil {
			return err
		}
		a.warnAll(sim.Notes)
		bad := 0
		shares, err := simulate.Run(querylog.NewReader(in, fileName(queries), format), sim.Now, sim.Before, func(err error) {
			if bad++; bad <= maxBadLines {
				a.warn(err.Error())
			}
		})
		if err != nil {
			return err
		}
		return a.printShares(sim, name, shares)
	}
	if a.url() == "" && sup.File != nil {
		return run(cmd.Context(), nil)
	}
	// A long log may take longer than --timeout, which is for the store.
	return a.withOpenStore(cmd.Context(), func(ctx context.Context, s store.Store) error { return run(ctx, s) })
}

// maxBadLines is how many lines that can't be read are named.
const maxBadLines = 10

// fileName names a file in messages.
func fileName(file string) string {
	if file == "-" {
		return "<stdin>"
	}
	return file
}

// openQueries opens what is read once, and need not fit in memory.
func (a *app) openQueries(file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(a.stdin), nil
	}
	src, _, err := a.source(file)
	if err != nil {
		return nil, err
	}
	return src.Open()
}

func (a *app) printShares(sim *publish.Simulation, name string, s *simulate.Shares) error {
	if s.Queries == 0 {
		return fmt.Errorf("no query could be read: of %d lines %d are skipped and %d can't be read", s.Lines, s.Skipped, s.Bad)
	}
	if s.Bad > maxBadLines {
		a.warn(fmt.Sprintf("%d more lines can't be read", s.Bad-maxBadLines))
	}
	if a.output == "json" {
		return a.printJSON(struct {
			Map    string `json:"map"`
			Serial uint32 `json:"serial"` // 0 for a map from a file
			*simulate.Shares
		}{name, sim.Now.Map.Serial(), s})
	}
	compared := sim.Before != nil
	for _, part := range []struct {
		title string
		list  []simulate.Share
	}{{"POP", s.PoPs}, {"RULE", s.Reasons}, {"CHOICE", s.Choices}} {
		if err := a.printTable(s, shareHeader(part.title, compared), shareRows(part.list, compared)); err != nil {
			return err
		}
	}
	lines := make([]string, 0, len(s.Moves)+2)
	for _, m := range s.Moves {
		lines = append(lines, fmt.Sprintf("%.2f %%: %s → %s", m.Share*100, m.From, m.To))
	}
	if compared {
		lines = append(lines, fmt.Sprintf("%.2f %% of the weight moves", s.Moved*100))
	}
	lines = append(lines, fmt.Sprintf("%d queries of weight %.6g; %d lines, %d skipped, %d bad", s.Queries, s.Weight, s.Lines, s.Skipped, s.Bad))
	return a.print(s, lines...)
}

func shareHeader(title string, compared bool) []string {
	header := []string{title, "SHARE", "WEIGHT"}
	if compared {
		header = append(header, "BEFORE")
	}
	return header
}

func shareRows(list []simulate.Share, compared bool) [][]string {
	rows := make([][]string, len(list))
	for i, share := range list {
		rows[i] = []string{share.Name, fmt.Sprintf("%.2f%%", share.Share*100), fmt.Sprintf("%.6g", share.Weight)}
		if compared {
			rows[i] = append(rows[i], fmt.Sprintf("%.2f%%", share.Before*100))
		}
	}
	return rows
}
