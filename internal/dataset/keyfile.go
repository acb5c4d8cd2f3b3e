package dataset

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

const (
	publicKeyBlock  = "PUBLIC KEY"  // SubjectPublicKeyInfo, RFC 8410
	privateKeyBlock = "PRIVATE KEY" // PKCS #8, RFC 8410
)

// maxPublicKeys bounds what a head's signature is compared with: an old and a new key for each of a few writers.
const maxPublicKeys = 16

// ParsePublicKeys reads PEM blocks of ed25519 public keys, at least one and nothing else.
func ParsePublicKeys(data []byte) (PublicKeys, error) {
	var keys PublicKeys
	for n := 1; ; n++ {
		block, rest := pem.Decode(data)
		switch {
		case block == nil && n == 1:
			return "", errors.New("holds no PEM block: want the .pub file of popctl key generate")
		case block == nil:
			return keys, nil
		case block.Type != publicKeyBlock:
			return "", fmt.Errorf("block %d is a %s, want only %s", n, block.Type, publicKeyBlock)
		case n > maxPublicKeys:
			return "", fmt.Errorf("holds more than %d keys", maxPublicKeys)
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return "", fmt.Errorf("block %d: %w", n, err)
		}
		key, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return "", fmt.Errorf("block %d is of another algorithm, want ed25519", n)
		}
		keys, data = keys+PublicKeys(key), rest
	}
}

// ParsePrivateKey reads one PEM block with an ed25519 private key.
func ParsePrivateKey(data []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != privateKeyBlock {
		return nil, errors.New("holds no PEM block " + privateKeyBlock + ": make one with popctl key generate")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("is of another algorithm, want ed25519")
	}
	return key, nil
}

// GenerateKey returns a new private key and its public key, as the files that ParsePrivateKey and ParsePublicKeys read.
func GenerateKey() (private, public []byte, err error) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, nil, err
	}
	p, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	q, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateKeyBlock, Bytes: p}), pem.EncodeToMemory(&pem.Block{Type: publicKeyBlock, Bytes: q}), nil
}
