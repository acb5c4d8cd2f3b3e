package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store"
)

func (a *app) zoneRemoveCmd() *cobra.Command {
	var w writeFlags
	var confirm string
	cmd := &cobra.Command{
		Use:   "remove ORIGIN",
		Short: "End a zone",
		Long: `Take the zone ORIGIN out of the catalog and leave a tombstone in its place. Edges that serve the catalog
("zones catalog") stop serving it at once; edges whose configuration names it go on with its last version
until it is taken out there. Nothing else ends a zone: neither a lost node nor a wiped store.

Refused (exit status 3) while the zone has more than SOA and NS records, unless --confirm repeats its name.
What it was is kept: "zone restore" brings it back, and its serials go on from here.`,
		Example: `  popctl zone remove old.example.org --confirm old.example.org -m "moved away"
  popctl zone list --removed
  popctl zone restore old.example.org`,
		Args: wants("ORIGIN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			origin, err := parseOrigin(args[0])
			if err != nil {
				return err
			}
			if confirm != "" {
				if meant, err := parseOrigin(confirm); err != nil || meant != origin {
					return usagef("--confirm %s: is not the zone %s", confirm, args[0])
				}
			}
			return a.publish(cmd, &w, &progress{}, func(ctx context.Context, p *publish.Publisher) error {
				r, err := p.RemoveZone(ctx, origin, confirm != "")
				if err != nil {
					return err
				}
				return a.print(r, fmt.Sprintf("zone %s: removed, it had serial %d and %d RRsets; bring it back with: popctl zone restore %s",
					origin, r.Serial, r.RRsets, argument(origin)))
			})
		},
	}
	w.register(cmd)
	cmd.Flags().StringVar(&confirm, "confirm", "", "the zone's `name` once more")
	return cmd
}

func (a *app) zoneRestoreCmd() *cobra.Command {
	var w writeFlags
	var s signFlags
	cmd := &cobra.Command{
		Use:   "restore ORIGIN",
		Short: "Bring a removed zone back",
		Long: `Publish what the zone ORIGIN was when it was removed, with a new serial. "zone list --removed" lists
the zones that were. A zone with a signed SOA needs --keys, as for "zone publish".`,
		Example: `  popctl zone restore old.example.org -m "it was needed after all"`,
		Args:    wants("ORIGIN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			origin, err := parseOrigin(args[0])
			if err != nil {
				return err
			}
			bar := a.progress("restoring " + args[0])
			defer bar.clear()
			return a.publishZone(cmd, &w, &s, origin, bar, func(ctx context.Context, p *publish.Publisher) error {
				r, err := p.RestoreZone(ctx, origin)
				bar.clear()
				return a.signedReceipt(origin, &s, r, err)
			})
		},
	}
	w.register(cmd)
	s.register(cmd)
	return cmd
}

func (a *app) listRemoved(ctx context.Context, s store.Store) error {
	list, err := publish.ListRemovedZones(ctx, s)
	if err != nil {
		return err
	}
	rows := make([][]string, len(list))
	for i, r := range list {
		rows[i] = []string{r.Zone, serialText(r.Serial), when(r.At), oneLine(r.By)}
	}
	return a.printTable(list, []string{"ZONE", "SERIAL", "REMOVED", "BY"}, rows)
}
