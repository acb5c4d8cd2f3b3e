package zone

import (
	"hash/maphash"
	"math/bits"
)

// seed is the process's own, so that nobody can prepare names that fall into one slot.
var seed = maphash.MakeSeed()

// rootHash is the hash of the root.
const rootHash = 0x9e3779b97f4a7c15

// hashChild is the hash of the name that has label in front of the name with hash parent. Because it goes from the root down, a walk towards a
// name hashes every octet once.
func hashChild(parent uint64, label string) uint64 {
	return (bits.RotateLeft64(parent, 29) ^ maphash.String(seed, label)) * 0xd6e8feb86659fd93
}

func hashName(n Name) uint64 {
	var starts labelStarts
	h := uint64(rootHash)
	for i := starts.fill(n) - 1; i >= 0; i-- {
		h = hashChild(h, n.label(starts[i]))
	}
	return h
}
