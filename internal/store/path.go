package store

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bounds of a path in bytes: what a file name may have on every usual file system, and a depth that no layout of ours comes near.
const (
	MaxNameBytes = 255
	MaxPathBytes = 2048
)

// CheckPath reports whether path may be used with a Store. The empty path is the root. Otherwise it is one or more names joined by "/", each 1 to
// 255 bytes of UTF-8 without control characters and not beginning with a dot (the directory store keeps its own files under such names, and
// "." and ".." would leave the tree). The error wraps ErrInvalidPath.
func CheckPath(path string) error {
	if path == "" {
		return nil
	}
	if len(path) > MaxPathBytes {
		return fmt.Errorf("path of %d bytes, at most %d: %w", len(path), MaxPathBytes, ErrInvalidPath)
	}
	for name := range strings.SplitSeq(path, "/") {
		if why := badName(name); why != "" {
			return fmt.Errorf("path %q: name %q %s: %w", path, name, why, ErrInvalidPath)
		}
	}
	return nil
}

func badName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case name[0] == '.':
		return "begins with a dot"
	case len(name) > MaxNameBytes:
		return fmt.Sprintf("is longer than %d bytes", MaxNameBytes)
	case !utf8.ValidString(name):
		return "is not UTF-8"
	}
	for _, r := range name {
		// ZooKeeper's own list (PathUtils.validatePath): control characters, one private area and the specials.
		if r <= 0x1f || r >= 0x7f && r <= 0x9f || r >= 0xf000 && r <= 0xf8ff || r >= 0xfff0 && r <= 0xffff {
			return fmt.Sprintf("has the character %U", r)
		}
	}
	return ""
}

// Join joins names or paths with "/", leaving out empty ones.
func Join(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('/')
		}
		b.WriteString(p)
	}
	return b.String()
}

// Parent returns the path above path; the root is its own parent.
func Parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}

// Base returns the last name of path.
func Base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
