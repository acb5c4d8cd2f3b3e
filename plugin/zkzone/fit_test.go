package zkzone

import (
	"net"
	"strings"
	"testing"

	"github.com/coredns/coredns/plugin/test"
	"github.com/coredns/coredns/request"

	"github.com/miekg/dns"
)

// TestWhatFitsToTheOctetIsNotCut also holds for what other plugins add.
func TestWhatFitsToTheOctetIsNotCut(t *testing.T) {
	for size := 512; size < 700; size++ {
		for _, extra := range []int{0, 1} {
			q := new(dns.Msg).SetQuestion("www.example.org.", dns.TypeTXT)
			q.SetEdns0(uint16(size), false)
			q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(192, 0, 2, 0).To4()}}
			m := new(dns.Msg).SetReply(q)
			txt := &dns.TXT{Hdr: dns.RR_Header{Name: "www.example.org.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}}
			m.Answer = []dns.RR{txt}
			m.Compress = true
			room := size - dns.Len(q.IsEdns0()) - m.Len() + extra
			for ; room > 255; room -= 201 {
				txt.Txt = append(txt.Txt, strings.Repeat("x", 200))
			}
			txt.Txt = append(txt.Txt, strings.Repeat("x", room-1))
			m.Compress = false
			fit(m, &request.Request{W: &client{}, Req: q})
			if want := extra == 1; m.Truncated != want || (len(m.Answer) == 0) != want {
				t.Fatalf("%d octets too many for %d: TC %t with %d records", extra, size, m.Truncated, len(m.Answer))
			}
		}
	}
}

func BenchmarkFitOfASmallAnswer(b *testing.B) {
	q := new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA)
	q.SetEdns0(1232, false)
	m := new(dns.Msg).SetReply(q)
	m.Answer = []dns.RR{test.A("www.example.org. 60 IN A 192.0.2.1"), test.A("www.example.org. 60 IN A 192.0.2.2")}
	b.ReportAllocs()
	for b.Loop() {
		fit(m, &request.Request{W: &client{}, Req: q})
	}
}
