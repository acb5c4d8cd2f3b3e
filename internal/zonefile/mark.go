package zonefile

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/zone"
)

// A mark is a comment that begins with ;@ and holds key=value fields. pop and weight say something of the record; map,
// answers and choose of its owner, so that they need to be said only once.

const markKeys = "pop, weight, map, answers or choose"

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
	switch key {
	case "pop", "weight", "map", "answers", "choose":
	default:
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
	case "choose":
		c, ok := chooseByName[value]
		if !ok {
			return fmt.Errorf("choose=%.40s is unknown (use all or weighted)", value)
		}
		s.steer.Choose = c
	}
	return nil
}

var chooseByName = map[string]zone.Choose{"all": zone.ChooseAll, "weighted": zone.ChooseWeighted}

// checkTag says what internal/zone would say, but of the mark's line and with the value.
func checkTag(key, value string) error {
	ok := len(value) <= zone.MaxTag
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
		switch key {
		case "pop", "weight", "map", "answers", "choose":
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	return len(fields) > 0
}

// ownerSettings collects map, answers and choose over all records of one owner.
type ownerSettings struct {
	steer zone.Steering
	at    map[string]finding.Position
}

// merge takes in what one more record says and complains of contradictions.
func (o *ownerSettings) merge(s *settings, errs *finding.List) {
	for _, key := range []string{"map", "answers", "choose"} {
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
	case "answers":
		o.steer.Answers = s.Answers
	case "choose":
		o.steer.Choose = s.Choose
	}
}

// show gives a setting's value as it is written in a mark.
func show(key string, s zone.Steering) string {
	switch key {
	case "map":
		return s.Map
	case "answers":
		return strconv.Itoa(s.Answers)
	}
	for name, c := range chooseByName {
		if c == s.Choose {
			return name
		}
	}
	return "all"
}
