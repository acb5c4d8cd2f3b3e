package dir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"github.com/popdns/popdns/internal/store"
)

// The journal, numbers big-endian: magic[4], CRC-32C of the rest, transaction number u64, count u32; then for each change its flags u8, length
// of the path u16, length of the node's file u32, path, file (empty for a deletion).
const (
	journalMagic = "pdj\x01"
	journalHead  = 20
	entryHead    = 7

	flagDeleted = 1
	flagFresh   = 2

	// maxJournal bounds a journal that is read: the data of one commit, and for each operation a header and a path of greatest length.
	maxJournal = journalHead + store.MaxNodeBytes + store.MaxCommitOps*(entryHead+store.MaxPathBytes+headerSize)
)

func encodeJournal(rev int64, changes []*change) []byte {
	b := make([]byte, 8, journalHead)
	copy(b, journalMagic)
	b = binary.BigEndian.AppendUint64(b, uint64(rev))          //nolint:gosec // the bits are kept
	b = binary.BigEndian.AppendUint32(b, uint32(len(changes))) //nolint:gosec // at most store.MaxCommitOps
	for _, c := range changes {
		var flags byte
		var file []byte
		if c.fresh {
			flags |= flagFresh
		}
		if c.deleted {
			flags |= flagDeleted
		} else {
			file = encodeNode(c.record)
		}
		b = append(b, flags)
		b = binary.BigEndian.AppendUint16(b, uint16(len(c.path))) //nolint:gosec // at most store.MaxPathBytes
		b = binary.BigEndian.AppendUint32(b, uint32(len(file)))   //nolint:gosec // at most store.MaxNodeBytes and a header
		b = append(b, c.path...)
		b = append(b, file...)
	}
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b
}

// decodeJournal is the inverse of encodeJournal. The records alias b.
func decodeJournal(b []byte) (rev int64, changes []*change, err error) {
	if len(b) < journalHead || string(b[:4]) != journalMagic || crc32.Checksum(b[8:], castagnoli) != binary.BigEndian.Uint32(b[4:]) {
		return 0, nil, errCorrupt
	}
	rev = int64(binary.BigEndian.Uint64(b[8:])) //nolint:gosec // the bits are kept
	count := binary.BigEndian.Uint32(b[16:])
	if rev < 0 || count > store.MaxCommitOps {
		return 0, nil, errCorrupt
	}
	b = b[journalHead:]
	changes = make([]*change, 0, count)
	for range count {
		c, rest, err := decodeEntry(b)
		if err != nil {
			return 0, nil, err
		}
		changes, b = append(changes, c), rest
	}
	if len(b) != 0 {
		return 0, nil, errCorrupt
	}
	return rev, changes, nil
}

func decodeEntry(b []byte) (c *change, rest []byte, err error) {
	if len(b) < entryHead {
		return nil, nil, errCorrupt
	}
	flags := b[0]
	pathLen, fileLen := int(binary.BigEndian.Uint16(b[1:])), int(binary.BigEndian.Uint32(b[3:]))
	b = b[entryHead:]
	if pathLen > store.MaxPathBytes || fileLen > headerSize+store.MaxNodeBytes || len(b) < pathLen+fileLen {
		return nil, nil, errCorrupt
	}
	c = &change{path: string(b[:pathLen]), deleted: flags&flagDeleted != 0, fresh: flags&flagFresh != 0}
	if err := store.CheckPath(c.path); err != nil {
		return nil, nil, errCorrupt
	}
	if !c.deleted {
		if c.record, err = decodeNode(b[pathLen : pathLen+fileLen]); err != nil {
			return nil, nil, err
		}
	}
	return c, b[pathLen+fileLen:], nil
}

// writeJournal makes the decision for a commit of several changes: when it returned nil, the commit happens.
func (s *Store) writeJournal(rev int64, changes []*change) error {
	if err := s.step("journal"); err != nil {
		return err
	}
	return s.writeFile(journalFile, tempFile, encodeJournal(rev, changes))
}

// readJournal returns the changes of a journal that was left behind, nil when there is none.
func (s *Store) readJournal() (rev int64, changes []*change, err error) {
	f, err := s.root.Open(journalFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := readAtMost(f, maxJournal)
	if err != nil {
		return 0, nil, err
	}
	rev, changes, err = decodeJournal(b)
	if err != nil {
		// Never written by halves (temporary file, rename): the disk is at fault. Guessing could show half a commit.
		return 0, nil, fmt.Errorf("%s (remove the store or, to accept a commit applied in part, this file): %w", f.Name(), err)
	}
	return rev, changes, nil
}
