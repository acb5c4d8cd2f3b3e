package zkzone

import (
	"fmt"
	"strings"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/edge"
)

// observer turns a Source's events into log lines and metrics: one line for
// each event that an operator acts on, none per query.
type observer struct{}

// Switched implements edge.Observer.
func (observer) Switched(s edge.Switch) {
	source := s.Source.String()
	switches.WithLabelValues(s.Path, source).Inc()
	if s.Behind > 0 {
		followSeconds.WithLabelValues(s.Kind).Observe(s.Behind.Seconds())
	}
	log.Infof("Serving %s serial %d (%d items, from %s, published %s by %s): %s",
		s.Path, s.Head.Serial, s.Items, source, s.Head.Published.UTC().Format("2006-01-02T15:04:05Z"), orUnknown(s.Head.By), changeText(s))
}

// Refused implements edge.Observer.
func (observer) Refused(path string, r dataset.Refusal) {
	refused.WithLabelValues(path, r.Reason).Inc()
	log.Errorf("Refused %s serial %d (%s), keeping the last good version: %v", path, r.Serial, r.Reason, r.Err)
}

// CacheFailed implements edge.Observer.
func (observer) CacheFailed(path string, err error) {
	cacheErrors.Inc()
	if path == "" {
		log.Warningf("Disk cache can't be used, going on without it: %v", err)
		return
	}
	log.Warningf("Disk cache of %s: %v", path, err)
}

// StoreFailed implements edge.Observer.
func (observer) StoreFailed(err error) {
	log.Errorf("Store can't be read, still trying: %v", err)
}

// StoreConnection implements edge.Observer.
func (observer) StoreConnection(line string) { log.Infof("Store connection: %s", line) }

func orUnknown(by string) string {
	if by == "" {
		return "unknown"
	}
	return printable(by)
}

// changeText says what the version changed, and why if its publisher said so:
// "+1 -0 ~1 RRsets: www.example.org. A, api.example.org. A; fix the mail".
func changeText(s edge.Switch) string {
	text := howText(s)
	if s.Head.Message != "" {
		text += "; " + printable(s.Head.Message)
	}
	return text
}

func howText(s edge.Switch) string {
	switch s.How {
	case edge.HowFirst:
		return "the first version"
	case edge.HowConfirmed:
		return "nothing changed"
	case edge.HowImage:
		return fmt.Sprintf("loaded as a whole, %d items before", s.Change.Before)
	}
	c := s.Change
	var text string
	switch s.Kind {
	case "zone":
		text = fmt.Sprintf("+%d -%d ~%d RRsets", c.Added, c.Removed, c.Changed)
	case "pops":
		text = fmt.Sprintf("+%d -%d ~%d PoPs", c.Added, c.Removed, c.Changed)
	default:
		text = fmt.Sprintf("%d items before", c.Before)
	}
	if c.Settings > 0 {
		text += fmt.Sprintf(", steering of %d names", c.Settings)
	}
	if c.Deltas > 1 {
		text += fmt.Sprintf(" in %d commits", c.Deltas)
	}
	if len(c.Examples) == 0 {
		return text
	}
	text += ": " + strings.Join(c.Examples, ", ")
	if c.Added+c.Removed+c.Changed > len(c.Examples) {
		text += ", …"
	}
	return text
}

// maxLogged bounds what of a publisher's words goes into a log line.
const maxLogged = 120

// printable is text of others that breaks neither the line nor the terminal.
func printable(s string) string {
	cut := []rune(s)
	if len(cut) > maxLogged {
		cut = append(cut[:maxLogged], '…')
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, string(cut))
}
