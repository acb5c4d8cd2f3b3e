package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store"
)

// minPulse keeps a mistyped interval from loading the store and all edges.
const minPulse = time.Second

func (a *app) pulseCmd() *cobra.Command {
	every := dataset.HeartbeatEvery
	once := false
	var signing keyFlags
	cmd := &cobra.Command{
		Use:   "pulse",
		Short: "Stamp the heartbeat until stopped",
		Long: `Stamp the store's heartbeat now and then every 10 seconds, until SIGINT or SIGTERM. Each edge shows the
newest stamp in its freshness record, which so proves that everything between here and there works.

Run one for zones that have no presenter, best on two machines: stamps don't conflict. While the store
can't be reached it says so once and goes on trying.`,
		Example: `  popctl pulse
  popctl pulse --every 5s
  popctl pulse --once      # from cron`,
		Args: wants(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < minPulse {
				return usagef("--every %s: must be at least %s", every, minPulse)
			}
			keys, err := a.keys(&signing)
			if err != nil {
				return err
			}
			p := &publish.Pulse{By: a.who(""), Every: every, Keys: keys, OnChange: a.reportPulse}
			if once {
				return a.withStore(cmd, func(ctx context.Context, s store.Store) error {
					p.Store = s
					return p.Once(ctx)
				})
			}
			return a.withOpenStore(cmd.Context(), func(ctx context.Context, s store.Store) error {
				p.Store = s
				return p.Run(ctx)
			})
		},
	}
	cmd.Flags().DurationVar(&every, "every", every, "time between stamps")
	signing.registerSign(cmd.Flags())
	cmd.Flags().BoolVar(&once, "once", false, "stamp once and exit")
	return cmd
}

func (a *app) reportPulse(err error) {
	if err != nil {
		a.warn(fmt.Sprintf("%v; trying again", err))
		return
	}
	fmt.Fprintf(a.stderr, "popctl: stamping the heartbeat since %s\n", when(time.Now()))
}
