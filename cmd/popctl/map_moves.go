package main

import (
	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/publish"
)

// moveFlags say how much a new version of a map may move.
type moveFlags struct {
	maxMove string
	weights string
}

func (m *moveFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&m.maxMove, "max-move", "", "refuse to move more than this `SHARE`, like 5%, of the weights, or else of any plane's\n"+
		"address space (default 50%, and no limit for maps of less than 10 rows)")
	f.StringVar(&m.weights, "weights", "", "`FILE` of clients or queries with weights, as \"map simulate\" reads it")
}

func (m *moveFlags) budget(a *app) (publish.MoveBudget, error) {
	var b publish.MoveBudget
	if m.maxMove != "" {
		share, err := publish.ParseShare(m.maxMove)
		if err != nil {
			return b, usagef("--max-move %w", err)
		}
		b.Max = &share
	}
	if m.weights != "" {
		src, _, err := a.source(m.weights)
		if err != nil {
			return b, err
		}
		b.Weights = &src
	}
	return b, nil
}
