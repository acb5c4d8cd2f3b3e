package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/dir"
	"github.com/popdns/popdns/internal/store/storeurl"
)

// adoptFlags say which of the command's works is to be done.
type adoptFlags struct {
	w              writeFlags
	cache, restore string
	undo           []string
	epoch          int64
	list, dryRun   bool
}

func (a *app) adoptCmd() *cobra.Command {
	var o adoptFlags
	cmd := &cobra.Command{
		Use:   "adopt [OLD-ID...]",
		Short: "Let the edges of a lost or older store follow this one",
		Long: `Edges keep their last good data when the store behind them is suddenly another one, or older than what
they serve: the freshness TXT says "frozen", and the log "Refused …" with a reason. This command tells
them that it is meant. They go on within seconds, without a restart, and their caches stay.

  cluster   the store was wiped, or replaced by another. "adopt OLD-ID" records in this store that it
            succeeds OLD-ID, which is in the edge's line: "head is of cluster NEW, served is OLD".
            "adopt --cache DIR" reads the ids from the disk cache of an edge instead (and raises the epoch
            if the cache is of this very store, in a newer state).
  serial    what this store has is not newer than what is served; no adoption lets a serial go back.
            Publish with a higher serial, or let --restore do it.
  cluster, "head is of epoch N, served is M"   an older state of this very store was restored.
            "adopt --epoch M", and publish again; or --restore, which does both.

"adopt --restore DIR" is for a store that lost its data: it publishes from the disk cache of an edge the
zones, maps and PoPs that the edge would refuse from this store, under serials above both (a zone with a
signed SOA keeps its own), and then adopts as --cache does. Edges move at that last step. Take the cache of
the edge with the newest serials, as it lies there or a copy; others may follow in turn. What it holds is
published in your name, and signed with your key: take the cache of a machine that you trust. What --restore
replaced is in the history ("zone rollback"). --dry-run shows what would be done.

An edge with "verify" takes no adoption that is not signed: give --sign-key.

"adopt --undo OLD-ID" takes an adoption back: edges that have not followed yet stay frozen, those that have
followed stay with this store. An epoch can't be lowered. "adopt --list" shows the identity.`,
		Example: `  popctl adopt 4f7a3c52-9f0e-4a8b-b6a3-1f2e3d4c5b6a
  popctl adopt --restore /var/lib/coredns/popdns --dry-run
  popctl adopt --restore /var/lib/coredns/popdns --sign-key /etc/popdns/sign.key
  popctl adopt --epoch 3
  popctl adopt --list`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.adopt(cmd, &o, args) },
	}
	f := cmd.Flags()
	f.StringVar(&o.cache, "cache", "", "adopt the stores that the disk cache in `DIR` has data of")
	f.StringVar(&o.restore, "restore", "", "the same, but first publish what the disk cache in `DIR` has and this store lacks")
	f.StringArrayVar(&o.undo, "undo", nil, "take back the adoption of `OLD-ID`; may be repeated")
	f.Int64Var(&o.epoch, "epoch", 0, "raise the epoch to `N`")
	f.BoolVar(&o.list, "list", false, "only show the store's identity")
	f.BoolVar(&o.dryRun, "dry-run", false, "with --cache or --restore: only show what would be done; exit status 2 if something")
	o.w.register(cmd)
	return cmd
}

// adopt does the one work that the flags name.
func (a *app) adopt(cmd *cobra.Command, o *adoptFlags, ids []string) error {
	works := 0
	for _, given := range []bool{len(ids) > 0, o.cache != "", o.restore != "", len(o.undo) > 0, o.epoch != 0, o.list} {
		if given {
			works++
		}
	}
	if works != 1 {
		return usagef("adopt wants one of OLD-ID, --cache, --restore, --undo, --epoch and --list (see popctl adopt --help)")
	}
	from := o.cache + o.restore
	if o.dryRun && from == "" {
		return usagef("--dry-run is for --cache and --restore")
	}
	for _, id := range append(ids, o.undo...) {
		if !clusterID.MatchString(id) {
			return usagef("%q is not a store's id: they are like 4f7a3c52-9f0e-4a8b-b6a3-1f2e3d4c5b6a, and in the edge's line after \"served is\"", id)
		}
	}
	bar := a.progress("restoring")
	defer bar.clear()
	return a.publish(cmd, &o.w, bar, func(ctx context.Context, p *publish.Publisher) error {
		if from != "" {
			return a.adoptCache(ctx, p, o, from)
		}
		if o.list {
			c, err := p.Identity(ctx)
			if err != nil {
				return err
			}
			return a.print(c, identityLines(c)...)
		}
		var r *publish.IdentityReceipt
		var err error
		switch {
		case o.epoch != 0:
			r, err = p.RaiseEpoch(ctx, o.epoch)
		case len(o.undo) > 0:
			r, err = p.UndoAdopt(ctx, o.undo...)
		default:
			r, err = p.Adopt(ctx, ids...)
		}
		if err != nil {
			return err
		}
		return a.printAdopted(r, nil)
	})
}

var clusterID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// adoptCache does the works that read an edge's disk cache.
func (a *app) adoptCache(ctx context.Context, p *publish.Publisher, o *adoptFlags, from string) error {
	cache, err := openCache(from)
	if err != nil {
		return err
	}
	defer func() { _ = cache.Close() }() // it was only read
	if o.dryRun {
		return a.planAdoption(ctx, p, cache, o.restore != "")
	}
	r, err := p.AdoptCache(ctx, cache, o.restore != "")
	if err != nil {
		return err
	}
	if err := a.printAdopted(r.IdentityReceipt, r.Datasets); err != nil || o.restore == "" {
		return err
	}
	for _, d := range r.Datasets {
		if d.New == 0 && d.Refused != "" {
			return fmt.Errorf("%s could not be restored: %w", d.Path, dataset.ErrSerial)
		}
	}
	return nil
}

// openCache opens a directory as a store, but makes none where there is none.
func openCache(from string) (store.Store, error) {
	path := from
	if strings.HasPrefix(from, "dir:") {
		loc, err := storeurl.Parse(from)
		if err != nil {
			return nil, usageError{err}
		}
		path = loc.Path
	}
	for _, known := range []string{"zones", "maps", dataset.PoPsPath} {
		if _, err := os.Stat(filepath.Join(path, known)); err == nil {
			return dir.Open(path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("disk cache: %w", err)
		}
	}
	return nil, fmt.Errorf("disk cache %s: %w; give the folder that the Corefile's \"cache\" names", path, dataset.ErrNoDataset)
}

// planAdoption shows what adoptCache would do.
func (a *app) planAdoption(ctx context.Context, p *publish.Publisher, cache store.Store, restore bool) error {
	plan, err := p.PlanAdoption(ctx, cache, restore)
	if err != nil {
		return err
	}
	lines := cachedLines(plan.Datasets, restore, "would be published")
	for _, id := range plan.Adopt {
		lines = append(lines, "would adopt "+id)
	}
	if plan.Epoch != plan.OldEpoch {
		lines = append(lines, fmt.Sprintf("would raise the epoch, %d → %d", plan.OldEpoch, plan.Epoch))
	}
	if err := a.print(plan, append(lines, "nothing was written")...); err != nil {
		return err
	}
	if plan.Empty() {
		return nil
	}
	return &statusError{status: exitChanges}
}
