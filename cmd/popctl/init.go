package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store"
)

func (a *app) initCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Make a store ready for popdns",
		Long: `Create the store's root, its identity and the nodes below which zones, maps and the PoP table
lie, with their access lists. With credentials only their owner may write afterwards, everybody
may read. A store that is ready already stays as it is.

Edges remember the identity: a store that was wiped and initialised anew is another one to them, and
they keep their last good data until "popctl adopt" says that it succeeds the old one.`,
		Example: `  popctl --store zk://10.0.0.1:2181,10.0.0.2:2181,10.0.0.3:2181/popdns --auth-file /etc/popdns/auth init
  popctl --store dir:///var/lib/popdns init`,
		Args: wants(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, func(ctx context.Context, s store.Store) error {
				cluster, created, err := dataset.Init(ctx, s)
				if err != nil {
					return err
				}
				line := "initialised: cluster " + cluster.ID
				if created && a.openToAll() {
					a.warn("no credentials, so whoever reaches the ensemble may change everything: set POPDNS_AUTH or --auth-file before init")
				}
				if !created {
					line = "nothing to do: this is cluster " + cluster.ID + " since " + when(cluster.Created)
				}
				return a.print(struct {
					dataset.Cluster
					Changed bool `json:"changed"`
				}{cluster, created}, line)
			})
		},
	}
}
