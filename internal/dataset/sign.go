package dataset

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
)

// Keys say in whose name to write and whose word to take. The zero value neither signs nor verifies.
//
// A signed node is one line, "ed25519 " and the signature in base64, and then the node's JSON as it would be without. What is signed is
// the node's purpose and that JSON, byte for byte, so there is nothing to canonicalise.
type Keys struct {
	Sign   ed25519.PrivateKey // nil: what is written is not signed
	Verify PublicKeys         // "": signatures aren't looked at, unless Sign is set
}

// PublicKeys are ed25519 public keys, each of ed25519.PublicKeySize bytes, one after the other. A string, so that it can be compared.
type PublicKeys string

// What a signature is for: one node's can't be passed off as another's. None is the beginning of another.
const (
	headPurpose      = "popdns head\n"
	heartbeatPurpose = "popdns heartbeat\n"
	clusterPurpose   = "popdns cluster\n"
)

const (
	signaturePrefix = "ed25519 "
	// signatureBytes is the length of a signature's line: prefix, base64, newline.
	signatureBytes = len(signaturePrefix) + (ed25519.SignatureSize+2)/3*4 + 1
)

var (
	errUnsigned = errors.New("it is not signed")
	errSigner   = errors.New("its signature is of none of the keys that are trusted")
)

// trusted are the keys that may have signed what is read. A writer takes no unsigned version for the ground of one that it signs: who
// can write to the store could otherwise have anything signed by waiting for the next change.
func (k Keys) trusted() PublicKeys {
	if k.Sign == nil {
		return k.Verify
	}
	own, _ := k.Sign.Public().(ed25519.PublicKey)
	return k.Verify + PublicKeys(own)
}

// seal returns the node with body in it.
func (k Keys) seal(purpose string, body []byte) []byte {
	if k.Sign == nil {
		return body
	}
	sig := ed25519.Sign(k.Sign, append([]byte(purpose), body...))
	line := base64.StdEncoding.AppendEncode([]byte(signaturePrefix), sig)
	return append(append(line, '\n'), body...)
}

// verify checks that node is signed for purpose by a trusted key, if there are any.
func (k Keys) verify(purpose string, node []byte) error {
	trusted := k.trusted()
	if trusted == "" {
		return nil
	}
	if !bytes.HasPrefix(node, []byte(signaturePrefix)) || len(node) < signatureBytes || node[signatureBytes-1] != '\n' {
		return errUnsigned
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(string(node[len(signaturePrefix) : signatureBytes-1]))
	if err != nil {
		return errUnsigned
	}
	message := append([]byte(purpose), node[signatureBytes:]...)
	for ; len(trusted) >= ed25519.PublicKeySize; trusted = trusted[ed25519.PublicKeySize:] {
		if ed25519.Verify(ed25519.PublicKey(trusted[:ed25519.PublicKeySize]), message, sig) {
			return nil
		}
	}
	return errSigner
}

// body returns what a signature line precedes, or the node if there is none.
func body(node []byte) []byte {
	if bytes.HasPrefix(node, []byte(signaturePrefix)) && len(node) >= signatureBytes {
		return node[signatureBytes:]
	}
	return node
}

// follow returns the chain after a delta. The set's hash adds up items and is no defence against items that were chosen for it; the
// chain is one, and lets a signed head vouch for the changes that lead to it.
func (d Digest) follow(delta []byte) Digest {
	sum := sha256.Sum256(delta)
	return sha256.Sum256(append(d[:], sum[:]...))
}

// followImage returns the chain after a version that comes as an image alone. What is hashed is never as long as for a delta.
func (d Digest) followImage(chunks []chunkRef) Digest {
	b := append([]byte("image"), d[:]...)
	for _, c := range chunks {
		b = append(b, c.SHA256[:]...)
	}
	return sha256.Sum256(b)
}

// followAll returns the chain after deltas.
func (d Digest) followAll(deltas []delta) Digest {
	for _, next := range deltas {
		d = d.follow(next.bytes)
	}
	return d
}
