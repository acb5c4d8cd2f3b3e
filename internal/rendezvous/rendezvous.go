// Package rendezvous makes choices by hash that are the same on every machine and change as little as they can.
//
// Each candidate gets a score from a hash of who chooses and of the candidate's own name ([Sum]); the highest [Weigh] wins (rendezvous hashing,
// Thaler and Ravishankar 1998; the weights as by Schindelhauer and Schomaker 2005). A candidate that goes gives its share to the others
// and moves nobody else; one whose weight grows only takes. Everything is integers: floating point may differ between processors, and two edges that
// disagree make clients flap.
package rendezvous

import "math/bits"

// FNV-1a with 64 bits.
const (
	offset = 14695981039346656037
	prime  = 1099511628211
)

// A Hash is a sum under way. Its functions are fixed for ever: an edge of another version must choose alike.
type Hash uint64

// New begins a hash. Choices of different kinds have different salts, so that they are independent of each other.
func New(salt string) Hash { return Append(offset, salt) }

// Append adds the octets of s.
func Append[S ~string | ~[]byte](h Hash, s S) Hash {
	for i := range len(s) {
		h = h.Byte(s[i])
	}
	return h
}

// Byte adds one octet.
func (h Hash) Byte(b byte) Hash { return (h ^ Hash(b)) * prime }

// Sum ends the hash. FNV-1a's high bits mix too little for short input; hence the finisher of MurmurHash3.
func (h Hash) Sum() uint64 {
	x := uint64(h)
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return x
}

// A Score is a candidate's; see Weigh.
type Score struct {
	cost   uint64 // -log2 of the sum as a fraction of 1, in units of 2^-fractionBits
	weight uint64
}

const fractionBits = 20

// Weigh gives the score of a candidate with this sum and weight, 0 counting as 1. Among scores of independent sums the best is a candidate's with a
// chance in proportion to its weight, and taking the best, the second best and so on draws without replacement.
func Weigh(sum uint64, weight uint32) Score {
	return Score{cost: negLog2(sum), weight: uint64(max(1, weight))}
}

// Beats tells whether s is better than t. It is a strict order but for equal scores.
func (s Score) Beats(t Score) bool {
	// cost/weight is exponentially distributed with the weight as its rate. A cost has 27 bits at most and a weight 32, so nothing overflows.
	return s.cost*t.weight < t.cost*s.weight
}

// negLog2 is -log2((x+1)/2^64), bit by bit: squaring a number in [1,2) gives the next bit of its logarithm.
func negLog2(x uint64) uint64 {
	if x == 1<<64-1 {
		return 0
	}
	x++
	zeros := bits.LeadingZeros64(x)
	m := x << zeros                         // in [2^63, 2^64): a number in [1,2)
	log := uint64(63-zeros) << fractionBits //nolint:gosec // 0 to 63
	for i := fractionBits - 1; i >= 0; i-- {
		if m, _ = bits.Mul64(m, m); m>>63 != 0 { // the square is in [2,4)
			log |= 1 << i
		} else {
			m <<= 1
		}
	}
	return 64<<fractionBits - log
}
