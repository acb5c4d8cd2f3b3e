package dir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"github.com/popdns/popdns/internal/store"
)

// record is one node as its file holds it. Its owner is the session that an ephemeral node belongs to, 0 for other nodes.
type record struct {
	version           int32
	created, modified int64
	owner             uint64
	data              []byte
}

// The file of a node, numbers big-endian: magic[4], version u32, created u64, modified u64, owner u64, length of the data u32, CRC-32C of the data,
// CRC-32C of the header so far; then the data. The header has a checksum of its own because listing children reads only headers.
const (
	nodeMagic  = "pdn\x01"
	headerSize = 44
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errCorrupt means that a file of the store does not hold what the store wrote.
var errCorrupt = store.ErrCorrupt

func encodeNode(r record) []byte {
	b := make([]byte, 0, headerSize+len(r.data))
	b = append(b, nodeMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(r.version))  //nolint:gosec // the bits are kept
	b = binary.BigEndian.AppendUint64(b, uint64(r.created))  //nolint:gosec // the bits are kept
	b = binary.BigEndian.AppendUint64(b, uint64(r.modified)) //nolint:gosec // the bits are kept
	b = binary.BigEndian.AppendUint64(b, r.owner)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.data))) //nolint:gosec // at most store.MaxNodeBytes
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(r.data, castagnoli))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return append(b, r.data...)
}

// decodeHeader reads a header; size is the length of the data that should follow.
func decodeHeader(b []byte) (r record, size int, sum uint32, err error) {
	if len(b) < headerSize || string(b[:4]) != nodeMagic || crc32.Checksum(b[:40], castagnoli) != binary.BigEndian.Uint32(b[40:]) {
		return record{}, 0, 0, errCorrupt
	}
	length := binary.BigEndian.Uint32(b[32:])
	if length > store.MaxNodeBytes {
		return record{}, 0, 0, errCorrupt
	}
	r = record{
		version:  int32(binary.BigEndian.Uint32(b[4:])),  //nolint:gosec // the bits are kept
		created:  int64(binary.BigEndian.Uint64(b[8:])),  //nolint:gosec // the bits are kept
		modified: int64(binary.BigEndian.Uint64(b[16:])), //nolint:gosec // the bits are kept
		owner:    binary.BigEndian.Uint64(b[24:]),
	}
	return r, int(length), binary.BigEndian.Uint32(b[36:]), nil
}

// decodeNode reads a whole file. The record's data aliases b.
func decodeNode(b []byte) (record, error) {
	r, size, sum, err := decodeHeader(b)
	if err != nil {
		return record{}, err
	}
	if data := b[headerSize:]; len(data) == size && crc32.Checksum(data, castagnoli) == sum {
		r.data = data
		return r, nil
	}
	return record{}, errCorrupt
}

// readNode reads the file of the node at path; whole tells whether to read the data too. The error is store.ErrNoNode when there is no such file.
func (s *Store) readNode(path string, whole bool) (record, error) {
	name := store.Join(path, nodeFile)
	f, err := s.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, store.ErrNoNode
	}
	if err != nil {
		return record{}, err
	}
	defer func() { _ = f.Close() }()
	limit := headerSize
	if whole {
		limit += store.MaxNodeBytes
	}
	b, err := readAtMost(f, limit)
	if err != nil {
		return record{}, err
	}
	var r record
	if whole {
		r, err = decodeNode(b)
	} else {
		r, _, _, err = decodeHeader(b)
	}
	if err != nil {
		return record{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return r, nil
}

// readAtMost reads up to limit bytes of a file into a buffer of its size.
func readAtMost(f *os.File, limit int) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file: %w", f.Name(), errCorrupt)
	}
	b := make([]byte, min(info.Size(), int64(limit)))
	n, err := io.ReadFull(f, b)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return b[:n], nil
}

// writeFile replaces the file name by way of the file temp in the same directory, durably: when it returned nil, the new content survives a power
// failure; when it failed, the old content stands unless the error wraps store.ErrUnknownOutcome.
func (s *Store) writeFile(name, temp string, content []byte) error {
	f, err := s.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := s.step("rename"); err != nil {
		return err
	}
	if err := s.root.Rename(temp, name); err != nil {
		return err
	}
	if err := s.syncDir(store.Parent(name)); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnknownOutcome, err)
	}
	return nil
}

// syncDir makes the entries of the directory at path durable.
func (s *Store) syncDir(path string) error {
	if path == "" {
		path = "."
	}
	f, err := s.root.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
