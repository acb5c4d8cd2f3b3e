package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/sign"
	"github.com/popdns/popdns/internal/zone"
)

// signFlags are the flags of every command that can sign what it commits.
type signFlags struct {
	keys                string
	valid, refresh      time.Duration
	nsec, nsec3, optOut bool
	all                 bool

	report sign.Report
}

// register adds what a change of a signed zone needs.
func (s *signFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.keys, "keys", "", "sign with the zone's keys in this `folder`, as dnssec-keygen makes them")
	cmd.Flags().DurationVar(&s.valid, "valid", sign.DefaultValid, "how long a signature holds, at most")
	cmd.Flags().DurationVar(&s.refresh, "refresh", 0, "make signatures anew that expire within this time (default a quarter of --valid)")
}

// registerDenial adds how the zone proves what it does not have.
func (s *signFlags) registerDenial(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&s.nsec, "nsec", false, "prove by NSEC what is not there (default: as the zone does so far, otherwise NSEC)")
	f.BoolVar(&s.nsec3, "nsec3", false, "prove it by NSEC3, without iterations and salt (RFC 9276)")
	f.BoolVar(&s.optOut, "opt-out", false, "prove it by NSEC3 that leaves out unsigned delegations")
	cmd.MarkFlagsMutuallyExclusive("nsec", "nsec3")
	cmd.MarkFlagsMutuallyExclusive("nsec", "opt-out")
}

func (s *signFlags) denial() sign.Denial {
	switch {
	case s.optOut:
		return sign.NSEC3OptOut
	case s.nsec3:
		return sign.NSEC3
	case s.nsec:
		return sign.NSEC
	}
	return sign.AsBefore
}

// signer gives publish.Options its SignZone, nil without --keys.
func (a *app) signer(s *signFlags, origin zone.Name, bar *progress) (publish.Signer, error) {
	if s.keys == "" {
		return nil, nil
	}
	keys, err := sign.LoadKeys(s.keys, origin)
	if err != nil {
		return nil, err
	}
	a.warnAll(keys.Warnings)
	return func(next, cur *zone.Snapshot) (signed *zone.Snapshot, err error) {
		signed, s.report, err = sign.Sign(next, cur, keys, sign.Policy{
			Valid: s.valid, Refresh: s.refresh, Denial: s.denial(), All: s.all, Now: time.Now(), Progress: bar.update,
		})
		return signed, err
	}, nil
}

// line says what was signed.
func (s *signFlags) line() string {
	return fmt.Sprintf("signatures: %d made, %d kept; the first expires %s; sign again by %s",
		s.report.Made, s.report.Kept, when(s.report.Expires), when(s.report.Again))
}

// signedReceipt is zoneReceipt with a line about the signatures on standard error.
func (a *app) signedReceipt(origin zone.Name, s *signFlags, r *publish.ZoneReceipt, err error) error {
	if err = a.zoneReceipt(origin, r, err); err == nil && s.keys != "" {
		fmt.Fprintf(a.stderr, "popctl: %s\n", s.line())
	}
	return err
}
