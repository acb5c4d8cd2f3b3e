package explain

import (
	"fmt"
	"strconv"
	"strings"
)

// Lines is the explanation for people.
func (e *Explanation) Lines() []string {
	var out []string
	line := func(key, format string, args ...any) {
		out = append(out, fmt.Sprintf("%-9s %s", key, fmt.Sprintf(format, args...)))
	}
	line("map", "%s, serial %d", e.Map, e.Serial)
	line("resolver", "%s", e.Resolver)
	if e.ECS != "" {
		line("ecs", "%s", e.ECS)
	}
	if e.Canary != nil {
		line("canary", "%s", e.Canary)
	}
	line("decided", "by the %s plane (%s), for all of %s, reply scope %d", e.Plane, e.Reason, e.Block, e.Scope)
	if e.Row != "" {
		line("row", "%s", e.Row)
	} else {
		line("row", "none: the default list")
	}
	if e.Rule != "" {
		line("rule", "%s", e.Rule)
	}
	line("pops", "%s", strings.Join(e.PoPs, ", "))
	for _, p := range e.Passed {
		line("passed", "%s: %s", p.PoP, p.Why)
	}
	if e.Chosen != "" {
		line("chosen", "%s", e.Chosen)
	} else if e.Answer == nil || e.Answer.Steered {
		line("chosen", "none: the default variant answers, or in its absence the first PoP of the list that has one")
	}
	if a := e.Answer; a != nil {
		line("answer", "%s %s from zone %s: %s, %s, reply scope %d", a.Name, a.Type, a.Zone, a.Rcode, a.what(), a.Scope)
		for _, r := range a.Records {
			line("", "%s", r)
		}
	}
	return out
}

func (a *Answer) what() string {
	switch {
	case !a.Steered:
		return "not steered"
	case a.Choice == "none":
		return "none of the variants"
	case a.Variant == "":
		return "the default variant"
	}
	return "the variant of " + a.Variant
}

// Bounds of Strings, so that it fits into one datagram in all but contrived cases.
const (
	maxString  = 255 // octets of a TXT record's string (RFC 1035 3.3)
	maxPassed  = 8
	maxRecords = 4
)

// Strings is the explanation as the strings of a TXT record, each "key=value". What is too long is cut, and ends in an ellipsis of three dots.
func (e *Explanation) Strings() []string {
	var out []string
	add := func(key, value string) {
		if value == "" {
			return
		}
		s := key + "=" + value
		if len(s) > maxString {
			s = s[:maxString-3] + "..."
		}
		out = append(out, s)
	}
	add("map", e.Map)
	if e.Serial != 0 {
		add("serial", strconv.FormatUint(uint64(e.Serial), 10))
	}
	add("resolver", e.Resolver)
	add("ecs", e.ECS)
	if e.Canary != nil {
		add("canary", e.Canary.String())
	}
	add("plane", e.Plane)
	add("reason", e.Reason)
	add("block", e.Block)
	add("row", e.Row)
	add("scope", strconv.Itoa(e.Scope))
	add("pops", strings.Join(e.PoPs, ","))
	for i, p := range e.Passed {
		if i == maxPassed {
			add("passed", fmt.Sprintf("and %d more", len(e.Passed)-i))
			break
		}
		add("passed", p.PoP+": "+p.Why)
	}
	add("chosen", e.Chosen)
	if a := e.Answer; a != nil {
		add("answer", fmt.Sprintf("%s %s: %s, %s", a.Name, a.Type, a.Rcode, a.what()))
		for i, r := range a.Records {
			if i == maxRecords {
				add("record", fmt.Sprintf("and %d more", len(a.Records)-i))
				break
			}
			add("record", r)
		}
	}
	for _, n := range e.Notes {
		add("note", n)
	}
	return out
}
