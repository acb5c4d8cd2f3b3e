package dataset

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/popdns/popdns/internal/store"
)

// PoPsPath is the path of the PoP table, which is one dataset.
const PoPsPath = "pops"

const (
	zonesDir = "zones"
	mapsDir  = "maps"
	// canariesDir is beside maps, not inside, because a canary is no map of the catalog.
	canariesDir = "canaries"
	rootKey     = "@"
)

// ZonePath returns the path of a zone's dataset: "zones/" and the zone's name in lower case, without the trailing dot, the
// root as "@". Bytes other than letters, digits, "-" and "_" are written %XX, so that a name is always one path component.
// origin is a name in presentation form (RFC 1035 section 5.1, escapes included), with or without its trailing dot.
func ZonePath(origin string) string {
	return store.Join(zonesDir, zoneKey(origin))
}

// MapPath returns the path of a map's dataset. Bytes are written as in ZonePath, the case stays.
func MapPath(name string) string { return store.Join(mapsDir, mapKey(name)) }

// CanaryPath returns the path of the dataset that holds a version of the map which is staged beside it.
func CanaryPath(name string) string { return store.Join(canariesDir, mapKey(name)) }

func mapKey(name string) string {
	var b strings.Builder
	for i := range len(name) {
		appendKeyByte(&b, name[i])
	}
	return b.String()
}

// ZoneKey returns the key of the zone whose dataset is at path; see ZoneName.
func ZoneKey(path string) (key string, ok bool) { return strings.CutPrefix(path, zonesDir+"/") }

func zoneKey(origin string) string {
	var b strings.Builder
	for i := 0; i < len(origin); i++ {
		c := origin[i]
		switch {
		case c == '.':
			b.WriteByte('.')
			continue
		case c == '\\' && i+3 < len(origin) && isDecimal(origin[i+1:i+4]):
			n, _ := strconv.Atoi(origin[i+1 : i+4])
			c, i = byte(n), i+3 //nolint:gosec // isDecimal checked the range
		case c == '\\' && i+1 < len(origin):
			i++
			c = origin[i]
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		appendKeyByte(&b, c)
	}
	key := strings.TrimSuffix(b.String(), ".")
	if key == "" {
		return rootKey
	}
	return key
}

func isDecimal(digits string) bool {
	n, err := strconv.ParseUint(digits, 10, 8)
	return err == nil && n <= 255
}

func appendKeyByte(b *strings.Builder, c byte) {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		b.WriteByte(c)
	default:
		fmt.Fprintf(b, "%%%02X", c)
	}
}

// ZoneName returns the name of the zone whose key is the last component of a zone's path, in presentation form with the
// trailing dot. It is the inverse of ZonePath.
func ZoneName(key string) string {
	if key == rootKey {
		return "."
	}
	var b strings.Builder
	for i := 0; i < len(key); i++ {
		if key[i] == '%' && i+2 < len(key) {
			if c, err := strconv.ParseUint(key[i+1:i+3], 16, 8); err == nil {
				appendPresentation(&b, byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(key[i])
	}
	b.WriteByte('.')
	return b.String()
}

// appendPresentation escapes one byte of a label as miekg/dns does.
func appendPresentation(b *strings.Builder, c byte) {
	switch {
	case c <= ' ' && c != ' ', c > '~':
		fmt.Fprintf(b, "\\%03d", c)
	case strings.IndexByte(`. '@;()"\`, c) >= 0:
		b.WriteByte('\\')
		b.WriteByte(c)
	default:
		b.WriteByte(c)
	}
}

// MapName returns the name of the map whose key is the last component of a map's path. It is the inverse of MapPath.
func MapName(key string) string {
	name, err := url.PathUnescape(key)
	if err != nil {
		return key
	}
	return name
}

// ListPaths lists the datasets below r's root that have a path of their own, whether a catalog names them or not: a disk cache has none. PoPs come first, then
// maps, what is staged beside them, then zones: each refers to those before it.
func ListPaths(ctx context.Context, r store.Reader) ([]string, error) {
	paths := []string{PoPsPath}
	for _, dir := range []string{mapsDir, canariesDir, zonesDir} {
		keys, err := r.Children(ctx, dir)
		if err != nil && !errors.Is(err, store.ErrNoNode) {
			return nil, fmt.Errorf("list the %s: %w", dir, err)
		}
		for _, key := range keys {
			paths = append(paths, store.Join(dir, key))
		}
	}
	return paths, nil
}

// SplitPath returns the kind of a dataset's path ("zones", "maps", "canaries", "pops") and its key, "" for the PoP table.
func SplitPath(path string) (kind, key string) {
	kind, key, _ = strings.Cut(path, "/")
	return kind, key
}

// The nodes of a dataset.

func headPath(path string) string { return store.Join(path, "head") }
func specPath(path string) string { return store.Join(path, "spec") }
func lockPath(path string) string { return store.Join(path, "lock") }
func logDir(path string) string   { return store.Join(path, "log") }
func baseDir(path string) string  { return store.Join(path, "base") }

// removedPath is the last head of a dataset that was removed.
func removedPath(path string) string { return store.Join(path, "removed") }

func historyDir(path string) string { return store.Join(path, "history") }

func logPath(path string, serial uint32) string {
	return store.Join(logDir(path), fmt.Sprintf("%010d", serial))
}

func genPath(path string, gen int64) string {
	return store.Join(baseDir(path), strconv.FormatInt(gen, 10))
}

func manifestPath(path string, gen int64) string {
	return store.Join(genPath(path, gen), "m")
}

func chunkPath(path string, gen int64, n int) string {
	return store.Join(genPath(path, gen), fmt.Sprintf("%04d", n))
}

func historyPath(path string, gen int64) string {
	return store.Join(historyDir(path), strconv.FormatInt(gen, 10))
}
