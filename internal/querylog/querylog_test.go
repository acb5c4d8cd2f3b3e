package querylog

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// lines writes each yield as one line, to compare.
func lines(r *Reader) string {
	var b strings.Builder
	for q, err := range r.Queries() {
		if err != nil {
			fmt.Fprintf(&b, "%v\n", err)
			continue
		}
		fmt.Fprintf(&b, "%s %s %s %s %v\n", q.Resolver, q.ECS, q.Name, q.Type, q.Weight)
	}
	return b.String()
}

func TestReadCSV(t *testing.T) {
	r := NewReader(strings.NewReader(`# a comment

192.0.2.1,198.51.100.0/24,www.example.org,7
192.0.2.1,198.51.100.7
"2001:db8::1", 2001:db8::/56 ,,0.5
::ffff:192.0.2.9
,203.0.113.9/24,,2
192.0.2.1,198.51.100.0/33,,
192.0.2.256,,,
192.0.2.1,,,-1
192.0.2.1,,,NaN
,,www.example.org,1
192.0.2.1,,www,1,2
address,ecs
fe80::1%eth0
192.0.2.1`), "q.csv", Auto)
	want := `192.0.2.1 198.51.100.0/24 www.example.org  7
192.0.2.1 198.51.100.7/32   1
2001:db8::1 2001:db8::/56   0.5
192.0.2.9 invalid Prefix   1
invalid IP 203.0.113.0/24   2
q.csv:8: client subnet "198.51.100.0/33" is not a prefix, like 198.51.100.0/24 or 2001:db8::/56
q.csv:9: address "192.0.2.256" is not an IP address, like 192.0.2.1
q.csv:10: weight "-1" is not a number of 0 or more
q.csv:11: weight "NaN" is not a number of 0 or more
q.csv:12: neither an address nor a client subnet: give one of them
q.csv:13: 5 fields, want at most 4: address,ecs,qname,weight
q.csv:14: address "address" is not an IP address, like 192.0.2.1
q.csv:15: address "fe80::1%eth0" is not an IP address, like 192.0.2.1
192.0.2.1 invalid Prefix   1
`
	if got := lines(r); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if r.Lines() != 16 || r.Skipped() != 2 {
		t.Errorf("%d lines, %d skipped, want 16 and 2", r.Lines(), r.Skipped())
	}
}

func TestTheFirstLineMayNameTheColumns(t *testing.T) {
	got := lines(NewReader(strings.NewReader("# from the 14th\nweight, Type ,qname,ecs\n3,AAAA,www,2001:db8::/48\n"), "q", CSV))
	if want := "invalid IP 2001:db8::/48 www AAAA 3\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got = lines(NewReader(strings.NewReader("address,client\n192.0.2.1\n"), "q", CSV))
	want := "q:1: unknown column \"client\": there are address,ecs,qname,weight,type\n192.0.2.1 invalid Prefix   1\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReadCoreDNSLog(t *testing.T) {
	log := `.:53
CoreDNS-1.15.0
[INFO] plugin/reload: Running configuration SHA512 = "x"
[INFO] 192.0.2.53:40212 - 29008 "A IN www.example.org. udp 41 false 1232" NOERROR qr,aa,rd 59 0.000127s
Nov 24 10:00:01 edge1 coredns[7]: [INFO] [2001:db8::53]:53 - 7 "AAAA IN www.example.org. tcp 41 true 4096" NOERROR qr,aa 70 0.0001s "QUERY"
[ERROR] plugin/errors: 2 www.example.org. A: no data
`
	want := "192.0.2.53 invalid Prefix www.example.org. A 1\n2001:db8::53 invalid Prefix www.example.org. AAAA 1\n"
	for _, format := range []Format{Auto, Log} {
		r := NewReader(strings.NewReader(log), "log", format)
		if got := lines(r); got != want || r.Skipped() != 4 {
			t.Errorf("%s: got\n%sand %d skipped, want\n%sand 4", format, got, r.Skipped(), want)
		}
	}
}

func TestLinesThatAreTooLongArePassedOver(t *testing.T) {
	for _, size := range []int{maxLine - 1, maxLine, maxLine + 1, 5*maxLine + 7} {
		long := strings.Repeat("x", size-len("192.0.2.1,,")) // a name, in a line of size octets with its end
		r := NewReader(strings.NewReader("192.0.2.7\n192.0.2.1,,"+long[1:]+"\n192.0.2.8\n"), "q", CSV)
		want := "192.0.2.7 invalid Prefix   1\n192.0.2.1 invalid Prefix " + long[1:] + "  1\n192.0.2.8 invalid Prefix   1\n"
		if size > maxLine {
			want = "192.0.2.7 invalid Prefix   1\nq:2: line of more than 65536 octets\n192.0.2.8 invalid Prefix   1\n"
		}
		if got := lines(r); got != want || r.Lines() != 3 {
			t.Errorf("%d octets: %d lines, got %.200q", size, r.Lines(), got)
		}
	}
}

func TestAFailingDiskEndsTheReading(t *testing.T) {
	in := io.MultiReader(strings.NewReader("192.0.2.7\n"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if got, want := lines(NewReader(in, "q", CSV)), "192.0.2.7 invalid Prefix   1\nread q: unexpected EOF\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// repeat is a file of n times the same line.
type repeat struct {
	line string
	n    int
	rest string
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.rest == "" {
		if r.n == 0 {
			return 0, io.EOF
		}
		r.n--
		r.rest = r.line
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func TestMemoryIsBoundedWhateverTheFile(t *testing.T) {
	for name, line := range map[string]string{
		"good lines":   "192.0.2.1,198.51.100.0/24,www.example.org,7\n",
		"bad lines":    "192.0.2.1,198.51.100.0/99,\"www.example.org,7\n",
		"no line ends": "192.0.2.1,",
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r := NewReader(&repeat{line: line, n: 1 << 17}, "q", CSV)
		read := 0
		for range r.Queries() {
			read++
		}
		if read == 0 {
			t.Errorf("%s: nothing was read", name)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
			t.Errorf("%s: the heap has grown by %d octets", name, grown)
		}
		runtime.KeepAlive(r)
	}
}

func FuzzQueries(f *testing.F) {
	f.Add("192.0.2.1,198.51.100.0/24,www.example.org,7\n")
	f.Add("[INFO] 192.0.2.53:40212 - 29008 \"A IN www.example.org. udp 41 false 1232\" NOERROR qr,aa,rd 59 0.000127s\n")
	f.Add("weight,ecs\n1,::/0\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := NewReader(strings.NewReader(text), "q", Auto)
		for q, err := range r.Queries() {
			if err == nil && (q.Weight < 0 || !q.Resolver.IsValid() && !q.ECS.IsValid() || q.ECS.IsValid() && q.ECS != q.ECS.Masked()) {
				t.Errorf("%q gives %+v", text, q)
			}
		}
		if want := strings.Count(text, "\n"); r.Lines() < want || r.Lines() > want+1 {
			t.Errorf("%q: %d lines read", text, r.Lines())
		}
	})
}
