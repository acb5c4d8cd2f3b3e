package dataset

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/popdns/popdns/internal/store"
)

// A manifest lists the chunks of an image and says which version it is of.
type manifest struct {
	V    int    `json:"v"`
	Kind string `json:"kind"`
	Name string `json:"name"`
	Revision
	Chunks []chunkRef `json:"chunks"`
}

type chunkRef struct {
	Size   int    `json:"size"`
	SHA256 Digest `json:"sha256"`
}

func newManifest(kind, name string, rev Revision, chunks [][]byte) manifest {
	m := manifest{V: formatVersion, Kind: kind, Name: name, Revision: rev, Chunks: make([]chunkRef, len(chunks))}
	for i, c := range chunks {
		m.Chunks[i] = chunkRef{len(c), sha256.Sum256(c)}
	}
	return m
}

// bytes is what all chunks take.
func (m *manifest) bytes() int64 {
	var total int64
	for _, c := range m.Chunks {
		total += int64(c.Size)
	}
	return total
}

// marshal returns the manifest's bytes and how a head describes the image.
func (m *manifest) marshal() ([]byte, Base, error) {
	base := Base{Serial: m.Serial, Chunks: len(m.Chunks), Bytes: m.bytes()}
	for i, c := range m.Chunks {
		if c.Size > MaxChunkBytes {
			return nil, Base{}, fmt.Errorf("chunk %d has %d bytes, at most %d", i, c.Size, MaxChunkBytes)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, Base{}, fmt.Errorf("manifest: %w", err)
	}
	base.SHA256 = sha256.Sum256(b)
	return b, base, base.check()
}

// parseManifest reads the manifest of the image that base describes. The error is a Refusal.
func parseManifest(b []byte, kind, name string, base Base) (manifest, error) {
	fail := func(format string, args ...any) (manifest, error) {
		return manifest{}, refuse(ReasonBase, "manifest: %w", fmt.Errorf(format, args...))
	}
	if sha256.Sum256(b) != base.SHA256 {
		return fail("damaged: its SHA-256 is not the head's")
	}
	var m manifest
	if err := decodeJSON(b, store.MaxNodeBytes, &m); err != nil {
		return fail("%w", err)
	}
	switch {
	case m.V != formatVersion:
		return fail("format %d, this program reads %d", m.V, formatVersion)
	case m.Kind != kind || m.Name != name:
		return fail("is of %s %s", m.Kind, m.Name)
	case m.Serial != base.Serial:
		return fail("is of serial %d, want %d", m.Serial, base.Serial)
	case len(m.Chunks) != base.Chunks:
		return fail("lists %d chunks, want %d", len(m.Chunks), base.Chunks)
	}
	for i, c := range m.Chunks {
		if c.Size < 0 || c.Size > MaxChunkBytes {
			return manifest{}, refuse(ReasonSize, "manifest: chunk %d of %d bytes, at most %d", i, c.Size, MaxChunkBytes)
		}
	}
	return m, nil
}
