package publish

import (
	"crypto/ed25519"
	"errors"
	"net/netip"
	"testing"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/steer"
)

// mapTo is the map "edge" with one row.
func mapTo(t *testing.T, pop string) *steer.Map {
	t.Helper()
	b := steer.NewMapBuilder("edge")
	if err := b.Default([]string{"ams1"}); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(steer.ECS, netip.MustParsePrefix("198.51.100.0/24"), []string{pop}); err != nil {
		t.Fatal(err)
	}
	m, err := b.Build(0)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var fivePercent = steer.CanaryRule{Share: 500}

func TestPromotionThatBrokeOffIsFinishedByAnother(t *testing.T) {
	s := newStore(t)
	mustApply(t, s, "ams1", "iad2")
	p := New(s, Options{By: "test"})
	ctx := t.Context()
	if _, err := p.PublishMap(ctx, mapTo(t, "ams1")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.StageMap(ctx, mapTo(t, "iad2"), fivePercent); err != nil {
		t.Fatal(err)
	}
	// The first half of a promotion: the map has the content, the canary stands.
	if _, err := New(s, Options{By: "test", Force: true}).PublishMap(ctx, mapTo(t, "iad2")); err != nil {
		t.Fatal(err)
	}
	r, err := p.PromoteMap(ctx, "edge")
	if err != nil {
		t.Fatal(err)
	}
	if r.Changed || r.New != 2 {
		t.Errorf("the map was published again: %+v", r.Receipt)
	}
	v, err := dataset.Load(ctx, s, CanaryRef("edge"))
	if err != nil {
		t.Fatal(err)
	}
	if v.Value.Map() != nil || v.Value.Promoted() != 2 {
		t.Errorf("the canary is %+v, want one that ended with serial 2", v.Value)
	}
	if _, err := p.PromoteMap(ctx, "edge"); !errors.Is(err, ErrNotStaged) {
		t.Errorf("once more: %v", err)
	}
}

func TestMapIsNotChangedUnderItsCanary(t *testing.T) {
	s := newStore(t)
	mustApply(t, s, "ams1", "iad2", "sin1")
	p := New(s, Options{By: "test"})
	ctx := t.Context()
	for _, step := range []func() error{
		func() error { _, err := p.PublishMap(ctx, mapTo(t, "ams1")); return err },
		func() error { _, err := p.StageMap(ctx, mapTo(t, "iad2"), fivePercent); return err },
		func() error { _, err := p.PublishMap(ctx, mapTo(t, "ams1")); return err }, // no change, so no harm
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	var refused *GuardError
	if _, err := p.PublishMap(ctx, mapTo(t, "sin1")); !errors.As(err, &refused) {
		t.Errorf("publishing under a canary: %v", err)
	}
	plan, err := p.PlanMap(ctx, mapTo(t, "sin1"))
	if err != nil || plan.Guard() == nil {
		t.Errorf("the plan says nothing of it: %v, %v", plan, err)
	}
	if plan, err = p.PlanMap(ctx, mapTo(t, "ams1")); err != nil || plan.Guard() != nil {
		t.Errorf("the plan refuses what changes nothing: %v, %v", plan.Refused, err)
	}
	if _, err := New(s, Options{By: "test", Force: true}).PublishMap(ctx, mapTo(t, "sin1")); err != nil {
		t.Errorf("forced: %v", err)
	}
	if v, err := LoadCanary(ctx, s, "edge"); err != nil || v == nil {
		t.Errorf("the canary went with it: %v, %v", v, err)
	}
}

func TestAdoptingADiskCacheRestoresItsCanary(t *testing.T) {
	cache, s := newStore(t), newStore(t) // a disk cache has a store's layout
	mustApply(t, cache, "ams1", "iad2")
	old := New(cache, Options{By: "test"})
	if _, err := old.PublishMap(t.Context(), mapTo(t, "ams1")); err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"ams1", "iad2"} {
		_, err := old.StageMap(t.Context(), mapTo(t, m), fivePercent)
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := New(s, Options{By: "test", Force: true}).AdoptCache(t.Context(), cache, true); err != nil {
		t.Fatal(err)
	}
	v, err := LoadCanary(t.Context(), s, "edge")
	if err != nil || v == nil || v.Value.Rule().Share != 500 || v.Head.Serial <= 1 {
		t.Fatalf("the store has the canary %+v, %v; want the cache's under a higher serial", v, err)
	}
}

func TestForgedCanaryIsNotPromoted(t *testing.T) {
	s := newStore(t)
	mustApply(t, s, "ams1", "iad2")
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signed := New(s, Options{By: "test", Keys: dataset.Keys{Sign: key}})
	if _, err := signed.PublishMap(t.Context(), mapTo(t, "ams1")); err != nil {
		t.Fatal(err)
	}
	if _, err := New(s, Options{By: "thief"}).StageMap(t.Context(), mapTo(t, "iad2"), fivePercent); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"promote": func() error { _, err := signed.PromoteMap(t.Context(), "edge"); return err },
		"raise": func() error {
			_, err := signed.SetCanary(t.Context(), "edge", func(steer.CanaryRule) steer.CanaryRule { return steer.CanaryRule{Share: steer.All} })
			return err
		},
	} {
		var r dataset.Refusal
		if err := do(); !errors.As(err, &r) || r.Reason != dataset.ReasonSigned {
			t.Errorf("%s: %v, want a refusal for the signature", name, err)
		}
	}
}
