package publish

import (
	"fmt"
	"strings"
)

// A GuardError is a change that is well formed and yet most likely a mistake: a publisher refuses it unless Options.Force says otherwise.
type GuardError struct {
	What     string   // the dataset: "zone example.org.", "map edge", "the PoP table"
	Findings []string // one for each guard that refuses
	Lines    string   // the places in a file that are meant, one per line; "" when they aren't known
}

// Error implements error.
func (e *GuardError) Error() string {
	s := fmt.Sprintf("%s: refused, because it %s; use --force if this is meant", e.What, strings.Join(e.Findings, "; and "))
	if e.Lines != "" {
		s += ":\n" + e.Lines
	}
	return s
}

// The shrink guard's thresholds: an empty or cut-off input file looks like a change that deletes nearly everything. The first rule holds for sets of
// any size and is at least as strict as the edges' own guard, so that no edge refuses what a publisher let pass.
const (
	shrinkMostPercent = 50  // never more than half
	shrinkSome        = 10  // from so many deletions on …
	shrinkSomePercent = 20  // … not more than this share
	shrinkMany        = 100 // above so many …
	shrinkManyPercent = 1   // … not more than this share
)

// shrinkFinding tells why deleting so many of total items is refused, or "" when it is not.
func shrinkFinding(deleted, total int, items string) string {
	share := func(percent int) bool { return deleted*100 > total*percent }
	var limit string
	switch {
	case share(shrinkMostPercent):
		limit = "more than half"
	case deleted >= shrinkSome && share(shrinkSomePercent):
		limit = fmt.Sprintf("more than %d %%", shrinkSomePercent)
	case deleted > shrinkMany && share(shrinkManyPercent):
		limit = fmt.Sprintf("more than %d and more than %d %%", shrinkMany, shrinkManyPercent)
	default:
		return ""
	}
	return fmt.Sprintf("deletes %d of %d %s (%s)", deleted, total, items, limit)
}

// listed joins names for a sentence, at most so many that a line stays a line.
func listed(names []string) string {
	const maxListed = 8
	if len(names) > maxListed {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxListed], ", "), len(names)-maxListed)
	}
	return strings.Join(names, ", ")
}
