package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store"
)

func (a *app) zoneShowCmd() *cobra.Command {
	var serial uint32
	cmd := &cobra.Command{
		Use:   "show ORIGIN [NAME [TYPE]]",
		Short: "Print a zone, or the records of a name",
		Long: `Print the zone ORIGIN as a zone file, which "zone publish" reads back to the same zone; or only the
records of NAME, or those of TYPE. With --serial it is an earlier version, if that is still kept
(see "zone history").`,
		Example: `  popctl zone show example.org > example.org.zone
  popctl zone show example.org www
  popctl zone show example.org www A -o json
  popctl zone show example.org --serial 2026112301`,
		Args: wants("ORIGIN", "[NAME", "[TYPE]]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			origin, err := parseOrigin(args[0])
			if err != nil {
				return err
			}
			var f publish.Filter
			if len(args) > 1 {
				if f.Owner, err = publish.ParseOwner(args[1], origin); err != nil {
					return usageError{err}
				}
			}
			if len(args) > 2 {
				if f.Type, err = publish.ParseType(args[2]); err != nil {
					return usageError{err}
				}
			}
			return a.withStore(cmd, func(ctx context.Context, s store.Store) error {
				v, err := publish.LoadZone(ctx, s, origin, serial)
				if err != nil {
					return err
				}
				if err := f.Check(v.Value); err != nil {
					return err
				}
				if a.output == "json" {
					view, err := publish.ViewZone(v, f)
					return errors.Join(err, a.printJSON(view))
				}
				return publish.WriteZone(a.stdout, v.Value, f)
			})
		},
	}
	cmd.Flags().Uint32Var(&serial, "serial", 0, "show this earlier `version`")
	return cmd
}

func (a *app) zoneHistoryCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "history ORIGIN",
		Short: "List the versions of a zone",
		Long: `List the versions of the zone ORIGIN that can still be shown and rolled back to, newest first: when
each was published, by whom, how many records it has, and why.`,
		Example: `  popctl zone history example.org
  popctl zone history example.org -o json`,
		Args: wants("ORIGIN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			origin, err := parseOrigin(args[0])
			if err != nil {
				return err
			}
			return a.history(cmd, func(ctx context.Context, r store.Reader) ([]publish.HistoryEntry, error) {
				return publish.ZoneHistory(ctx, r, origin)
			})
		},
	}
}

// history prints the versions of a dataset.
func (a *app) history(cmd *cobra.Command, read func(context.Context, store.Reader) ([]publish.HistoryEntry, error)) error {
	return a.withStore(cmd, func(ctx context.Context, s store.Store) error {
		h, err := read(ctx, s)
		if err != nil {
			return err
		}
		rows := make([][]string, len(h))
		for i, e := range h {
			rows[i] = []string{serialText(e.Serial), when(e.Published), oneLine(e.By), strconv.Itoa(e.Items), remarks(e), oneLine(e.Message)}
		}
		return a.printTable(h, []string{"SERIAL", "PUBLISHED", "BY", "ITEMS", "REMARKS", "MESSAGE"}, rows)
	})
}

// remarks tells what is special about a version.
func remarks(e publish.HistoryEntry) string {
	switch {
	case e.RollbackOf != 0 && e.Forced:
		return "forced, back to " + serialText(e.RollbackOf)
	case e.RollbackOf != 0:
		return "back to " + serialText(e.RollbackOf)
	case e.Forced:
		return "forced"
	}
	return ""
}

func serialText(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func (a *app) zoneRollbackCmd() *cobra.Command {
	var w writeFlags
	var s signFlags
	cmd := &cobra.Command{
		Use:   "rollback ORIGIN SERIAL",
		Short: "Make an earlier version the present one",
		Long: `Publish what the zone ORIGIN was at SERIAL again, as a new version with a new serial: serials never go
back. "zone history" lists the versions that are kept. Guards apply as they do to "zone publish".`,
		Example: `  popctl zone rollback example.org 2026112301 -m "mail was broken"`,
		Args:    wants("ORIGIN", "SERIAL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			origin, err := parseOrigin(args[0])
			if err != nil {
				return err
			}
			serial, err := publish.ParseSerial(args[1])
			if err != nil {
				return usagef("%w: see popctl zone history %s", err, args[0])
			}
			bar := a.progress("rolling back " + args[0])
			defer bar.clear()
			return a.publishZone(cmd, &w, &s, origin, bar, func(ctx context.Context, p *publish.Publisher) error {
				r, err := p.RollbackZone(ctx, origin, serial)
				bar.clear()
				return a.signedReceipt(origin, &s, r, err)
			})
		},
	}
	w.register(cmd)
	s.register(cmd)
	return cmd
}

func (a *app) zoneListCmd() *cobra.Command {
	var removed bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the zones",
		Long: `List all zones with their serial, size, and when and by whom they were published last; or with --removed
those that were removed and not published again since.`,
		Example: `  popctl zone list
  popctl zone list --removed`,
		Args: wants(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, func(ctx context.Context, s store.Store) error {
				if removed {
					return a.listRemoved(ctx, s)
				}
				list, err := publish.ListZones(ctx, s)
				if err != nil {
					return err
				}
				return a.printTable(list, listHeader("ZONE"), listRows(list))
			})
		},
	}
	cmd.Flags().BoolVar(&removed, "removed", false, "list the removed zones instead")
	return cmd
}

func listHeader(first string) []string { return []string{first, "SERIAL", "ITEMS", "PUBLISHED", "BY"} }

func listRows(list []publish.Listed) [][]string {
	rows := make([][]string, len(list))
	for i, l := range list {
		rows[i] = []string{l.Name, serialText(l.Serial), strconv.Itoa(l.Items), when(l.Published), oneLine(l.By)}
		if l.Err != "" {
			rows[i][4] = "unreadable: " + oneLine(l.Err)
		}
	}
	return rows
}
