package freshcheck

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// A record is what a freshness TXT record says.
type record struct {
	source time.Time
	serial string // as written; empty when the record has none
	state  string // live, stale, disk, frozen
}

// parse reads the freshness record of an answer. With several TXT records that carry a source time the oldest one counts.
func parse(m *dns.Msg) (record, error) {
	var oldest record
	var bad error
	found := false
	for _, rr := range m.Answer {
		txt, ok := rr.(*dns.TXT)
		if !ok {
			continue
		}
		rec, err := parseStrings(txt.Txt)
		if err != nil {
			bad = err
			continue
		}
		if !found || rec.source.Before(oldest.source) {
			oldest, found = rec, true
		}
	}
	switch {
	case found:
		return oldest, nil
	case bad != nil:
		return record{}, bad
	case m.Rcode == dns.RcodeNameError:
		return record{}, errors.New("the name does not exist; is the freshness plugin on for this zone?")
	}
	return record{}, errors.New("the name has no TXT record; is the freshness plugin on for this zone?")
}

// maxSourceTime is the end of the year 9999: later times are not what a clock says, and would overflow a Duration.
const maxSourceTime = 253402300799

// parseStrings reads one record: first the source time in Unix seconds, then key=value strings, of which unknown ones are skipped.
func parseStrings(txt []string) (record, error) {
	if len(txt) == 0 {
		return record{}, errors.New("the TXT record is empty")
	}
	secs, err := strconv.ParseInt(txt[0], 10, 64)
	if err != nil || secs < 0 || secs > maxSourceTime {
		return record{}, fmt.Errorf("the TXT record begins with %.40q, not with a time in Unix seconds", txt[0])
	}
	rec := record{source: time.Unix(secs, 0)}
	for _, s := range txt[1:] {
		key, value, _ := strings.Cut(s, "=")
		switch key {
		case "serial":
			if _, err := strconv.ParseUint(value, 10, 32); err != nil {
				return record{}, fmt.Errorf("the TXT record has %.40q, whose value is no serial", s)
			}
			rec.serial = value
		case "state":
			rec.state = printable(value)
		}
	}
	return rec, nil
}

// printable keeps the line of output one line, and what follows the bar performance data, whatever a server sends.
func printable(s string) string {
	const maxState = 32
	s = strings.Map(func(r rune) rune {
		if r < 0x21 || r > 0x7e || r == '|' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), maxState)]
}
