package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/probe"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store"
)

// probeFlags are those of probe.
type probeFlags struct {
	name     string
	policy   probe.Policy
	valid    time.Duration
	parallel int
	metrics  string
	once     bool
	keys     keyFlags
}

func (a *app) probeCmd() *cobra.Command {
	var p probeFlags
	cmd := &cobra.Command{
		Use:   "probe SPEC",
		Short: "Check PoPs from outside and publish which are failing",
		Long: `Check the PoPs and services that the file SPEC lists, until SIGINT or SIGTERM, and publish in the PoP
table which are failing, as soon as a quorum of probers agrees. Run three or more, each in another network,
with the same SPEC.

  interval: 10s          # these may also stand in a check
  timeout: 5s
  up_thresh: 20          # successes in a row that bring a target up
  ok_thresh: 10          # successes in a row that make failures before them forgotten
  down_thresh: 10        # failures, without those successes in between, that take it down
  checks:
    - service: web       # the names marked service=web; leave it out for the PoP itself
      url: https://www.example.org/health   # its name is the Host header and the name in TLS
      status: [200, 204] # what a good answer may have; 200 if left out
      verify: true       # the certificate
      ca: ca.pem         # its authority, if the system does not know it
      pops: {ams1: 192.0.2.1, iad2: "198.51.100.1:8443"}   # where to connect
    - service: mail
      tcp: 25            # only connect
      pops: {ams1: 192.0.2.25}

What probes find is kept apart from what people set: a PoP that is down or drained stays so, and one that
is failing counts as down until the probers find it up, or until "pop up". "pop list" shows both.

Nothing changes without a quorum: not when too few probers are live, nor when they disagree. A prober at
which every check fails suspects itself and does not count. And never are more than --max-down percent of
the PoPs of a service taken down: beyond that, all that is new is held, and said in the log.

The log goes to standard error, one line for each change.`,
		Example: `  popctl probe probes.yaml --name fra --metrics :9153
  popctl probe probes.yaml --once --quorum 1        # look what it finds; publishes as well
  popctl probe probes.yaml --once --valid 150s      # from cron, each minute`,
		Args: wants("SPEC"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.probe(cmd, args[0], &p) },
	}
	f := cmd.Flags()
	f.StringVar(&p.name, "name", "", "`name` of this prober, another for each (default the host's)")
	f.IntVar(&p.policy.Quorum, "quorum", 2, "`probers` that must agree")
	f.IntVar(&p.policy.MaxDown, "max-down", 50, "`percent` of the PoPs of a service that may be failing")
	f.DurationVar(&p.valid, "valid", 35*time.Second, "`time` for which what this prober found counts, unless renewed")
	f.IntVar(&p.parallel, "parallel", 64, "`checks` under way at once, at most")
	f.StringVar(&p.metrics, "metrics", "", "`address` on which to serve Prometheus metrics, at /metrics")
	f.BoolVar(&p.once, "once", false, "make each check once, publish, and exit")
	p.keys.register(f)
	return cmd
}

// check returns what is wrong with the flags.
func (p *probeFlags) check() error {
	if p.name == "" {
		host, err := os.Hostname()
		if err != nil {
			return usagef("--name: give one, as the host's can't be told: %w", err)
		}
		p.name = strings.ToLower(host)
	}
	switch err := probe.CheckProberName(p.name); {
	case err != nil:
		return usagef("--name: %w", err)
	case p.policy.Quorum < 1:
		return usagef("--quorum %d: must be at least 1", p.policy.Quorum)
	case p.policy.MaxDown < 0 || p.policy.MaxDown > 100:
		return usagef("--max-down %d: must be a percentage, 0 to 100", p.policy.MaxDown)
	case p.parallel < 1:
		return usagef("--parallel %d: must be at least 1", p.parallel)
	case p.valid <= probe.SyncEvery:
		return usagef("--valid %s: must be above %s, the time after which it is renewed", p.valid, probe.SyncEvery)
	}
	return nil
}

func (a *app) probe(cmd *cobra.Command, file string, p *probeFlags) error {
	if err := p.check(); err != nil {
		return err
	}
	src, _, err := a.source(file)
	if err != nil {
		return err
	}
	r, err := src.Open()
	if err != nil {
		return err
	}
	spec, err := probe.ReadSpec(r, src.Name)
	_ = r.Close()
	if err != nil {
		return err
	}
	keys, err := a.keys(&p.keys)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	prober := &probe.Prober{
		Name: p.name, Spec: spec, Policy: p.policy, Valid: p.valid, Parallel: p.parallel,
		Log: slog.New(slog.NewTextHandler(a.stderr, nil)), Metrics: probe.NewMetrics(registry),
	}
	if p.metrics != "" {
		end, err := serveMetrics(p.metrics, registry, prober.Log)
		if err != nil {
			return fmt.Errorf("--metrics: %w", err)
		}
		defer end()
	}
	return a.withOpenStore(cmd.Context(), func(ctx context.Context, s store.Store) error {
		prober.Store = s
		prober.Publisher = publish.New(s, publish.Options{By: "probe " + p.name, Message: "found by checks", Keys: keys})
		if !p.once {
			return prober.Run(ctx)
		}
		report, err := prober.Once(ctx)
		if report == nil {
			return err
		}
		rows := make([][]string, len(report.Targets))
		for i, t := range report.Targets {
			rows[i] = []string{t.Target, t.State, strconv.Itoa(t.Good), strconv.Itoa(t.Bad), oneLine(t.Error)}
		}
		return errors.Join(a.printTable(report, []string{"TARGET", "STATE", "GOOD", "BAD", "ERROR"}, rows), err)
	})
}

// serveMetrics serves until its result is called.
func serveMetrics(addr string, registry *prometheus.Registry, log *slog.Logger) (end func(), err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // until Close
	}()
	log.Info("metrics", "address", l.Addr().String())
	return func() { _ = server.Close(); <-done }, nil
}
