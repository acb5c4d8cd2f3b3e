package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/zone"
)

func (a *app) zoneSignCmd() *cobra.Command {
	var w writeFlags
	var s signFlags
	var published bool
	var format, out string
	cmd := &cobra.Command{
		Use:   "sign ORIGIN (FILE | --published)",
		Short: "Sign a zone file, or the published zone",
		Long: `Sign the zone FILE and write the signed zone to standard output or to --out, without any store; or,
with --published, sign what is published and publish that. Keys are pairs of files as dnssec-keygen
makes them, of ECDSAP256SHA256 or ED25519, and are used at the times that stand in them. They never
leave this machine.

With --published only what is due is signed: records without a signature, signatures that expire
within --refresh, and those of keys that go out of use. When nothing is due nothing is published, so
that it can run every hour. Standard error says what was signed, and by when to sign again. Two cores
make some 25,000 signatures a second: raise --timeout for a large zone.

"zone publish", "plan", "set", "unset" and "rollback" sign what they change when they have --keys.

Steered names are signed variant by variant. Signed records are always answered whole: answers= and
choose= have no effect on them.`,
		Example: `  dnssec-keygen -K keys -a ECDSAP256SHA256 -f KSK example.org
  popctl zone sign example.org --published --keys keys    # the first time, and from cron
  popctl zone set example.org www 60 A 192.0.2.10 --keys keys
  popctl zone publish example.org example.org.zone --keys keys --nsec3
  popctl zone sign example.org example.org.zone --keys keys --out example.org.signed`,
		Args: wants("ORIGIN", "[FILE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case s.keys == "":
				return usagef("--keys is missing: the folder with the zone's keys")
			case published == (len(args) == 2):
				return usagef("give a zone FILE to sign, or --published for the published zone")
			case published && out != "":
				return usagef("--out is for a FILE: --published publishes what it signs")
			case published:
				return a.signPublished(cmd, args[0], &w, &s)
			}
			return a.signFile(cmd.Context(), args, format, out, &s)
		},
	}
	w.register(cmd)
	s.register(cmd)
	s.registerDenial(cmd)
	registerFormat(cmd, &format)
	cmd.Flags().BoolVar(&published, "published", false, "sign the published zone, and publish that")
	cmd.Flags().BoolVar(&s.all, "all", false, "make every signature anew")
	cmd.Flags().StringVar(&out, "out", "", "write the signed zone to this `file` (default: standard output)")
	return cmd
}

func (a *app) signPublished(cmd *cobra.Command, arg string, w *writeFlags, s *signFlags) error {
	origin, err := parseOrigin(arg)
	if err != nil {
		return err
	}
	bar := a.progress("signing " + arg)
	defer bar.clear()
	return a.publishZone(cmd, w, s, origin, bar, func(ctx context.Context, p *publish.Publisher) error {
		r, err := p.SignZone(ctx, origin)
		bar.clear()
		return a.signedReceipt(origin, s, r, err)
	})
}

// signFile signs a zone file without a store.
func (a *app) signFile(ctx context.Context, args []string, format, out string, s *signFlags) error {
	return a.withZoneFile(args, format, func(origin zone.Name, read zoneReader) error {
		bar := a.progress("signing " + args[0])
		defer bar.clear()
		signer, err := a.signer(s, origin, bar)
		if err != nil {
			return err
		}
		content, err := read(ctx, nil, false, bar)
		if err != nil {
			return err
		}
		signed, err := signer(content, nil)
		if err != nil {
			return fmt.Errorf("zone %s: sign: %w", origin, err)
		}
		bar.clear()
		if err := a.writeZone(out, signed); err != nil {
			return err
		}
		fmt.Fprintf(a.stderr, "popctl: zone %s: serial %d, %s\n", origin, signed.Serial(), s.line())
		return nil
	})
}

// writeZone writes a zone file, "" for standard output. A file is there as a whole or as it was before.
func (a *app) writeZone(path string, s *zone.Snapshot) error {
	if path == "" {
		return publish.WriteZone(a.stdout, s, publish.Filter{})
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it has its name
	if err = publish.WriteZone(f, s, publish.Filter{}); err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
