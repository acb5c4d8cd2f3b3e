package edge

import (
	"iter"

	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"

	"github.com/miekg/dns"
)

// zoneChanges counts what deltas changed in a zone, at a cost that goes by the
// deltas: it is done for every version, before the next one is taken.
func zoneChanges(origin zone.Name) func(old, new *zone.Snapshot, deltas iter.Seq[[]byte]) Change {
	codec := zone.Codec{Origin: origin}
	return func(old, new *zone.Snapshot, deltas iter.Seq[[]byte]) Change {
		c, err := codec.Changes(old, new, deltas, maxExamples)
		if err != nil {
			return Change{} // not for deltas that were applied
		}
		out := Change{Added: c.Added, Removed: c.Deleted, Changed: c.Changed, Settings: c.Settings}
		for _, k := range c.Examples {
			example := k.Owner.String() + " " + dns.Type(k.Type).String()
			if k.PoP != "" {
				example += " pop=" + k.PoP
			}
			out.Examples = append(out.Examples, example)
		}
		return out
	}
}

// popsChanges compares the tables: there are few PoPs.
func popsChanges(old, new *steer.PoPs, _ iter.Seq[[]byte]) Change {
	var out Change
	example := func(name string) {
		if len(out.Examples) < maxExamples {
			out.Examples = append(out.Examples, name)
		}
	}
	for p := range new.All() {
		was, ok := old.Get(p.Name)
		switch {
		case !ok:
			out.Added++
		case !was.Equal(p):
			out.Changed++
		default:
			continue
		}
		example(p.Name)
	}
	for p := range old.All() {
		if _, ok := new.Get(p.Name); !ok {
			out.Removed++
			example(p.Name)
		}
	}
	return out
}
