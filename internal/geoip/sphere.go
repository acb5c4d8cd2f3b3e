package geoip

import (
	"math"
	"math/bits"
	"sort"
)

// Distances are reckoned in integers. Floating point may differ in the last bit from processor to processor (fused multiply-add,
// sines in assembly), and then two edges would send one client to two PoPs.

// point is a place on the globe in microdegrees, which are 11 cm at most.
type point struct{ lat, lon int32 }

const (
	degree  = 1_000_000
	quarter = 90 * degree
)

// pointAt returns the place at these coordinates in degrees; ok is false if they are outside the globe or no numbers.
func pointAt(lat, lon float64) (p point, ok bool) {
	if !(math.Abs(lat) <= 90) || !(math.Abs(lon) <= 180) { // written so that NaN fails
		return p, false
	}
	return point{int32(math.Round(lat * degree)), int32(math.Round(lon * degree))}, true
}

// one is the 1 of sines: they have 60 bits after the point.
const (
	one   = 1 << 60
	short = 30 // bits after the point of vectors
)

// radian is a microdegree in radians, π/180,000,000, with 60 bits after the point.
const radian = 20122276272

// sine returns the sine of an angle of -180 to 180 degrees, by its Taylor series.
func sine(a int32) int64 {
	switch {
	case a < 0:
		return -sine(-a)
	case a > quarter:
		a = 2*quarter - a
	}
	x := uint64(a) * radian
	square := multiply(x, x)
	sum, term := int64(0), x
	for k := uint64(2); term > 0; k += 2 {
		if k&2 != 0 {
			sum += int64(term)
		} else {
			sum -= int64(term)
		}
		term = multiply(term, square) / (k * (k + 1))
	}
	return sum
}

func cosine(a int32) int64 {
	if a < 0 {
		a = -a
	}
	return sine(quarter - a)
}

// multiply is the product of two numbers with 60 bits after the point.
func multiply(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi<<4 | lo>>60
}

// vector is a place as the end of an arrow from the centre of the globe, of length 1 with 30 bits after the point.
type vector struct{ x, y, z int64 }

func (p point) vector() vector {
	c := cosine(p.lat) >> short
	return vector{c * (cosine(p.lon) >> short) >> short, c * (sine(p.lon) >> short) >> short, sine(p.lat) >> short}
}

// chord returns the square of the straight distance between two places: it orders pairs of places as their distance does, and costs
// three multiplications. It has 60 bits after the point and is 4 at most.
func (v vector) chord(o vector) uint64 {
	x, y, z := v.x-o.x, v.y-o.y, v.z-o.z
	return uint64(x*x + y*y + z*z) //nolint:gosec // a sum of squares, at most 2^62
}

// arc returns the distance along the globe that belongs to a chord, in microdegrees of a great circle. Half the chord is the sine of
// half the arc.
func arc(chord uint64) int64 {
	half := sort.Search(quarter, func(a int) bool {
		s := uint64(sine(int32(a)) >> short) //nolint:gosec // 0 to one
		return 4*s*s >= chord
	})
	return 2 * int64(half)
}
