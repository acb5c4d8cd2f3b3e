package dataset

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
)

// maxEntryHeaderBytes bounds the JSON line before a delta; the longest texts, every byte escaped, come to half of it.
const maxEntryHeaderBytes = 16 << 10

// An entry is a log node: one JSON line that says what the commit was, then the delta.
type entry struct {
	header entryHeader
	delta  []byte
}

type entryHeader struct {
	V    int    `json:"v"`
	From uint32 `json:"from"`
	Revision
	SHA256 Digest `json:"sha256"` // of the delta
}

func (e *entry) marshal() ([]byte, error) {
	e.header.V = formatVersion
	e.header.SHA256 = sha256.Sum256(e.delta)
	line, err := json.Marshal(e.header)
	if err != nil {
		return nil, fmt.Errorf("log entry %d: %w", e.header.Serial, err)
	}
	return append(append(line, '\n'), e.delta...), nil
}

// parseEntry reads and checks the log node of step s. The error is a Refusal.
func parseEntry(b []byte, s step) (entry, error) {
	fail := func(format string, args ...any) (entry, error) {
		return entry{}, refuse(ReasonDelta, "log entry %d: %w", s.to, fmt.Errorf(format, args...))
	}
	if len(b) > maxEntryHeaderBytes+MaxDeltaBytes {
		return entry{}, refuse(ReasonSize, "log entry %d: %d bytes, at most %d", s.to, len(b), maxEntryHeaderBytes+MaxDeltaBytes)
	}
	line, delta, ok := bytes.Cut(b, []byte{'\n'})
	if !ok {
		return fail("no header line")
	}
	e := entry{delta: delta}
	if err := decodeJSON(line, maxEntryHeaderBytes, &e.header); err != nil {
		return fail("header: %w", err)
	}
	if e.header.V != formatVersion {
		return fail("format %d, this program reads %d", e.header.V, formatVersion)
	}
	if e.header.From != s.from || e.header.Serial != s.to {
		return fail("holds the change %d→%d, want %d→%d", e.header.From, e.header.Serial, s.from, s.to)
	}
	if err := e.header.check(); err != nil {
		return fail("header: %w", err)
	}
	if len(delta) > MaxDeltaBytes {
		return entry{}, refuse(ReasonSize, "log entry %d: delta of %d bytes, at most %d", s.to, len(delta), MaxDeltaBytes)
	}
	if sha256.Sum256(delta) != e.header.SHA256 {
		return fail("delta is damaged: its SHA-256 is not the header's")
	}
	return e, nil
}
