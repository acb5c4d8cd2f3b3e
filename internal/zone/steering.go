package zone

import (
	"fmt"
	"math"
)

// Choose says how the records of an answer are chosen among those of a variant.
type Choose uint8

const (
	// ChooseAll gives all records in canonical order, or, with Answers set, that many of them at random.
	ChooseAll Choose = iota
	// ChooseWeighted gives records in an order that a draw without replacement by weight makes, at most Answers of them.
	ChooseWeighted
)

func (c Choose) String() string {
	switch c {
	case ChooseAll:
		return "all"
	case ChooseWeighted:
		return "weighted"
	}
	return fmt.Sprintf("Choose(%d)", uint8(c))
}

// Steering is the settings of an owner. They live as long as the owner has records. Answers and Choose concern its addresses and whatever
// has weights; other types are always answered whole, and so is a signed RRset, because its signature is over all of it.
type Steering struct {
	Map     string // the map that decides; "" for the server's default
	Answers int    // at most so many records in an answer, up to 65535; 0 for no limit
	Choose  Choose
}

func (st Steering) check() error {
	if st.Map != "" {
		if err := checkTag(st.Map); err != nil {
			return fmt.Errorf("map %w", err)
		}
	}
	if st.Answers < 0 || st.Answers > math.MaxUint16 {
		return fmt.Errorf("answers %d is outside 0..65535", st.Answers)
	}
	if st.Choose > ChooseWeighted {
		return fmt.Errorf("unknown way to choose %d", st.Choose)
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
	// Pick chooses the variant for this query's client: an index into v, or -1 for the default variant. hasDefault tells whether there is one.
	// It is called only for steered RRsets, at most once per RRset that enters the Answer section. A choice that does not exist is replaced:
	// the default variant, otherwise the first.
	Pick(s Steering, v Variants, hasDefault bool) int
}
