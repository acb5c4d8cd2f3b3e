package mapfile

import (
	"fmt"
	"strings"

	"github.com/popdns/popdns/internal/finding"
)

// maxHinted is how many known words an error lists.
const maxHinted = 12

// hint returns " (did you mean X?)" for the known word nearest to got. When none is near it lists the known ones, if they
// are few, and otherwise it is "".
func hint(got string, known []string) string {
	if near := finding.Nearest(got, known); near != "" {
		return fmt.Sprintf(" (did you mean %s?)", near)
	}
	if len(known) == 0 || len(known) > maxHinted {
		return ""
	}
	return fmt.Sprintf(" (known: %s)", strings.Join(known, ", "))
}
