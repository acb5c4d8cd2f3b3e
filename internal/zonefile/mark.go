package zonefile

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/zone"
)

// A mark is a comment that begins with ;@ and holds key=value fields. pop and weight say something of the record; the others
// of its owner, so that they need to be said only once.

// ownerKeys are the settings of an owner, in the order in which they are written.
var ownerKeys = []string{"map", "service", "pops", "answers", "choose", "alldown", "downttl"}

var markKeys = "pop, weight, " + strings.Join(ownerKeys[:len(ownerKeys)-1], ", ") + " or " + ownerKeys[len(ownerKeys)-1]

func isMarkKey(key string) bool {
	return key == "pop" || key == "weight" || slices.Contains(ownerKeys, key)
}

// maxAnswers is what zone.Steering takes.
const maxAnswers = math.MaxUint16

// settings is what the marks of one record say.
type settings struct {
	pop    string
	weight uint32
	steer  zone.Steering
	at     map[string]finding.Position // of each key that was given
}

// parseMarks reads the marks of one record. Every field is looked at, so that all faults are reported at once.
func parseMarks(marks []mark, errs *finding.List) settings {
	set := settings{at: map[string]finding.Position{}}
	for _, m := range marks {
		if len(m.text) > maxMark {
			errs.AddAt(m.at, "mark longer than %d octets (shorten it)", maxMark)
			continue
		}
		fields := strings.Fields(string(m.text))
		if len(fields) == 0 {
			errs.AddAt(m.at, "empty mark (write %s after ;@, or remove the @)", markKeys)
		}
		for _, field := range fields {
			key, value, hasValue := strings.Cut(field, "=")
			if first, twice := set.at[key]; twice {
				errs.AddAt(m.at, "%s= is given twice for one record, first on %s (keep one)", key, first.SeenFrom(m.at))
				continue
			}
			if err := set.put(key, value, hasValue); err != nil {
				errs.AddAt(m.at, "%w", err)
				continue
			}
			set.at[key] = m.at
		}
	}
	return set
}

func (s *settings) put(key, value string, hasValue bool) error {
	if !isMarkKey(key) {
		return fmt.Errorf("unknown key %.40q in mark (use %s; an ordinary comment must not begin with ;@)", key, markKeys)
	}
	if !hasValue || value == "" {
		return fmt.Errorf("%s without a value (write %s=…)", key, key)
	}
	switch key {
	case "pop":
		s.pop = value
		return checkTag("pop", value)
	case "map":
		s.steer.Map = value
		return checkTag("map", value)
	case "weight":
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil || n == 0 {
			return fmt.Errorf("weight=%.40s is not a number from 1 to 4294967295 (leave it out for an unweighted record)", value)
		}
		s.weight = uint32(n)
	case "answers":
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil || n == 0 || n > maxAnswers {
			return fmt.Errorf("answers=%.40s is not a number from 1 to %d (leave it out for no limit)", value, maxAnswers)
		}
		s.steer.Answers = int(n)
	default:
		return s.putChoice(key, value)
	}
	return nil
}

// putChoice is put for what has the form of a name or a list.
func (s *settings) putChoice(key, value string) (err error) {
	var ok bool
	switch key {
	case "choose":
		if s.steer.Choose, ok = zone.ParseChoose(value); !ok {
			return fmt.Errorf("choose=%.40s is unknown (use all, weighted or sticky)", value)
		}
	case "alldown":
		if s.steer.AllDown, ok = zone.ParseAllDown(value); !ok {
			return fmt.Errorf("alldown=%.40s is unknown (use last-resort, all or none)", value)
		}
	case "service":
		s.steer.Service = value
		return checkTag("service", value)
	case "pops":
		s.steer.PoPs, err = parsePoPs(value)
		return err
	case "downttl":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil || n == 0 {
			return fmt.Errorf("downttl=%.40s is not a number of seconds from 1 to %d (leave it out for the record's TTL)", value, zone.MaxTTL)
		}
		s.steer.DownTTL = uint32(n)
	}
	return nil
}

// parsePoPs sorts a list of PoPs.
func parsePoPs(value string) (string, error) {
	pops := strings.Split(value, ",")
	for _, pop := range pops {
		if err := checkTag("pops", pop); err != nil {
			return "", err
		}
	}
	slices.Sort(pops)
	for i, pop := range pops[1:] {
		if pop == pops[i] {
			return "", fmt.Errorf("pops= names %s twice (keep one)", pop)
		}
	}
	return strings.Join(pops, ","), nil
}

// checkTag says what internal/zone would say, but of the mark's line and with the value.
func checkTag(key, value string) error {
	ok := value != "" && len(value) <= zone.MaxTag
	for i := 0; ok && i < len(value); i++ {
		c := value[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._-", c) >= 0
	}
	if !ok {
		return fmt.Errorf("%s=%.80q is no name (use 1 to %d of the characters a-z A-Z 0-9 . _ -)", key, value, zone.MaxTag)
	}
	return nil
}

// looksLikeMark tells a mark that stands on a line of its own from a record of the apex that was commented out
// (";@ 60 IN A 192.0.2.1"): it holds nothing but known keys with values.
func looksLikeMark(text []byte) bool {
	fields := strings.Fields(string(text))
	for _, f := range fields {
		key, _, ok := strings.Cut(f, "=")
		if !ok || !isMarkKey(key) {
			return false
		}
	}
	return len(fields) > 0
}

// ownerSettings collects the settings over all records of one owner.
type ownerSettings struct {
	steer zone.Steering
	at    map[string]finding.Position
}

// merge takes in what one more record says and complains of contradictions.
func (o *ownerSettings) merge(s *settings, errs *finding.List) {
	for _, key := range ownerKeys {
		at, given := s.at[key]
		if !given {
			continue
		}
		first, known := o.at[key]
		if !known {
			o.at[key] = at
			o.copyFrom(key, s.steer)
			continue
		}
		if was, is := show(key, o.steer), show(key, s.steer); was != is {
			errs.AddAt(at, "%s=%s contradicts %s=%s of %s (these settings hold for the owner: give it one value)",
				key, is, key, was, first.SeenFrom(at))
		}
	}
}

func (o *ownerSettings) copyFrom(key string, s zone.Steering) {
	switch key {
	case "map":
		o.steer.Map = s.Map
	case "service":
		o.steer.Service = s.Service
	case "pops":
		o.steer.PoPs = s.PoPs
	case "answers":
		o.steer.Answers = s.Answers
	case "choose":
		o.steer.Choose = s.Choose
	case "alldown":
		o.steer.AllDown = s.AllDown
	case "downttl":
		o.steer.DownTTL = s.DownTTL
	}
}

// show gives a setting's value as it is written in a mark.
func show(key string, s zone.Steering) string {
	switch key {
	case "map":
		return s.Map
	case "service":
		return s.Service
	case "pops":
		return s.PoPs
	case "answers":
		return strconv.Itoa(s.Answers)
	case "choose":
		return s.Choose.String()
	case "alldown":
		return s.AllDown.String()
	}
	return strconv.FormatUint(uint64(s.DownTTL), 10)
}

// Settings gives an owner's settings as a mark has them, those at their defaults left out: "map=edge answers=2".
func Settings(s zone.Steering) []string {
	var out []string
	for _, key := range ownerKeys {
		if value := show(key, s); value != show(key, zone.Steering{}) {
			out = append(out, key+"="+value)
		}
	}
	return out
}
