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

// hashPath hashes names that come in canonical order: what a name has in common with the one before was hashed then.
type hashPath struct {
	names  []Name // the last name and its ancestors below the root, from the top
	hashes []uint64
}

func (p *hashPath) hash(n Name) uint64 {
	depth := len(p.names)
	for depth > 0 && !n.IsSubdomainOf(p.names[depth-1]) {
		depth--
	}
	p.names, p.hashes = p.names[:depth], p.hashes[:depth]
	h, known := uint64(rootHash), len(Root)
	if depth > 0 {
		h, known = p.hashes[depth-1], len(p.names[depth-1])
	}
	var starts labelStarts
	missing := 0
	for i := 0; len(n)-i > known; i += 1 + int(n[i]) {
		starts[missing] = uint8(i)
		missing++
	}
	for missing--; missing >= 0; missing-- {
		h = hashChild(h, n.label(starts[missing]))
		p.names, p.hashes = append(p.names, n[starts[missing]:]), append(p.hashes, h)
	}
	return h
}
