package mapfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/popdns/popdns/internal/finding"
)

// Bounds on files. YAML is parsed into a tree of some twenty times the file's size, JSON is streamed.
const (
	maxJSONBytes = 1 << 30
	maxYAMLBytes = 256 << 20
)

// value is a part of a document, YAML or JSON. A mapping or a list can be walked once; the errors say what the value is instead
// ("is a list").
type value interface {
	line() int
	pairs(yield func(key string, line int, v value)) error
	items(yield func(v value)) error
	text() (s string, ok bool) // of a scalar other than null
	null() bool
}

// readDocument parses r and has top look at it. Its error is errs unless reading itself failed.
func readDocument(r io.Reader, errs *finding.List, top func(value)) error {
	data, err := io.ReadAll(io.LimitReader(r, maxJSONBytes+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", errs.File, err)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if len(data) > maxJSONBytes {
		return fmt.Errorf("%s: %w, at most %d bytes", errs.File, errTooBig, maxJSONBytes)
	}
	// A JSON object is YAML too, but a hundred thousand rows load several times as fast as a stream. YAML's own flow
	// mapping begins with a brace as well: what is no JSON may still be that.
	if isJSON(data) {
		return readJSON(data, errs, top)
	}
	if len(data) > maxYAMLBytes {
		return fmt.Errorf("%s: %w for YAML, at most %d bytes: JSON may have %d", errs.File, errTooBig, maxYAMLBytes, maxJSONBytes)
	}
	return readYAML(data, errs, top)
}

// wrongKind is what a value is instead of what was wanted.
func wrongKind(is string) error { return errors.New("is " + is) }
