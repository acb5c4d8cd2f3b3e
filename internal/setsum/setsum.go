// Package setsum hashes a set so that the order of its items does not matter and one change costs one hash.
//
// A [Sum] is the sum modulo 2^256 of the SHA-256 of every item (AdHash: Bellare and Micciancio, "A new paradigm for
// collision-free hashing", 1997). A writer states the sum of a whole zone in its head; a reader that applied a delta of two
// records compares after two hashes, not after a million. It finds corruption, lost deltas and codec faults. It is no
// defence against someone who may choose the items: a generalised-birthday search finds collisions, so signed heads are
// that defence.
package setsum

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
)

// Sum is the hash of a set, a big-endian number. The zero value is the sum of the empty set. Sums of the same set are equal
// as Go values. A Sum may be copied; its methods that change it must not be called concurrently.
//
// Items are a multiset to the arithmetic: the caller adds each item once, and removes only what it added.
type Sum [32]byte

// Add puts item into the set.
func (s *Sum) Add(item []byte) {
	s.Merge(sha256.Sum256(item))
}

// Remove takes item out of the set; it undoes one Add of the same bytes.
func (s *Sum) Remove(item []byte) {
	d := Sum(sha256.Sum256(item))
	var borrow uint64
	for i := len(s) - 8; i >= 0; i -= 8 {
		var limb uint64
		limb, borrow = bits.Sub64(binary.BigEndian.Uint64(s[i:]), binary.BigEndian.Uint64(d[i:]), borrow)
		binary.BigEndian.PutUint64(s[i:], limb)
	}
}

// Merge adds every item of the set that o sums: the sum of a union of disjoint parts is the merge of the parts' sums,
// which is how a big set is summed by several goroutines.
func (s *Sum) Merge(o Sum) {
	var carry uint64
	for i := len(s) - 8; i >= 0; i -= 8 {
		var limb uint64
		limb, carry = bits.Add64(binary.BigEndian.Uint64(s[i:]), binary.BigEndian.Uint64(o[i:]), carry)
		binary.BigEndian.PutUint64(s[i:], limb)
	}
}

// String returns the sum as 64 lower-case hexadecimal digits.
func (s Sum) String() string {
	return hex.EncodeToString(s[:])
}

// MarshalText implements encoding.TextMarshaler with the form of String, which is how a sum stands in JSON.
func (s Sum) MarshalText() ([]byte, error) {
	return []byte(s.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what Parse accepts.
func (s *Sum) UnmarshalText(digits []byte) error {
	parsed, err := Parse(string(digits))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

// Parse reads what String writes: exactly 64 hexadecimal digits.
func Parse(digits string) (Sum, error) {
	var s Sum
	if len(digits) != hex.EncodedLen(len(s)) {
		return Sum{}, fmt.Errorf("set sum of %d digits, want %d", len(digits), hex.EncodedLen(len(s)))
	}
	if _, err := hex.Decode(s[:], []byte(digits)); err != nil {
		return Sum{}, fmt.Errorf("set sum: %w", err)
	}
	return s, nil
}
