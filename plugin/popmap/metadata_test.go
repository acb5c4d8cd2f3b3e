package popmap

import (
	"context"
	"testing"

	"github.com/popdns/popdns/internal/zone"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/metadata"
	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/request"

	"github.com/miekg/dns"
)

// newTellingPopMap is newPopMap below a metadata plugin.
func newTellingPopMap(t *testing.T) *PopMap {
	t.Helper()
	p, _ := newPopMap(t)
	p.metadata, p.origins = true, []zone.Name{zone.MustParseName("example.org.")}
	return p
}

func query(t *testing.T, name string, subnet *dns.EDNS0_SUBNET) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, dns.TypeA)
	q.SetEdns0(1232, false)
	if subnet != nil {
		subnet.Code = dns.EDNS0SUBNET
		opt := q.IsEdns0()
		opt.Option = append(opt.Option, subnet)
	}
	wire, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	r := new(dns.Msg)
	if err := r.Unpack(wire); err != nil {
		t.Fatal(err)
	}
	return r
}

func told(ctx context.Context) (all string) {
	for _, label := range []string{"popmap/pop", "popmap/map", "popmap/block", "popmap/reason"} {
		if of := metadata.ValueFunc(ctx, label); of != nil {
			all += of() + " "
		}
	}
	return all
}

// TestMetadataIsTheSameBeforeAndAfterTheAnswer reads it where views and dnstap do, and where the log plugin does.
func TestMetadataIsTheSameBeforeAndAfterTheAnswer(t *testing.T) {
	p := newTellingPopMap(t)
	for _, tc := range []struct {
		what, from, name string
		subnet           *dns.EDNS0_SUBNET
		want             string
	}{
		{"ecs", "192.0.2.200", "www.example.org.", v4("44.1.2.0", 24), "iad2 edge 44.1.0.0/16 ecs "},
		{"hole", "198.51.100.7", "www.example.org.", v4("88.0.113.0", 24), "iad2 edge 64.0.0.0/2 hole "},
		{"resolver", "198.51.100.7", "WWW.example.ORG.", nil, "iad2 edge 198.51.100.0/24 resolver "},
		{"alias", "192.0.2.200", "alias.example.org.", v4("44.2.3.0", 24), "ams1 edge 44.2.0.0/15 ecs "},
		{"no map", "192.0.2.200", "bare.example.org.", nil, "iad2 - - no-map "},
		{"unsteered", "192.0.2.200", "plain.example.org.", v4("44.1.2.0", 24), "- - - - "},
		{"missing", "192.0.2.200", "missing.example.org.", nil, "- - - - "},
		{"malformed", "192.0.2.200", "www.example.org.", &dns.EDNS0_SUBNET{Family: 1, SourceNetmask: 24, SourceScope: 8, Address: []byte{44, 1, 2, 0}}, "- - - - "},
		{"elsewhere", "192.0.2.200", "www.example.com.", nil, ""},
	} {
		for _, early := range []bool{true, false} {
			r := query(t, tc.name, tc.subnet)
			w := dnstest.NewRecorder(&client{addr: tc.from})
			ctx := p.Metadata(metadata.ContextWithMetadata(t.Context()), request.Request{W: w, Req: r})
			if early {
				if got := told(ctx); got != tc.want {
					t.Errorf("%s: before the answer %q, want %q", tc.what, got, tc.want)
				}
			}
			if tc.want != "" {
				if _, err := p.ServeDNS(ctx, w, r); err != nil {
					t.Fatal(err)
				}
			}
			if got := told(ctx); got != tc.want {
				t.Errorf("%s: after the answer %q, want %q (read before too: %v)", tc.what, got, tc.want, early)
			}
		}
	}
}

func TestMetadataAfterwardsIsOfWhatWasAnswered(t *testing.T) {
	p := newTellingPopMap(t)
	r := query(t, "plain.example.org.", v4("44.1.2.0", 24))
	w := dnstest.NewRecorder(&client{addr: "192.0.2.200"})
	ctx := p.Metadata(metadata.ContextWithMetadata(t.Context()), request.Request{W: w, Req: r})
	if got := told(ctx); got != "- - - - " {
		t.Fatalf("before: %q", got)
	}
	// As the rewrite plugin does, on the way to us.
	r.Question[0].Name = "www.example.org."
	if _, err := p.ServeDNS(ctx, w, r); err != nil {
		t.Fatal(err)
	}
	if got, want := told(ctx), "iad2 edge 44.1.0.0/16 ecs "; got != want {
		t.Errorf("after: %q, want %q", got, want)
	}
}

func TestMetadataLooksNothingUpUnlessItIsRead(t *testing.T) {
	p := newTellingPopMap(t)
	r := query(t, "www.example.org.", v4("44.1.2.0", 24))
	ctx := p.Metadata(metadata.ContextWithMetadata(t.Context()), request.Request{W: dnstest.NewRecorder(&client{addr: "192.0.2.200"}), Req: r})
	made := ctx.Value(decisionKey{}).(*decision)
	if made.pick != nil {
		t.Error("a decision was made before anybody asked")
	}
	p.Next = plugin.HandlerFunc(func(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) { return dns.RcodeSuccess, nil })
	if _, err := p.ServeDNS(ctx, dnstest.NewRecorder(&client{addr: "192.0.2.200"}), r); err != nil {
		t.Fatal(err)
	}
	if made.pick == nil || made.pick.decided {
		t.Error("the query's own picker was not handed over, or it decided without being asked")
	}
}
