package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store"
)

// batchView is what "zone publish --dir" prints with -o json.
type batchView struct {
	Published int           `json:"published"`
	Unchanged int           `json:"unchanged"`
	Failed    []failureView `json:"failed"`
}

type failureView struct {
	Zone  string `json:"zone"`
	File  string `json:"file"`
	Error string `json:"error"`
}

// publishDir publishes every zone file of a directory. --timeout holds for each zone, not for all of them.
func (a *app) publishDir(cmd *cobra.Command, w *writeFlags, s *signFlags, dir, format string) error {
	if s.keys != "" {
		return usagef("--keys signs one zone at a time: give ORIGIN and FILE instead of --dir")
	}
	f, err := publish.ParseFormat(format)
	if err != nil {
		return usageError{err}
	}
	files, ignored, err := publish.ZoneFiles(dir)
	if err != nil {
		return err
	}
	if ignored > 0 {
		a.warn(fmt.Sprintf("%s: %d entries are no files NAME.zone and are left alone", dir, ignored))
	}
	if len(files) == 0 {
		return fmt.Errorf("%s: has no files NAME.zone", dir)
	}
	keys, err := a.keys(&w.keys)
	if err != nil {
		return err
	}
	return a.withOpenStore(cmd.Context(), func(ctx context.Context, st store.Store) error {
		p := publish.New(st, publish.Options{By: a.who(w.by), Message: w.message, Force: w.force, Keys: keys})
		bar := a.progress(fmt.Sprintf("publishing %d zones", len(files)))
		defer bar.clear()
		out, err := p.PublishZones(ctx, files, f, a.timeout, bar.update)
		bar.clear()
		return a.printBatch(out, err)
	})
}

// printBatch says what became of each zone. The exit status is the first failure's.
func (a *app) printBatch(out []publish.Outcome, err error) error {
	view := batchView{Failed: []failureView{}}
	for _, o := range out {
		switch {
		case o.Err != nil:
			view.Failed = append(view.Failed, failureView{o.Origin.String(), o.Source.Name, o.Err.Error()})
			if err == nil {
				err = o.Err // for the exit status
			}
			fmt.Fprintf(a.stderr, "popctl: %s: %s\n", o.Source.Name, a.describe(o.Err))
		case o.Receipt == nil:
		case o.Receipt.Changed:
			view.Published++
		default:
			view.Unchanged++
		}
		if o.Receipt != nil {
			a.warnAll(o.Receipt.Plan.Warnings)
		}
	}
	line := fmt.Sprintf("%d zones published, %d unchanged, %d failed", view.Published, view.Unchanged, len(view.Failed))
	if perr := a.print(view, line); perr != nil {
		return perr
	}
	switch {
	case err == nil:
		return nil
	case len(view.Failed) == 0:
		return err
	case view.Published+view.Unchanged == 0:
		return &statusError{exitStatus(err), fmt.Errorf("nothing was published: %d of %d zones failed", len(view.Failed), len(out))}
	}
	return &statusError{exitStatus(err), fmt.Errorf("%d of %d zones failed; the others are published", len(view.Failed), len(out))}
}
