package zonefile

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/alloctest"
	"github.com/popdns/popdns/internal/finding"
	"github.com/popdns/popdns/internal/zone"
)

// Whatever is read without an error is written and read back equal; whatever is not is reported with lines of the file.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"testdata/design.zone", "testdata/types.zone"} {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add(head + "www ( ;@ pop=a\n A\n 192.0.2.1 ) ;@ weight=7 map=m\n$GENERATE 0-3 $.a{0,2,x} CNAME \\$$.b ;@ pop=x\n")
	f.Add(head + "a TXT \"x\\\n\n\" ;@\n bad\n$ORIGIN\n$TTL x\n b A )\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Count(strings.ToUpper(text), "$GENERATE") > 1 || strings.Contains(text, "-") && len(text) > 1<<12 {
			return // 65,536 records each: no finding, only time
		}
		var s *zone.Snapshot
		var err error
		limit := 1<<20 + 4096*len(text) // a record of a few octets takes a node of an index, or a fault
		if strings.Contains(strings.ToUpper(text), "$GENERATE") {
			limit += 65_536 * 4096
		}
		alloctest.Within(t, limit, func() { s, err = Read(strings.NewReader(text), "-", zone.MustParseName("example.org")) })
		if err == nil {
			sameAfterWriting(t, s)
			return
		}
		var all *finding.List
		if !errors.As(err, &all) || len(all.Faults) == 0 {
			t.Fatalf("an error that is no *finding.List: %v", err)
		}
		for _, one := range all.Faults {
			if one.Line < 0 || one.Line > 1+strings.Count(text, "\n") {
				t.Errorf("line %d of %d: %v", one.Line, 1+strings.Count(text, "\n"), one)
			}
		}
	})
}
