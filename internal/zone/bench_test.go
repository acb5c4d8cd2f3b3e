package zone

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/miekg/dns"
)

const million = 1_000_000

// benchZone is a zone of a million records, made once for all benchmarks.
var benchZone *Snapshot

func bigZone(b *testing.B) *Snapshot {
	b.Helper()
	if benchZone == nil {
		before := heap()
		benchZone = numbered(b, million-2)
		after := heap()
		fmt.Printf("heap of %d records, %d names: %.1f bytes per record (arena %.1f, index %.1f)\n", benchZone.Records(), benchZone.image.names,
			float64(after-before)/million, float64(len(benchZone.image.arena))/million, float64(8*len(benchZone.image.slots))/million)
	}
	return benchZone
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkLookup(b *testing.B) {
	s := bigZone(b)
	names := make([]Name, 1<<16)
	for i := range names {
		names[i] = numberedHost(s.Origin(), i*15, 0).Owner
	}
	var res Result
	b.Run("exists", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			s.Lookup(Question{Name: names[i%len(names)], Type: dns.TypeA}, nil, &res)
		}
	})
	b.Run("nxdomain", func(b *testing.B) {
		b.ReportAllocs()
		q := Question{Name: s.Origin().Prepend("net1").Prepend("nobody"), Type: dns.TypeA}
		for b.Loop() {
			s.Lookup(q, nil, &res)
		}
	})
	b.Run("fill", func(b *testing.B) {
		b.ReportAllocs()
		qname := names[0].String()
		s.Lookup(Question{Name: names[0], Type: dns.TypeA}, nil, &res)
		for b.Loop() {
			if err := res.Fill(new(dns.Msg), names[0], qname); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkApplyOneRecord includes the folds that so many changes cause.
func BenchmarkApplyOneRecord(b *testing.B) {
	s := bigZone(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		next, err := s.Apply(Delta{Put: []RRset{numberedHost(s.Origin(), i*7%million, byte(i))}})
		if err != nil {
			b.Fatal(err)
		}
		s = next
	}
}

// BenchmarkChangesOfOneRecord is what a log line about a version costs; BenchmarkApplyOneRecord is what the version costs itself.
func BenchmarkChangesOfOneRecord(b *testing.B) {
	s := bigZone(b)
	codec := Codec{Origin: s.Origin()}
	next, err := s.Apply(Delta{Put: []RRset{numberedHost(s.Origin(), 7, 1)}})
	if err != nil {
		b.Fatal(err)
	}
	delta, err := codec.Diff(s, next)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if c, err := codec.Changes(s, next, slices.Values([][]byte{delta}), 3); err != nil || c.Changed != 1 {
			b.Fatal(c, err)
		}
	}
}

func BenchmarkFold(b *testing.B) {
	s := bigZone(b)
	for b.Loop() {
		next := *s
		next.fold()
	}
}

func BenchmarkBuild(b *testing.B) {
	for b.Loop() {
		numbered(b, million-2)
	}
}

func BenchmarkCodec(b *testing.B) {
	s := bigZone(b)
	c := Codec{Origin: s.Origin()}
	chunks, err := c.Encode(s)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.Encode(s); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.Decode(chunks); err != nil {
				b.Fatal(err)
			}
		}
	})
}
