package zonefile

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
)

// ownerWidth is the column at which the TTL begins when the owner leaves room for it.
const ownerWidth = 24

// Write writes a zone as text that [Read] reads back to an equal snapshot: $ORIGIN, then one record a line with owner, TTL,
// class, type and data between tabs, the SOA first, owners in canonical order. An owner's steering settings stand on its
// first line. Data that miekg/dns would not read back octet by octet is written as RFC 3597 prescribes for unknown types.
//
// With [OnlyName] or [OnlyType] the text is a part of the zone, of nothing but $ORIGIN if no record fits.
func Write(w io.Writer, s *zone.Snapshot, opts ...WriteOption) error {
	wr := writer{w: bufio.NewWriterSize(w, 64<<10), zone: s}
	for _, o := range opts {
		o(&wr)
	}
	if err := wr.write(); err != nil {
		return fmt.Errorf("write zone %s: %w", s.Origin(), err)
	}
	return nil
}

// WriteOption changes what [Write] writes.
type WriteOption func(*writer)

// OnlyName writes the records of one name, without those below it.
func OnlyName(n zone.Name) WriteOption { return func(w *writer) { w.name = n } }

// OnlyType writes the records of one type.
func OnlyType(typ uint16) WriteOption { return func(w *writer) { w.typ = typ } }

type writer struct {
	w    *bufio.Writer
	zone *zone.Snapshot
	name zone.Name // "": all
	typ  uint16    // 0: all

	owner zone.Name // of the last line
}

func (w *writer) write() error {
	if _, err := fmt.Fprintf(w.w, "$ORIGIN %s\n", presented(w.zone.Origin())); err != nil {
		return err
	}
	for s := range w.zone.RRsets() {
		if w.name != "" && s.Owner != w.name || w.typ != 0 && s.Type != w.typ {
			continue
		}
		if err := w.rrset(s); err != nil {
			return err
		}
	}
	return w.w.Flush()
}

func (w *writer) rrset(s zone.RRset) error {
	rrs, err := s.RRs()
	if err != nil {
		return err
	}
	for i, rr := range rrs {
		w.column(relative(s.Owner, w.zone.Origin()), ownerWidth)
		w.column(strconv.FormatUint(uint64(rr.Header().Ttl), 10), 8) // signatures of one owner differ in theirs
		w.w.WriteString("IN\t")
		w.column(dns.Type(s.Type).String(), 8)
		w.w.WriteString(rdataText(rr, s.Rdata[i].Wire))
		w.marks(s.Owner, s.PoP, s.Rdata[i].Weight)
		if err := w.w.WriteByte('\n'); err != nil { // bufio's errors stay
			return err
		}
	}
	return nil
}

// column writes text and tabs up to the next column, one at least.
func (w *writer) column(text string, width int) {
	w.w.WriteString(text)
	w.w.WriteByte('\t')
	for n := len(text)/8*8 + 8; n < width; n += 8 {
		w.w.WriteByte('\t')
	}
}

// marks writes the ;@ comment of one record, if it needs one.
func (w *writer) marks(owner zone.Name, pop string, weight uint32) {
	sep := "\t;@ "
	put := func(field string) {
		w.w.WriteString(sep)
		w.w.WriteString(field)
		sep = " "
	}
	if pop != "" {
		put("pop=" + pop)
	}
	if weight != 0 {
		put("weight=" + strconv.FormatUint(uint64(weight), 10))
	}
	if owner == w.owner {
		return
	}
	w.owner = owner
	for _, field := range Settings(w.zone.Steering(owner)) {
		put(field)
	}
}

// presented is a name in presentation form with decimal escapes only: $ and @ mean something at the front of a line, and
// miekg's lexer misses the end of a name that consists of characters escaped by \X.
func presented(n zone.Name) string {
	if n == zone.Root {
		return "."
	}
	b := make([]byte, 0, len(n))
	for ; len(n) > 1; n = n.Parent() {
		for _, c := range []byte(n[1 : 1+n[0]]) {
			if c > ' ' && c <= '~' && strings.IndexByte(`.@;()"\$`, c) < 0 {
				b = append(b, c)
			} else {
				b = append(b, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
			}
		}
		b = append(b, '.')
	}
	return string(b)
}

// relative is an owner as $ORIGIN completes it.
func relative(owner, origin zone.Name) string {
	if owner == origin {
		return "@"
	}
	s := presented(owner[:len(owner)-len(origin)] + "\x00")
	return s[:len(s)-1]
}

// plainText holds the types whose presentation is read back exactly as long as nothing in it is escaped. All others are
// tried before they are written.
var plainText = map[uint16]bool{
	dns.TypeA: true, dns.TypeAAAA: true, dns.TypeNS: true, dns.TypeCNAME: true, dns.TypePTR: true, dns.TypeMX: true,
	dns.TypeSOA: true, dns.TypeSRV: true, dns.TypeDS: true,
}

// rdataText is a record's data as text.
func rdataText(rr dns.RR, wire []byte) string {
	text := strings.TrimPrefix(rr.String(), rr.Header().String())
	if _, unknown := rr.(*dns.RFC3597); unknown {
		return generic(wire)
	}
	if plainText[rr.Header().Rrtype] && strings.IndexByte(text, '\\') < 0 {
		return text
	}
	if !readsBack(rr.Header().Rrtype, text, wire) {
		return generic(wire)
	}
	return text
}

func readsBack(typ uint16, text string, wire []byte) bool {
	if strings.ContainsAny(text, "\n\r") {
		return false
	}
	rr, err := dns.NewRR(". 0 IN " + dns.Type(typ).String() + " " + text)
	if err != nil || rr == nil {
		return false
	}
	_, back, err := zone.RdataOf(rr)
	return err == nil && bytes.Equal(back, wire)
}

// generic is the form for rdata of any type (RFC 3597 5).
func generic(wire []byte) string {
	return `\# ` + strconv.Itoa(len(wire)) + " " + hex.EncodeToString(wire)
}
