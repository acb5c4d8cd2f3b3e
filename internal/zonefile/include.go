package zonefile

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// includes is the fs.FS that the parser opens $INCLUDE files with. It gives every included file a scanner of its own and
// keeps the stack of those that are open, because the parser does not tell which file a record came from. An os.Root
// keeps paths with .. and links inside the folder of the zone file.
type includes struct {
	dir     string // for messages
	allowed bool
	root    *os.Root
	main    *scanner
	stack   []*included
	closed  []*included // by the present call of Next: an error's file is closed before the error is seen
	onStray func(mark)
}

// included is an fs.File that is also the io.ByteReader that the lexer wants.
type included struct {
	*scanner
	f    fs.File
	from *includes
}

var (
	errNoInclude   = errors.New("only a zone file that is read from a path may include others")
	errAbsolute    = errors.New("the path is absolute; give it relative to the zone file's folder")
	errNotRelative = errors.New("the path leaves the zone file's folder")
)

// allowed tells whether file names a place in the file system: standard input and unnamed readers have no folder.
func allowed(file string) bool {
	return file != "" && file != "-" && !strings.HasPrefix(file, "<")
}

func newIncludes(file string, main *scanner, onStray func(mark)) *includes {
	return &includes{dir: filepath.Dir(file), allowed: allowed(file), main: main, onStray: onStray}
}

// Open implements fs.FS. The parser has made name relative to the including file and has stripped leading slashes.
func (in *includes) Open(name string) (fs.File, error) {
	if !in.allowed {
		return nil, errNoInclude
	}
	if _, args := in.active().current().verb(); len(args) > 0 && path.IsAbs(args[0]) {
		return nil, errAbsolute
	}
	if !fs.ValidPath(name) {
		return nil, errNotRelative
	}
	if in.root == nil {
		root, err := os.OpenRoot(in.dir)
		if err != nil {
			return nil, err
		}
		in.root = root
	}
	f, err := in.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	sc := newScanner(f, filepath.Join(in.dir, filepath.FromSlash(name)), name)
	sc.onStray = in.onStray
	one := &included{scanner: sc, f: f, from: in}
	in.stack = append(in.stack, one)
	return one, nil
}

// active is the scanner of the file that is being read now.
func (in *includes) active() *scanner {
	if n := len(in.stack); n > 0 {
		return in.stack[n-1].scanner
	}
	return in.main
}

// broken is the scanner that could not read on, nil if none.
func (in *includes) broken() *scanner {
	for _, one := range slices.Concat(in.closed, in.stack) {
		if one.failed != nil {
			return one.scanner
		}
	}
	if in.main.failed != nil {
		return in.main
	}
	return nil
}

// failed is the scanner of the file that the parser's error message begins with.
func (in *includes) failed(message string) *scanner {
	for _, one := range in.closed {
		if strings.HasPrefix(message, one.name+": ") {
			return one.scanner
		}
	}
	return in.main
}

// close closes what an abandoned parser has left open.
func (in *includes) close() {
	for len(in.stack) > 0 {
		in.stack[len(in.stack)-1].Close()
	}
	if in.root != nil {
		in.root.Close()
	}
}

// Stat implements fs.File.
func (f *included) Stat() (fs.FileInfo, error) { return f.f.Stat() }

// Close implements fs.File. Included files are closed in the reverse order of their opening.
func (f *included) Close() error {
	in := f.from
	if n := len(in.stack); n > 0 && in.stack[n-1] == f {
		in.stack = in.stack[:n-1]
		in.closed = append(in.closed, f)
	}
	return f.f.Close()
}
