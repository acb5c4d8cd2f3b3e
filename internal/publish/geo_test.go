package publish

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/popdns/popdns/internal/steer"
)

// TestMapCutIntoOtherRowsIsNotGuarded: a new GeoIP database replaces a good part of the rows; only a map that becomes smaller is suspicious.
func TestMapCutIntoOtherRowsIsNotGuarded(t *testing.T) {
	build := func(second byte, rows int) *steer.Map {
		t.Helper()
		b := steer.NewMapBuilder("edge")
		if err := b.Default([]string{"ams1"}); err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			p, _ := netip.AddrFrom4([4]byte{44, second, byte(i), 0}).Prefix(24)
			if err := b.Add(steer.ECS, p, []string{fmt.Sprint("pop", i%3)}); err != nil {
				t.Fatal(err)
			}
		}
		m, err := b.Build(1)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	plan := func(cur, next *steer.Map) *MapPlan {
		t.Helper()
		p, err := New(nil, Options{}).planMap(cur, next, nil)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := plan(build(1, 200), build(2, 195)); len(p.Refused) > 0 || p.Deleted != 200 || p.Added != 195 {
		t.Errorf("195 rows for 200 others: +%d -%d, refused: %v", p.Added, p.Deleted, p.Refused)
	}
	if p := plan(build(1, 200), build(2, 90)); len(p.Refused) == 0 {
		t.Error("90 rows for 200 others: not refused")
	}
}
