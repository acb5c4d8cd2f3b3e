package zone

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Choose says how the records of an answer are chosen among those of a variant.
type Choose uint8

const (
	// ChooseAll gives all records in canonical order, or, with Answers set, that many of them at random.
	ChooseAll Choose = iota
	// ChooseWeighted draws records by weight without replacement, at most Answers of them. The first drawn comes first, the rest follows in
	// canonical order: most clients take the first, and whatever signs or caches answers above meets few different ones.
	ChooseWeighted
	// ChooseSticky is ChooseWeighted with the same draw for all clients of a block, on every server. Records that come or go change the
	// answers of as few blocks as can be.
	ChooseSticky
)

var chooseNames = [...]string{"all", "weighted", "sticky"}

func (c Choose) String() string { return enumName(chooseNames[:], "Choose", uint8(c)) }

// ParseChoose reads what String writes.
func ParseChoose(s string) (c Choose, ok bool) { return parseEnum[Choose](chooseNames[:], s) }

// AllDown says what a name answers when its client's list has PoPs with a variant, but all of them are down or drained.
type AllDown uint8

const (
	// AllDownLastResort gives the default variant, and without one what AllDownAll gives.
	AllDownLastResort AllDown = iota
	// AllDownAll answers as if all were up.
	AllDownAll
	// AllDownNone gives the default variant, and without one SERVFAIL: resolvers ask another server, or serve what they had (RFC 8767).
	AllDownNone
)

var allDownNames = [...]string{"last-resort", "all", "none"}

func (a AllDown) String() string { return enumName(allDownNames[:], "AllDown", uint8(a)) }

// ParseAllDown reads what String writes.
func ParseAllDown(s string) (a AllDown, ok bool) { return parseEnum[AllDown](allDownNames[:], s) }

func enumName(names []string, typ string, n uint8) string {
	if int(n) < len(names) {
		return names[n]
	}
	return fmt.Sprintf("%s(%d)", typ, n)
}

func parseEnum[T ~uint8](names []string, s string) (T, bool) {
	i := slices.Index(names, s)
	return T(max(i, 0)), i >= 0
}

// Steering is the settings of an owner. They live as long as the owner has records. Answers and Choose concern its addresses and whatever
// has weights; other types are always answered whole, and so is a signed RRset, because its signature is over all of it.
type Steering struct {
	Map     string // the map that decides; "" for the apex's, and without one the server's default
	Answers int    // at most so many records in an answer, up to 65535; 0 for no limit
	Choose  Choose
	PoPs    string // the PoPs that may answer, sorted, with commas between them; "" for all that have a variant
	Service string // whose states in the PoP table count beside the PoPs' own
	AllDown AllDown
	DownTTL uint32 // the most that the TTL is while the client's PoP is down or drained; 0 for no limit
}

// Allows tells whether the PoP may answer.
func (st *Steering) Allows(pop string) bool {
	if st.PoPs == "" {
		return true
	}
	for list := st.PoPs; ; {
		name, rest, more := strings.Cut(list, ",")
		if name == pop {
			return true
		}
		if !more {
			return false
		}
		list = rest
	}
}

func (st Steering) check() error {
	for _, tag := range []struct{ key, value string }{{"map", st.Map}, {"service", st.Service}} {
		if tag.value == "" {
			continue
		}
		if err := checkTag(tag.value); err != nil {
			return fmt.Errorf("%s %w", tag.key, err)
		}
	}
	if st.Answers < 0 || st.Answers > math.MaxUint16 {
		return fmt.Errorf("answers %d is outside 0..65535", st.Answers)
	}
	if int(st.Choose) >= len(chooseNames) {
		return fmt.Errorf("unknown way to choose %d", st.Choose)
	}
	if int(st.AllDown) >= len(allDownNames) {
		return fmt.Errorf("unknown policy %d for when all PoPs are down", st.AllDown)
	}
	if st.DownTTL > MaxTTL {
		return fmt.Errorf("downttl %d is above %d", st.DownTTL, MaxTTL)
	}
	return st.checkPoPs()
}

func (st Steering) checkPoPs() error {
	if st.PoPs == "" {
		return nil
	}
	if len(st.PoPs) > math.MaxUint16 {
		return fmt.Errorf("pops of %d octets, at most %d", len(st.PoPs), math.MaxUint16)
	}
	last := ""
	for pop := range strings.SplitSeq(st.PoPs, ",") {
		if err := checkTag(pop); err != nil {
			return fmt.Errorf("pops: %w", err)
		}
		if pop <= last {
			return fmt.Errorf("pops: %s is twice in the list or out of order", pop)
		}
		last = pop
	}
	return nil
}

// Variants is the variants of a steered name and type, for a Picker. It is valid only during the call it is passed to.
type Variants struct {
	tagged rrsets // without the default variant
	n      int
}

func variantsOf(all rrsets) (v Variants, hasDefault bool) {
	if all != "" && all.pop() == "" {
		all, hasDefault = all.rest(), true
	}
	return Variants{all, all.len()}, hasDefault
}

// Len counts the variants, the default one not included.
func (v Variants) Len() int { return v.n }

// PoP is the PoP of the i-th variant. They are sorted by it.
func (v Variants) PoP(i int) string { return v.at(i).pop() }

// Index finds the variant of a PoP, -1 if there is none.
func (v Variants) Index(pop string) int {
	i := 0
	for s := v.tagged; s != ""; s = s.rest() {
		if s.pop() == pop {
			return i
		}
		i++
	}
	return -1
}

// at is the i-th variant.
func (v Variants) at(i int) rrsets {
	s := v.tagged
	for ; i > 0; i-- {
		s = s.rest()
	}
	return s.first()
}

// Picker chooses variants for one query's client.
type Picker interface {
	// Pick chooses for this query's client. hasDefault tells whether there is a default variant. It is called only for steered RRsets and for those
	// of owners with ChooseSticky, at most once per RRset that enters the Answer section.
	Pick(s Steering, v Variants, hasDefault bool) Choice
}

// A Choice is what a Picker chooses.
type Choice struct {
	Variant int    // an index into the variants, Default or Nothing. One that does not exist is replaced: the default variant, otherwise the first
	MaxTTL  uint32 // the most that the answer's TTL may be, in seconds; 0 for no limit
	Seed    uint64 // for ChooseSticky: equal for all clients that must get equal answers
}

// Choices that are no index.
const (
	Default = -1 // the default variant
	Nothing = -2 // no variant: SERVFAIL
)
