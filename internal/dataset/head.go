package dataset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/popdns/popdns/internal/setsum"
)

// A Head names the current version of a dataset: which image to load, which deltas to apply to it, and what must come out.
type Head struct {
	V       int    `json:"v"`    // format, 1
	Kind    string `json:"kind"` // Codec.Kind
	Name    string `json:"name"` // Ref.Path, so that a head copied elsewhere is refused
	Cluster string `json:"cluster"`
	Epoch   int64  `json:"epoch"`
	Gen     int64  `json:"gen"` // generation: the image is base/<gen>
	Revision
	Base Base `json:"base"`
	// Log lists the log entries of this generation and those of the one before that lead to its image: a reader of the
	// earlier generation goes on by deltas, so that a compaction does not make every edge load the image.
	Log      []Run `json:"log,omitempty"`
	LogBytes int64 `json:"log_bytes,omitempty"` // of the entries after the image
	// ForcedSerial is the newest version that was committed with force, 0 if none was. See ForcedSince.
	ForcedSerial uint32 `json:"forced_serial,omitempty"`
	// Inline repeats the newest deltas, oldest first: a reader that is only a few versions behind needs nothing but the head.
	Inline []Inline `json:"inline,omitempty"`
}

// A Revision is what one commit says about the version it made. It stands in the head, in the log entry and in the manifest.
type Revision struct {
	Serial     uint32     `json:"serial"`
	Published  time.Time  `json:"published"`       // by the committer's clock
	SourceTime time.Time  `json:"source,omitzero"` // when the pipeline's writing end stamped the data
	By         string     `json:"by,omitempty"`    // who committed
	Message    string     `json:"message,omitempty"`
	Commit     string     `json:"commit"`           // random: tells the committer its own commit after a lost reply
	Forced     bool       `json:"forced,omitempty"` // guards were overridden
	RollbackOf uint32     `json:"rollback_of,omitempty"`
	Items      int        `json:"items"`
	Sum        setsum.Sum `json:"sum"`
	// Chain is a SHA-256 over all changes up to this version; see Digest.follow. It binds the content where Sum only finds errors.
	Chain Digest `json:"chain"`
}

// A Base describes the image of a head's generation.
type Base struct {
	Serial uint32 `json:"serial"`
	Chunks int    `json:"chunks"`
	Bytes  int64  `json:"bytes"`
	SHA256 Digest `json:"sha256"` // of the manifest, which has those of the chunks
}

// An Inline is a delta inside a head.
type Inline struct {
	From  uint32 `json:"from"`
	To    uint32 `json:"to"`
	Delta []byte `json:"delta"`
}

// A Digest is a SHA-256, in hexadecimal in JSON.
type Digest [sha256.Size]byte

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) {
	return hex.AppendEncode(nil, d[:]), nil
}

// UnmarshalText implements encoding.TextUnmarshaler: exactly 64 hexadecimal digits.
func (d *Digest) UnmarshalText(digits []byte) error {
	if len(digits) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("sha256 of %d digits", len(digits))
	}
	_, err := hex.Decode(d[:], digits)
	return err
}

const (
	formatVersion = 1

	// maxInlineBytes and maxInlines bound a head's inline deltas: with base64's third on top they leave the other fields
	// more than they may take, and edges read no more than this at each commit.
	maxInlineBytes = 32 << 10
	maxInlines     = 32

	maxKindBytes    = 32
	maxNameBytes    = 2048 // store.MaxPathBytes
	maxIDBytes      = 64
	maxByBytes      = 256
	maxMessageBytes = 1024
	maxItems        = 1 << 31
)

// ParseHead reads and checks a head, but not its signature. Fields that it does not know are left alone, another format version is
// refused. The error is a Refusal.
func ParseHead(b []byte) (Head, error) {
	if len(b) > MaxHeadBytes {
		return Head{}, refuse(ReasonSize, "head of %d bytes, at most %d", len(b), MaxHeadBytes)
	}
	b = body(b)
	// The format version first: a head of the future may differ in anything else.
	var format struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(b, &format); err != nil {
		return Head{}, refuse(ReasonHead, "head: %w", err)
	}
	if format.V != formatVersion {
		return Head{}, refuse(ReasonHead, "head of format %d, this program reads %d", format.V, formatVersion)
	}
	var h Head
	if err := json.Unmarshal(b, &h); err != nil {
		return Head{}, refuse(ReasonHead, "head: %w", err)
	}
	if err := h.check(); err != nil {
		return Head{}, Refusal{Serial: h.Serial, Reason: ReasonHead, Err: fmt.Errorf("head: %w", err)}
	}
	return h, nil
}

// marshal returns the head's bytes, signed if there is a key, with as many of the inline deltas as fit.
func (h *Head) marshal(keys Keys) ([]byte, error) {
	for {
		b, err := json.Marshal(h)
		if err != nil {
			return nil, fmt.Errorf("head of %s: %w", h.Name, err)
		}
		if b = keys.seal(headPurpose, b); len(b) <= MaxHeadBytes {
			return b, nil
		}
		if len(h.Inline) == 0 {
			return nil, fmt.Errorf("head of %s: %d bytes, at most %d", h.Name, len(b), MaxHeadBytes)
		}
		h.Inline = h.Inline[1:]
	}
}

// ForcedSince tells whether a commit between serial (exclusive) and this head was forced. A guard at an edge asks this and
// not Forced: the edge may have missed the forced commit itself.
func (h *Head) ForcedSince(serial uint32) bool {
	return h.ForcedSerial != 0 && newer(h.ForcedSerial, serial)
}

func (h *Head) check() error {
	switch {
	case h.Kind == "" || len(h.Kind) > maxKindBytes:
		return fmt.Errorf("kind of %d bytes", len(h.Kind))
	case h.Name == "" || len(h.Name) > maxNameBytes:
		return fmt.Errorf("name of %d bytes", len(h.Name))
	case h.Cluster == "" || len(h.Cluster) > maxIDBytes:
		return fmt.Errorf("cluster id of %d bytes", len(h.Cluster))
	case h.Epoch < 0:
		return fmt.Errorf("epoch %d", h.Epoch)
	case h.Gen < 1:
		return fmt.Errorf("generation %d", h.Gen)
	case h.LogBytes < 0:
		return fmt.Errorf("log of %d bytes", h.LogBytes)
	}
	return errors.Join(h.Revision.check(), h.Base.check(), h.checkLog(), h.checkInline())
}

func (r *Revision) check() error {
	switch {
	case r.Serial == 0:
		return errors.New("no serial")
	case r.Published.IsZero():
		return errors.New("no time of publication")
	case r.Commit == "" || len(r.Commit) > maxIDBytes:
		return fmt.Errorf("commit id of %d bytes", len(r.Commit))
	case len(r.By) > maxByBytes:
		return fmt.Errorf("committer's name of %d bytes, at most %d", len(r.By), maxByBytes)
	case len(r.Message) > maxMessageBytes:
		return fmt.Errorf("message of %d bytes, at most %d", len(r.Message), maxMessageBytes)
	case r.Items < 0 || r.Items > maxItems:
		return fmt.Errorf("%d items", r.Items)
	}
	return nil
}

func (b *Base) check() error {
	switch {
	case b.Serial == 0:
		return errors.New("image without a serial")
	case b.Chunks < 1 || b.Chunks > MaxChunks:
		return fmt.Errorf("image of %d chunks, at most %d", b.Chunks, MaxChunks)
	case b.Bytes < 0 || b.Bytes > MaxBaseBytes:
		return fmt.Errorf("image of %d bytes, at most %d", b.Bytes, MaxBaseBytes)
	}
	return nil
}

func (h *Head) checkInline() error {
	if len(h.Inline) > maxInlines {
		return fmt.Errorf("%d inline deltas, at most %d", len(h.Inline), maxInlines)
	}
	for i, d := range h.Inline {
		end := h.Serial
		if i+1 < len(h.Inline) {
			end = h.Inline[i+1].From
		}
		if d.To != end {
			return fmt.Errorf("inline delta %d→%d does not lead to %d", d.From, d.To, end)
		}
	}
	return nil
}

// archived returns the head as history keeps it: with what it takes to load the generation's versions and no more.
func (h *Head) archived() Head {
	a := *h
	a.Inline = nil
	a.Log = h.afterBase()
	return a
}

// sameVersion tells whether two heads name the same version, be it in different generations: a disk cache has its own.
func (h *Head) sameVersion(o *Head) bool {
	return h.Serial == o.Serial && h.Commit == o.Commit && h.Sum == o.Sum && h.Items == o.Items && h.Chain == o.Chain
}

// sameContent tells whether two heads state the same items under the same serial, however and by whom they were committed: what an adopting store
// was restored to where no serial can be set (a signed SOA).
func (h *Head) sameContent(o *Head) bool {
	return h.Serial == o.Serial && h.Sum == o.Sum && h.Items == o.Items
}

// decodeJSON reads one JSON value of at most limit bytes.
func decodeJSON(b []byte, limit int, into any) error {
	if len(b) > limit {
		return fmt.Errorf("%d bytes, at most %d", len(b), limit)
	}
	return json.Unmarshal(bytes.TrimSpace(b), into)
}
