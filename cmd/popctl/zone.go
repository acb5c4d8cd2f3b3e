package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

func (a *app) zoneCmd() *cobra.Command {
	return group("zone", "Publish, change and look at zones",
		`Zones are published whole from a file, or changed record by record. Every change is a new version
with its own serial; earlier versions are kept for a while, so each can be taken back.`,
		`  popctl zone plan example.org example.org.zone      # what would change?
  popctl zone publish example.org example.org.zone
  popctl zone rollback example.org 2026112301        # take it back`,
		a.zonePublishCmd(), a.zonePlanCmd(), a.zoneSetCmd(), a.zoneUnsetCmd(), a.zoneSignCmd(), a.zoneShowCmd(), a.zoneHistoryCmd(), a.zoneRollbackCmd(), a.zoneRemoveCmd(), a.zoneRestoreCmd(), a.zoneListCmd())
}

const zoneFileHelp = `FILE is a zone file (RFC 1035), or "-" for standard input. Steering stands in its comments:

  www  60 IN A 192.0.2.10     ;@ pop=ams1             for clients of PoP ams1
  www  60 IN A 198.51.100.10  ;@ pop=iad2 weight=10   weight among several records
  www  60 IN A 203.0.113.10                           the default variant, for everybody else
  www  60 IN AAAA 2001:db8::1 ;@ pop=ams1 map=edge answers=2 choose=weighted

With --format tinydns it is tinydns-data, whose locations become PoPs.`

func (a *app) zonePublishCmd() *cobra.Command {
	var w writeFlags
	var s signFlags
	var format, dir string
	cmd := &cobra.Command{
		Use:   "publish ORIGIN FILE | --dir DIR",
		Short: "Make a zone what a file says",
		Long: `Make the zone ORIGIN what FILE says, and print what changed and how to take it back.

` + zoneFileHelp + `

The file's SOA serial is used when it is newer (RFC 1982) than the published one, otherwise the
published one plus 1. When nothing but the serial differs, nothing is published. A zone whose SOA
is signed must bring a newer serial, unless --keys signs it here (see "zone sign").

Refused unless --force is given (exit status 3): a change that deletes more than half of the RRsets,
10 or more that are above 20 %, or more than 100 that are above 1 %; and variants for PoPs that the
PoP table, if there is one, does not have.

With --dir each file DIR/NAME.zone is published as the zone NAME; what else is in DIR is left alone, and so
are zones without a file. Nothing is written unless all files can be read; then each zone is published by
itself, those that fail are named, and new ones come into the catalog together.`,
		Example: `  popctl zone publish example.org example.org.zone -m "new mail servers"
  popctl zone publish --dir zones/
  popctl zone publish example.org data --format tinydns
  generate-zone | popctl zone publish example.org -`,
		Args: func(cmd *cobra.Command, args []string) error {
			if dir != "" {
				return wants()(cmd, args)
			}
			return wants("ORIGIN", "FILE")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if dir != "" {
				return a.publishDir(cmd, &w, &s, dir, format)
			}
			return a.withZoneFile(args, format, func(origin zone.Name, read zoneReader) error {
				bar := a.progress("publishing " + args[0])
				defer bar.clear()
				return a.publishZone(cmd, &w, &s, origin, bar, func(ctx context.Context, p *publish.Publisher) error {
					next, err := read(ctx, p.Store(), !w.force, bar)
					if err != nil {
						return err
					}
					r, err := p.PublishZone(ctx, next)
					bar.clear()
					return a.signedReceipt(origin, &s, r, err)
				})
			})
		},
	}
	w.register(cmd)
	s.register(cmd)
	s.registerDenial(cmd)
	registerFormat(cmd, &format)
	cmd.Flags().StringVar(&dir, "dir", "", "publish every NAME.zone in this `directory`")
	return cmd
}

func (a *app) zonePlanCmd() *cobra.Command {
	var s signFlags
	var format string
	cmd := &cobra.Command{
		Use:   "plan ORIGIN FILE",
		Short: "Show what publishing a file would change",
		Long: `Show what "zone publish ORIGIN FILE" would change, without changing anything: "+" before a record
that comes, "-" before one that goes, "~" before a setting that changes.

` + zoneFileHelp + `

Exit status: 0 nothing would change, 2 something would, 3 a guard would refuse it, 4 publishing would
be a conflict (a frozen store, a presented zone, a signed SOA whose serial is not newer), 1 error.`,
		Example: `  popctl zone plan example.org example.org.zone
  popctl zone plan example.org example.org.zone -o json | jq .changes`,
		Args: wants("ORIGIN", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withZoneFile(args, format, func(origin zone.Name, read zoneReader) error {
				bar := a.progress("planning " + args[0])
				defer bar.clear()
				return a.publishZone(cmd, &writeFlags{}, &s, origin, bar, func(ctx context.Context, p *publish.Publisher) error {
					next, err := read(ctx, p.Store(), false, bar)
					if err != nil {
						return err
					}
					plan, err := p.PlanZone(ctx, next)
					bar.clear()
					return a.zonePlan(origin, plan, err)
				})
			})
		},
	}
	s.register(cmd)
	s.registerDenial(cmd)
	registerFormat(cmd, &format)
	return cmd
}

func registerFormat(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "format", "rfc1035", "`format` of FILE: rfc1035 or tinydns")
}

// zonePlan prints a plan; its outcome is the exit status. The plan may be nil when err says why there is none.
func (a *app) zonePlan(origin zone.Name, plan *publish.Plan, err error) error {
	if plan == nil {
		return err
	}
	a.warnAll(plan.Warnings)
	summary := fmt.Sprintf("zone %s: nothing would change, serial stays %d", origin, plan.OldSerial)
	if !plan.Empty() {
		summary = fmt.Sprintf("zone %s: %s, serial %d → %d", origin, plan.Counts(), plan.OldSerial, plan.NewSerial)
		if plan.IsNew {
			summary = fmt.Sprintf("zone %s: new, %s, serial %d", origin, plan.Counts(), plan.NewSerial)
		}
	}
	perr := a.print(plan, append(a.paint(plan.Lines()), summary)...)
	return planOutcome(perr, err, plan.Guard(), plan.Empty())
}

// planOutcome turns the outcome of a plan into an error with the right exit status.
func planOutcome(printed, failed, refused error, empty bool) error {
	switch {
	case printed != nil:
		return printed
	case failed != nil:
		return failed
	case refused != nil:
		return &statusError{exitRefused, fmt.Errorf("publish would fail: %w", refused)}
	case empty:
		return nil
	}
	return &statusError{status: exitChanges}
}

// zoneReceipt prints what a change of a zone did.
func (a *app) zoneReceipt(origin zone.Name, r *publish.ZoneReceipt, err error) error {
	if err != nil {
		return err
	}
	a.warnAll(r.Plan.Warnings)
	line := commitLine("zone "+origin.String(), r.Plan.Counts(), r.Receipt)
	if r.Changed && r.Old != 0 {
		line += fmt.Sprintf("; roll back with: popctl zone rollback %s %d", argument(origin), r.Old)
	}
	return a.printReceipt(r.Receipt, r.Plan.Added, r.Plan.Deleted, r.Plan.Changed, line)
}

// argument writes an origin as people type it.
func argument(origin zone.Name) string {
	if s := strings.TrimSuffix(origin.String(), "."); s != "" {
		return s
	}
	return "."
}

// parseOrigin reads the argument ORIGIN.
func parseOrigin(s string) (zone.Name, error) {
	origin, err := zone.ParseName(s)
	if err != nil || s == "" {
		return "", usagef("%q is no zone name: write it like example.org", s)
	}
	return origin, nil
}

// zoneReader reads the zone file of a command line.
type zoneReader func(ctx context.Context, r store.Reader, checkPoPs bool, bar *progress) (*zone.Snapshot, error)

// withZoneFile reads the arguments ORIGIN and FILE.
func (a *app) withZoneFile(args []string, format string, fn func(zone.Name, zoneReader) error) error {
	origin, err := parseOrigin(args[0])
	if err != nil {
		return err
	}
	f, err := publish.ParseFormat(format)
	if err != nil {
		return usageError{err}
	}
	src, size, err := a.source(args[1])
	if err != nil {
		return err
	}
	return fn(origin, func(ctx context.Context, r store.Reader, checkPoPs bool, bar *progress) (*zone.Snapshot, error) {
		var pops *steer.PoPs
		if checkPoPs {
			if pops, err = publish.LoadPoPs(ctx, r); err != nil {
				return nil, err
			}
		}
		return publish.ReadZone(src, f, origin, pops, func(octets int64) { bar.update(int(octets>>10), int(size>>10)) })
	})
}

// maxStdin bounds what is taken from standard input, which is kept in memory.
const maxStdin = 1 << 30

// source returns the argument FILE as something that can be read more than once, and its size in bytes.
func (a *app) source(file string) (publish.Source, int64, error) {
	if file != "-" {
		st, err := os.Stat(file)
		if err != nil {
			return publish.Source{}, 0, err
		}
		if st.IsDir() {
			return publish.Source{}, 0, fmt.Errorf("%s: is a directory, want a file", file)
		}
		return publish.Source{Name: file, Open: func() (io.ReadCloser, error) { return os.Open(file) }}, st.Size(), nil
	}
	b, err := io.ReadAll(io.LimitReader(a.stdin, maxStdin+1))
	if err != nil {
		return publish.Source{}, 0, fmt.Errorf("standard input: %w", err)
	}
	if len(b) > maxStdin {
		return publish.Source{}, 0, errors.New("standard input: more than 1 GiB, use a file")
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	return publish.Source{Name: "<stdin>", Open: open}, int64(len(b)), nil
}
