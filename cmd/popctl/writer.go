package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/zone"
)

// writeFlags are the flags of every command that commits.
type writeFlags struct {
	message string
	by      string
	force   bool
	keys    keyFlags
	moves   publish.MoveBudget // of maps
}

func (w *writeFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&w.message, "message", "m", "", "why; kept in the history")
	f.StringVar(&w.by, "by", "", "who; kept in the history (default $POPDNS_BY, or user@host)")
	f.BoolVar(&w.force, "force", false, "do it even if a guard refuses; recorded in the history")
	w.keys.register(f)
}

// publish opens the store and calls fn with a Publisher over it.
func (a *app) publish(cmd *cobra.Command, w *writeFlags, bar *progress, fn func(context.Context, *publish.Publisher) error) error {
	return a.publishSigned(cmd, w, nil, bar, fn)
}

// publishZone is publish for a zone, whose changes are signed if the flags name keys.
func (a *app) publishZone(cmd *cobra.Command, w *writeFlags, s *signFlags, origin zone.Name, bar *progress, fn func(context.Context, *publish.Publisher) error) error {
	signer, err := a.signer(s, origin, bar)
	if err != nil {
		return err
	}
	return a.publishSigned(cmd, w, signer, bar, fn)
}

func (a *app) publishSigned(cmd *cobra.Command, w *writeFlags, signer publish.Signer, bar *progress, fn func(context.Context, *publish.Publisher) error) error {
	keys, err := a.keys(&w.keys)
	if err != nil {
		return err
	}
	return a.withStore(cmd, func(ctx context.Context, s store.Store) error {
		return fn(ctx, publish.New(s, publish.Options{
			By: a.who(w.by), Message: w.message, Force: w.force, Progress: bar.update, Keys: keys, SignZone: signer, Moves: w.moves,
		}))
	})
}

// who names the person or program that writes.
func (a *app) who(by string) string {
	if by != "" {
		return by
	}
	if by = a.getenv("POPDNS_BY"); by != "" {
		return by
	}
	user := a.getenv("USER")
	if user == "" {
		user = fmt.Sprintf("uid%d", os.Getuid())
	}
	host, err := os.Hostname()
	if err != nil {
		return user
	}
	return user + "@" + host
}

// receiptView is what writing commands print with -o json.
type receiptView struct {
	Changed   bool   `json:"changed"`
	OldSerial uint32 `json:"old_serial"`
	NewSerial uint32 `json:"new_serial"`
	Added     int    `json:"added"`
	Deleted   int    `json:"deleted"`
	Modified  int    `json:"modified"`
	Items     int    `json:"items"`
	Base      bool   `json:"base"` // a whole image was written, not only the change
	Bytes     int    `json:"bytes"`
}

// printReceipt prints what a commit did, as a line or as JSON.
func (a *app) printReceipt(r *dataset.Receipt, added, deleted, modified int, line string) error {
	if r.Cleanup != nil {
		a.warn(fmt.Sprintf("it is published, but old versions could not be cleaned up; the next big change tries again: %v", r.Cleanup))
	}
	return a.print(receiptView{
		Changed: r.Changed, OldSerial: r.Old, NewSerial: r.New, Added: added, Deleted: deleted, Modified: modified,
		Items: r.Items, Base: r.BaseWritten, Bytes: r.Bytes,
	}, line)
}

// commitLine says in one line what a commit did: what changed, from which serial to which, and how it was written.
func commitLine(what, counts string, r *dataset.Receipt) string {
	if !r.Changed {
		return fmt.Sprintf("%s: nothing changed, serial stays %d", what, r.New)
	}
	how := "delta"
	if r.BaseWritten {
		how = "base"
	}
	serials := fmt.Sprintf("serial %d → %d", r.Old, r.New)
	if r.Old == 0 {
		serials = fmt.Sprintf("first serial %d", r.New)
	}
	return fmt.Sprintf("%s: %s, %s (%s, %d bytes)", what, counts, serials, how, r.Bytes)
}
