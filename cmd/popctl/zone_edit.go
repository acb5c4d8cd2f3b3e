package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/zone"
)

func (a *app) zoneSetCmd() *cobra.Command {
	var w writeFlags
	var s signFlags
	var pop string
	var weights []uint
	cmd := &cobra.Command{
		Use:   "set ORIGIN NAME TTL TYPE RDATA...",
		Short: "Set the records of one name and type",
		Long: `Put the given records in place of those that NAME has of this TYPE (for this PoP, with --pop), or
add them. Other PoPs' variants and the default variant stay as they are.

NAME is relative to ORIGIN unless it ends in a dot; "@" is ORIGIN itself, "*" a wildcard. Names in
RDATA are relative in the same way. TTL is in seconds, or like 5m, 1h, 2d. How the RDATA arguments
become records depends on TYPE:
  A, AAAA, CNAME, DNAME, NS, PTR  each argument is a record
  TXT                             each argument is a record, taken literally unless it begins with
                                  a double quote
  others                          the arguments are the words of one record; or each is a record,
                                  when each of them holds a blank`,
		Example: `  popctl zone set example.org www 60 A 192.0.2.10 192.0.2.11
  popctl zone set example.org www 60 A 198.51.100.10 198.51.100.11 --pop iad2 --weight 10,30
  popctl zone set example.org @ 1h MX 10 mail
  popctl zone set example.org @ 1h MX "10 mail1" "20 mail2.example.net."
  popctl zone set example.org _dmarc 5m TXT "v=DMARC1; p=none"
  popctl zone set example.org @ 1h CAA 0 issue ca.example.net`,
		Args: wants("ORIGIN", "NAME", "TTL", "TYPE", "RDATA..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			origin, err := parseOrigin(args[0])
			if err != nil {
				return err
			}
			text := publish.RecordText{Name: args[1], TTL: args[2], Type: args[3], Rdata: args[4:], PoP: pop}
			for _, weight := range weights {
				n, err := publish.ParseWeight(weight)
				if err != nil {
					return usageError{err}
				}
				text.Weights = append(text.Weights, n)
			}
			set, err := publish.ParseRRset(text, origin)
			if err != nil {
				return usageError{err}
			}
			return a.publishZone(cmd, &w, &s, origin, &progress{}, func(ctx context.Context, p *publish.Publisher) error {
				r, err := p.SetRecord(ctx, origin, set)
				return a.signedReceipt(origin, &s, r, err)
			})
		},
	}
	w.register(cmd)
	s.register(cmd)
	cmd.Flags().StringVar(&pop, "pop", "", "set the variant for this `PoP` (default: the default variant)")
	cmd.Flags().UintSliceVar(&weights, "weight", nil, "`weight` of the records among each other: one for all, or one for each, like 10,30")
	return cmd
}

func (a *app) zoneUnsetCmd() *cobra.Command {
	var w writeFlags
	var s signFlags
	var pop string
	cmd := &cobra.Command{
		Use:   "unset ORIGIN NAME TYPE",
		Short: "Delete the records of one name and type",
		Long: `Delete the records of TYPE that NAME has as its default variant, or with --pop its variant for that
PoP. The other variants stay. It is an error (exit status 4) when there is no such variant.`,
		Example: `  popctl zone unset example.org old A
  popctl zone unset example.org www A --pop iad2`,
		Args: wants("ORIGIN", "NAME", "TYPE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			origin, err := parseOrigin(args[0])
			if err != nil {
				return err
			}
			key, err := parseKey(origin, args[1], args[2], pop)
			if err != nil {
				return err
			}
			return a.publishZone(cmd, &w, &s, origin, &progress{}, func(ctx context.Context, p *publish.Publisher) error {
				r, err := p.UnsetRecord(ctx, origin, key)
				return a.signedReceipt(origin, &s, r, err)
			})
		},
	}
	w.register(cmd)
	s.register(cmd)
	cmd.Flags().StringVar(&pop, "pop", "", "delete the variant for this `PoP` (default: the default variant)")
	return cmd
}

func parseKey(origin zone.Name, name, typ, pop string) (zone.Key, error) {
	owner, err := publish.ParseOwner(name, origin)
	if err != nil {
		return zone.Key{}, usageError{err}
	}
	t, err := publish.ParseType(typ)
	if err != nil {
		return zone.Key{}, usageError{err}
	}
	return zone.Key{Owner: owner, Type: t, PoP: pop}, nil
}
