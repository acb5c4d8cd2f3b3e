package steer

// span is where a range begins, and its list.
type span struct {
	hi, lo uint64
	list   ListID
}

// sweep turns nested rows, in key order, into the maximal ranges of one list each that cover the whole space; hole is the list
// of what no row covers. It keeps the rows around the current address on a stack, at most one per length, and costs
// O(rows).
func sweep(rows []row, hole ListID) []span {
	spans := append(make([]span, 0, len(rows)+1), span{list: hole})
	emit := func(hi, lo uint64, list ListID) {
		if last := &spans[len(spans)-1]; last.hi == hi && last.lo == lo {
			last.list = list // a longer prefix that begins at the same address wins
			if n := len(spans); n > 1 && spans[n-2].list == list {
				spans = spans[:n-1]
			}
		} else if last.list != list {
			spans = append(spans, span{hi, lo, list})
		}
	}
	var stack []row
	// leave ends the innermost row: what follows it belongs to the row around it.
	leave := func() {
		hi, lo := stack[len(stack)-1].last()
		stack = stack[:len(stack)-1]
		if lo++; lo == 0 {
			if hi++; hi == 0 {
				return // the end of the space
			}
		}
		list := hole
		if n := len(stack); n > 0 {
			list = stack[n-1].list
		}
		emit(hi, lo, list)
	}
	for _, r := range rows {
		for len(stack) > 0 && !stack[len(stack)-1].covers(r.key) {
			leave()
		}
		stack = append(stack, r)
		emit(r.hi, r.lo, r.list)
	}
	for len(stack) > 0 {
		leave()
	}
	return spans
}

// covers tells whether o, which is not shorter, lies within k.
func (k key) covers(o key) bool {
	hi, lo := k.last()
	return o.hi < hi || o.hi == hi && o.lo <= lo
}

// compile builds a plane's tables. hole is the list of space without rows.
func compile(rows *rowSet, hole ListID) planeTable {
	embeds := embedIn(rows)
	return planeTable{v4: compileV4(rows[v4], hole), v6: compileV6(withMarks(rows[v6], embeds), hole), embeds: embeds}
}

func compileV4(rows []row, hole ListID) table[uint32] {
	spans := sweep(rows, hole)
	starts, lists := make([]uint32, len(spans)), make([]ListID, len(spans))
	for i, s := range spans {
		starts[i], lists[i] = uint32(s.hi>>32), s.list
	}
	return newTable(starts, lists)
}

// compileV6 folds the spans that begin in one /64 into a tail, unless there is one and it begins at the /64's first address.
func compileV6(rows []row, hole ListID) tableV6 {
	spans := sweep(rows, hole)
	var t tableV6
	starts, lists := make([]uint64, 0, len(spans)), make([]ListID, 0, len(spans))
	for len(spans) > 0 {
		// All spans that begin in one /64.
		hi, n := spans[0].hi, 1
		for n < len(spans) && spans[n].hi == hi {
			n++
		}
		within := spans[:n]
		spans = spans[n:]
		last := within[n-1].list
		if n == 1 && within[0].lo == 0 {
			starts, lists = append(starts, hi), append(lists, last)
			continue
		}
		// A /64 that begins inside a span has the list of the entry before; when a tail ended in the /64 before this one,
		// that entry is its end mark, which stands at this very /64 and gives way to it.
		var before ListID
		if within[0].lo != 0 {
			before = lists[len(lists)-1]
		}
		if k := len(starts); k > 0 && starts[k-1] == hi {
			starts, lists = starts[:k-1], lists[:k-1]
		}
		starts, lists = append(starts, hi), append(lists, tailMark|ListID(len(t.tails))) //nolint:gosec // rows are bounded
		t.tails = append(t.tails, compileTail(within, before))
		if hi != ^uint64(0) && (len(spans) == 0 || spans[0].hi != hi+1 || spans[0].lo != 0) {
			starts, lists = append(starts, hi+1), append(lists, last)
		}
	}
	t.table = newTable(starts, lists)
	return t
}

// compileTail builds the table of one /64 from the spans that begin in it; before is the list that reaches into it.
func compileTail(within []span, before ListID) table[uint64] {
	var starts []uint64
	var lists []ListID
	if within[0].lo != 0 {
		starts, lists = append(starts, 0), append(lists, before)
	}
	for _, s := range within {
		starts, lists = append(starts, s.lo), append(lists, s.list)
	}
	return newTable(starts, lists)
}
