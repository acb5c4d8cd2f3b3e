// Package edge is the reading side of popdns that the plugins of one server
// share: one Source per store, which follows every zone, map, PoP table and
// heartbeat that somebody asked for, and hands out the newest version without
// ever blocking a query.
//
// Plugins never import one another. What passes between them passes through
// here: a Provider is found on the block's zkzone, and a zone.Picker travels
// in the query's context.
package edge

import (
	"context"

	"github.com/popdns/popdns/internal/zone"
)

// A Provider gives the Source that its server block reads from. The zkzone
// plugin implements it; popmap and freshness look for it when they start.
type Provider interface {
	// EdgeSource returns the block's Source, starting it on the first call.
	// It fails when the block's source can never work (a bad URL), not when
	// the store is away. The Source is released by the Provider, not by the
	// caller; its data stay readable after that.
	EdgeSource() (*Source, error)
	// Origins are the zones that the block serves from the Source; or, where it
	// serves what the catalog lists, the names below which such zones come and go.
	Origins() []zone.Name
	// Match returns the zone that name lies in, the one with the longest origin,
	// and nil if the block serves none. Callable on every query, once the block
	// has given its EdgeSource.
	Match(name zone.Name) (origin zone.Name, data *Dataset[*zone.Snapshot])
}

type pickerKey struct{}

// WithPicker returns a context in which zkzone finds p to choose among the
// variants of a steered name.
func WithPicker(ctx context.Context, p zone.Picker) context.Context {
	return context.WithValue(ctx, pickerKey{}, p)
}

// PickerFrom returns the context's picker, nil when there is none.
func PickerFrom(ctx context.Context) zone.Picker {
	p, _ := ctx.Value(pickerKey{}).(zone.Picker)
	return p
}
