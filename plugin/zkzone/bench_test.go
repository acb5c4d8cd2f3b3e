package zkzone

import (
	"testing"

	"github.com/popdns/popdns/internal/edge/edgetest"

	"github.com/coredns/coredns/plugin/test"

	"github.com/miekg/dns"
)

// discard is a client that reads no answers.
type discard struct{ test.ResponseWriter }

func (*discard) WriteMsg(*dns.Msg) error { return nil }

// BenchmarkServeDNS is what this plugin takes of a query; the server's own part is left out.
func BenchmarkServeDNS(b *testing.B) {
	st := edgetest.New(b)
	st.Zone(b, "example.org.", testZone)
	z := newZkZone(b, st.URL(), "example.org.")
	for _, q := range []struct {
		what, name string
		typ        uint16
	}{
		{"address", "www.example.org.", dns.TypeA},
		{"alias", "alias.example.org.", dns.TypeA},
		{"text", "x.wild.example.org.", dns.TypeTXT},
		{"nodata", "www.example.org.", dns.TypeAAAA},
		{"nxdomain", "missing.example.org.", dns.TypeA},
		{"referral", "a.sub.example.org.", dns.TypeA},
	} {
		b.Run(q.what, func(b *testing.B) {
			m := new(dns.Msg)
			m.SetQuestion(q.name, q.typ)
			m.SetEdns0(1232, false)
			ctx, w := b.Context(), &discard{}
			b.ReportAllocs()
			for b.Loop() {
				if rcode, err := z.ServeDNS(ctx, w, m); rcode != dns.RcodeSuccess || err != nil {
					b.Fatal(rcode, err)
				}
			}
		})
	}
}
