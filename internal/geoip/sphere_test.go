package geoip

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/popdns/popdns/internal/steer"
)

// haversine is the distance in degrees of a great circle, in floating point.
func haversine(a, b point) float64 {
	rad := func(x int32) float64 { return float64(x) / degree * math.Pi / 180 }
	s := func(x float64) float64 { return math.Sin(x/2) * math.Sin(x/2) }
	h := s(rad(a.lat)-rad(b.lat)) + math.Cos(rad(a.lat))*math.Cos(rad(b.lat))*s(rad(a.lon)-rad(b.lon))
	return 2 * math.Asin(math.Min(1, math.Sqrt(h))) * 180 / math.Pi
}

func randomPoint(r *rand.Rand) point {
	if r.IntN(8) == 0 { // poles, the date line, the equator
		return point{int32(r.IntN(3)-1) * quarter, int32(r.IntN(5)-2) * quarter}
	}
	return point{int32(r.IntN(2*quarter+1) - quarter), int32(r.IntN(4*quarter+1) - 2*quarter)}
}

func TestSineIsTheSine(t *testing.T) {
	for a := int32(-2 * quarter); a <= 2*quarter; a += 9_973 {
		if got, want := float64(sine(a))/one, math.Sin(float64(a)/degree*math.Pi/180); math.Abs(got-want) > 1e-10 {
			t.Fatalf("sine of %d microdegrees is %v, want %v", a, got, want)
		}
	}
}

func TestArcIsTheHaversine(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		a, b := randomPoint(r), randomPoint(r)
		if r.IntN(4) == 0 { // near each other
			b = point{min(quarter, a.lat+int32(r.IntN(100_000))), a.lon}
		}
		got, want := float64(arc(a.vector().chord(b.vector())))/degree, haversine(a, b)
		// Vectors have 30 bits, which is nothing but next door and at the antipodes, where a metre of chord is kilometres of arc.
		tolerance := 1e-5
		if want < 0.01 || want > 179 {
			tolerance = 0.02
		}
		if math.Abs(got-want) > tolerance {
			t.Fatalf("from %v to %v: got %v degrees, want %v", a, b, got, want)
		}
	}
}

// TestDistancesAreTheSameOnEveryMachine fixes some results for ever: an edge with another processor must come to the same lists.
func TestDistancesAreTheSameOnEveryMachine(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	sum := uint64(14695981039346656037)
	for range 10_000 {
		a, b := randomPoint(r), randomPoint(r)
		chord := a.vector().chord(b.vector())
		for _, x := range []uint64{chord, uint64(arc(chord)), biased(arc(chord), 10), biased(arc(chord), -10)} {
			sum = (sum ^ x) * 1099511628211
		}
	}
	if got := fmt.Sprintf("%016x", sum); got != "312305744fe8ad5e" {
		t.Errorf("distances have changed: checksum %s", got)
	}
}

func randomPoPs(tb testing.TB, r *rand.Rand, n int) *steer.PoPs {
	tb.Helper()
	list := make([]steer.PoP, 0, n)
	for i := range n {
		p := randomPoint(r)
		list = append(list, steer.PoP{Name: fmt.Sprintf("pop%d", i), Lat: float64(p.lat) / degree, Lon: float64(p.lon) / degree})
	}
	pops, err := steer.NewPoPs(1, list)
	if err != nil {
		tb.Fatal(err)
	}
	return pops
}

func TestNearestIsWhatSortingAllByDistanceFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		pops := randomPoPs(t, r, 1+r.IntN(40))
		near := &Near{Count: 1 + r.IntN(6), Bias: map[string]Bias{}}
		for p := range pops.All() {
			if hasPlace(p) && r.IntN(4) == 0 {
				near.Bias[p.Name] = Bias{Percent: r.IntN(2*MaxBias+1) - MaxBias}
			}
		}
		if len(placed(pops)) == 0 {
			continue
		}
		l := newLocator(near, pops)
		for range 50 {
			at := randomPoint(r)
			distance := func(name string) float64 {
				p, _ := pops.Get(name)
				there, _ := pointAt(p.Lat, p.Lon)
				d, b := haversine(at, there), float64(near.Bias[name].Percent)
				if b < 0 {
					return d / (1 + b/100)
				}
				return d * (1 - b/100)
			}
			want := make([]float64, 0, pops.Len())
			for _, p := range placed(pops) {
				want = append(want, distance(p.Name))
			}
			slices.Sort(want)
			got := l.nearest(at)
			if len(got) != min(near.Count, len(want)) {
				t.Fatalf("%v has %d pops, want %d of %d", at, len(got), near.Count, len(want))
			}
			for i, name := range got {
				// At the antipodes and next door distances are coarser; a bias multiplies that.
				if d := distance(name); math.Abs(d-want[i]) > 1e-3*max(1, want[i]) {
					t.Fatalf("%v: %d. of %v is %s at %v, want one at %v", at, i+1, got, name, d, want[i])
				}
			}
		}
	}
}

func TestPoPsAtOneDistanceAreInTheOrderOfTheirNames(t *testing.T) {
	pops, err := steer.NewPoPs(1, []steer.PoP{
		{Name: "east", Lat: 0, Lon: 10}, {Name: "west", Lat: 0, Lon: -10}, {Name: "all", Lat: 0, Lon: 10}, {Name: "north", Lat: 10, Lon: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, bias := range []map[string]Bias{nil, {"far": {Percent: 1}}} {
		got := newLocator(&Near{Count: 4, Bias: bias}, pops).nearest(point{})
		if want := []string{"all", "east", "north", "west"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}
