package zonefile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/zone"
)

func TestTheRootZoneIsReadWholeAndWrittenBackEqual(t *testing.T) {
	path := filepath.Join("..", "..", "..", "shared", "data", "root.zone")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no root zone at %s", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	plain := 0
	zp := dns.NewZoneParser(bytes.NewReader(b), ".", "")
	for _, ok := zp.Next(); ok; _, ok = zp.Next() {
		plain++
	}
	start := time.Now()
	s, err := Read(bytes.NewReader(b), path, zone.Root)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records in %v", s.Records(), time.Since(start))
	if s.Records() > plain || s.Records() < plain-2 { // the file repeats its SOA at its end
		t.Errorf("%d records, a plain parser reads %d", s.Records(), plain)
	}
	sameAfterWriting(t, s)
}

// million is a zone of plain address records, which the parser alone reads in about a second.
func million() []byte {
	var b bytes.Buffer
	b.WriteString(head)
	for i := range 1_000_000 {
		fmt.Fprintf(&b, "h%d 60 IN A 10.%d.%d.%d\n", i, i>>16, i>>8&255, i&255)
	}
	return b.Bytes()
}

func BenchmarkReadMillion(b *testing.B) {
	data := million()
	b.ResetTimer()
	for b.Loop() {
		if _, err := Read(bytes.NewReader(data), "million", org); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParserAlone is what miekg/dns takes for the same file.
func BenchmarkParserAlone(b *testing.B) {
	data := million()
	b.ResetTimer()
	for b.Loop() {
		zp := dns.NewZoneParser(bytes.NewReader(data), "example.org.", "")
		for _, ok := zp.Next(); ok; _, ok = zp.Next() {
		}
		if zp.Err() != nil {
			b.Fatal(zp.Err())
		}
	}
}

// BenchmarkRecords is BenchmarkReadMillion without the making of the snapshot.
func BenchmarkRecords(b *testing.B) {
	data := million()
	b.ResetTimer()
	for b.Loop() {
		rd := newReader(bytes.NewReader(data), "million", org)
		if err := rd.records(); err != nil || rd.errs.Len() > 0 {
			b.Fatal(err, rd.errs)
		}
	}
}
