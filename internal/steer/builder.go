package steer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/popdns/popdns/internal/setsum"
)

// MapBuilder collects the rows of a map. It must not be used concurrently.
type MapBuilder struct {
	name    string
	initial ListID // Fallback until Default is called
	lists   interner
	rows    [planes][families]map[key]ListID
	layers  []*Layer // each beneath those before it
	n       int
}

// NewMapBuilder returns an empty builder; name may be "" for a map that is not yet published.
func NewMapBuilder(name string) *MapBuilder {
	b := &MapBuilder{name: name, initial: Fallback, lists: newInterner()}
	for p := range planes {
		for f := range families {
			b.rows[p][f] = make(map[key]ListID)
		}
	}
	return b
}

// DuplicateError says that a prefix has two rows with different lists in one plane.
type DuplicateError struct {
	Plane      Plane
	Prefix     netip.Prefix
	Have, Want []string
}

// Error says which prefix, and both lists.
func (e *DuplicateError) Error() string {
	return fmt.Sprintf("prefix %s is in the %s plane already with %v, and now with %v: keep one of them", e.Prefix, e.Plane, e.Have, e.Want)
}

// Default sets the list of addresses that no row covers. Every map needs one; the last call counts.
func (b *MapBuilder) Default(list []string) error {
	id, err := b.lists.intern(list)
	if err != nil {
		return fmt.Errorf("default: %w", err)
	}
	b.initial = id
	return nil
}

// Add adds a row. It refuses an invalid prefix, one with host bits set, an invalid list, and a prefix that the plane has
// with another list (*DuplicateError); adding an equal row again does nothing. The list is copied.
func (b *MapBuilder) Add(p Plane, prefix netip.Prefix, list []string) error {
	if p >= planes {
		return fmt.Errorf("unknown plane %d", p)
	}
	if err := CheckPrefix(prefix); err != nil {
		return err
	}
	id, err := b.lists.intern(list)
	if err != nil {
		return fmt.Errorf("prefix %s: %w", prefix, err)
	}
	f, k := keyOf(prefix)
	if have, ok := b.rows[p][f][k]; ok {
		if have != id {
			return &DuplicateError{Plane: p, Prefix: prefix, Have: b.lists.lists[have], Want: b.lists.lists[id]}
		}
		return nil
	}
	if b.n++; b.n > MaxRows {
		return fmt.Errorf("prefix %s: map %w, at most %d rows", prefix, ErrTooLarge, MaxRows)
	}
	b.rows[p][f][k] = id
	return nil
}

// Has tells whether the plane has a row for exactly this prefix.
func (b *MapBuilder) Has(p Plane, prefix netip.Prefix) bool {
	if p >= planes || !prefix.IsValid() {
		return false
	}
	f, k := keyOf(prefix.Masked())
	_, ok := b.rows[p][f][k]
	return ok
}

// Build compiles the rows. The builder may be used further and built again.
func (b *MapBuilder) Build(serial uint32) (*Map, error) {
	if b.initial == Fallback {
		return nil, errors.New("map has no default list: add one, it serves whoever no row covers")
	}
	var rows [planes]rowSet
	for p := range planes {
		for f := range families {
			rows[p][f] = sortedRows(b.rows[p][f])
			for _, l := range b.layers {
				if l.on[p] {
					rows[p][f] = beneath(rows[p][f], l.rows[f])
				}
			}
		}
	}
	if n := rows[Resolver].len() + rows[ECS].len(); n > MaxRows {
		return nil, fmt.Errorf("map of %d rows: %w, at most %d", n, ErrTooLarge, MaxRows)
	}
	m := newMap(b.name, serial, slices.Clone(b.lists.lists), b.initial, rows)
	m.sum = m.computeSum()
	return m, nil
}

// CheckPrefix returns an error unless prefix can be a row's: valid, and without host bits, which most often are a typing error.
func CheckPrefix(prefix netip.Prefix) error {
	if !prefix.IsValid() {
		return errors.New("invalid prefix")
	}
	if masked := prefix.Masked(); masked != prefix {
		return fmt.Errorf("prefix %s has host bits set: write %s", prefix, masked)
	}
	return nil
}

func sortedRows(set map[key]ListID) []row {
	rows := make([]row, 0, len(set))
	for k, list := range set {
		rows = append(rows, row{k, list})
	}
	slices.SortFunc(rows, func(a, b row) int { return a.compare(b.key) })
	return rows
}

// newMap drops lists that nothing uses and compiles the tables, both planes at once; the sum is the caller's to set. rows
// must be sorted; newMap owns them and the outer slice of lists from here on. It costs O(rows).
func newMap(name string, serial uint32, lists [][]string, initial ListID, rows [planes]rowSet) *Map {
	m := &Map{name: name, serial: serial, lists: lists, initial: initial, rows: rows}
	m.dropUnusedLists()
	var wg sync.WaitGroup
	wg.Go(func() { m.tables[Resolver] = compile(&m.rows[Resolver], m.initial) })
	wg.Go(func() {
		m.tables[ECS] = compile(&m.rows[ECS], Fallback)
		m.inside = specialInside(&m.rows[ECS])
	})
	wg.Wait()
	return m
}

// dropUnusedLists renumbers the lists, so that a long run of deltas does not pile up lists that no row names any more.
func (m *Map) dropUnusedLists() {
	const unused = Fallback
	renumber := make([]ListID, len(m.lists))
	for i := range renumber {
		renumber[i] = unused
	}
	kept := make([][]string, 0, len(m.lists))
	use := func(l ListID) ListID {
		if renumber[l] == unused {
			renumber[l] = ListID(len(kept)) //nolint:gosec // lists are bounded by MaxLists
			kept = append(kept, m.lists[l])
		}
		return renumber[l]
	}
	m.initial = use(m.initial)
	for p := range planes {
		for f := range families {
			for i := range m.rows[p][f] {
				r := &m.rows[p][f][i]
				r.list = use(r.list)
			}
		}
	}
	m.lists = kept
}

// computeSum hashes everything, the planes in parallel.
func (m *Map) computeSum() setsum.Sum {
	keys := m.listKeys()
	var sums [planes]setsum.Sum
	var wg sync.WaitGroup
	for p := range planes {
		wg.Go(func() {
			var item []byte
			for f := range families {
				for _, r := range m.rows[p][f] {
					item = appendRowItem(item[:0], p, f, r.key, keys[r.list])
					sums[p].Add(item)
				}
			}
		})
	}
	wg.Wait()
	sum := sums[Resolver]
	sum.Merge(sums[ECS])
	sum.Add(defaultItem(keys[m.initial]))
	return sum
}

func (m *Map) listKeys() []string {
	keys := make([]string, len(m.lists))
	for i, l := range m.lists {
		keys[i] = listKey(l)
	}
	return keys
}

// interner numbers distinct lists.
type interner struct {
	lists [][]string
	ids   map[string]ListID // by listKey
	names map[string]string // every PoP name once, so that a million lists share their strings
	key   []byte
}

func newInterner() interner {
	return interner{ids: make(map[string]ListID), names: make(map[string]string)}
}

// intern returns list's number; a list that is known already costs one map lookup and no allocation.
func (in *interner) intern(list []string) (ListID, error) {
	in.key = in.key[:0]
	for i, name := range list {
		if i > 0 {
			in.key = append(in.key, ',')
		}
		in.key = append(in.key, name...)
	}
	// A name with a comma could spell another list's key, but is no name: CheckList below refuses it unless the split
	// reading is a known list, so the count has to agree too.
	if id, ok := in.ids[string(in.key)]; ok && len(in.lists[id]) == len(list) && slices.Equal(in.lists[id], list) {
		return id, nil
	}
	if err := CheckList(list); err != nil {
		return 0, err
	}
	if len(in.lists) >= MaxLists {
		return 0, fmt.Errorf("distinct pop lists: %w, at most %d", ErrTooLarge, MaxLists)
	}
	own := make([]string, len(list))
	for i, name := range list {
		shared, ok := in.names[name]
		if !ok {
			shared = name
			in.names[name] = name
		}
		own[i] = shared
	}
	id := ListID(len(in.lists)) //nolint:gosec // bounded by MaxLists
	in.lists = append(in.lists, own)
	in.ids[string(in.key)] = id
	return id, nil
}
