package ecs

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// query returns the wire form of a query whose OPT record holds the given options, each code and raw data.
func query(options ...rawOption) []byte {
	var rdata []byte
	for _, o := range options {
		rdata = append(rdata, byte(o.code>>8), byte(o.code), byte(len(o.data)>>8), byte(len(o.data)))
		rdata = append(rdata, o.data...)
	}
	msg := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1}
	msg = append(msg, "\x03www\x07example\x03org\x00\x00\x01\x00\x01"...)
	msg = append(msg, 0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, byte(len(rdata)>>8), byte(len(rdata)))
	return append(msg, rdata...)
}

type rawOption struct {
	code uint16
	data []byte
}

func subnet(hexData string) rawOption {
	data, err := hex.DecodeString(strings.ReplaceAll(hexData, " ", ""))
	if err != nil {
		panic(err)
	}
	return rawOption{dns.EDNS0SUBNET, data}
}

var cookie = rawOption{dns.EDNS0COOKIE, []byte("12345678")}

// read unpacks a query and reads its option; a query that the library refuses counts as malformed, since the server answers
// FORMERR then without asking us.
func read(t *testing.T, wire []byte) (Option, bool, error) {
	t.Helper()
	var m dns.Msg
	if err := m.Unpack(wire); err != nil {
		return Option{}, true, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return FromMsg(&m)
}

func TestWellFormedOptionsAreReadAndEchoedExactly(t *testing.T) {
	for _, c := range []struct {
		name, data string
		prefix     string // "" = none
		usable     bool
	}{
		{"IPv4 /24", "0001 18 00 c63364", "198.51.100.0/24", true},
		{"IPv4 /32", "0001 20 00 c6336401", "198.51.100.1/32", true},
		{"IPv4 /21 with clean bits", "0001 15 00 c63360", "198.51.96.0/21", true},
		{"IPv4 /8 of zeros", "0001 08 00 00", "0.0.0.0/8", true},
		{"IPv4 /0", "0001 00 00", "0.0.0.0/0", false},
		{"IPv6 /56", "0002 38 00 20010db8000001", "2001:db8:0:100::/56", true},
		{"IPv6 /128", "0002 80 00 20010db8000000000000000000000001", "2001:db8::1/128", true},
		{"IPv6 /0", "0002 00 00", "::/0", false},
		{"IPv6 v4-mapped /112", "0002 70 00 00000000000000000000ffff0102", "::ffff:1.2.0.0/112", true},
		{"dig +subnet=0: no family", "0000 00 00", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, options := range [][]rawOption{{subnet(c.data)}, {cookie, subnet(c.data)}, {subnet(c.data), cookie}} {
				o, present, err := read(t, query(options...))
				if err != nil || !present {
					t.Fatalf("FromMsg: present %v, %v", present, err)
				}
				if got := o.Prefix(); c.prefix != "" && got.String() != c.prefix || got.IsValid() != (c.prefix != "") {
					t.Errorf("prefix %s, want %q", got, c.prefix)
				}
				if o.Usable() != c.usable {
					t.Errorf("usable %v, want %v", o.Usable(), c.usable)
				}
				checkEcho(t, o, subnet(c.data).data, 17)
			}
		})
	}
}

// checkEcho packs the reply's option into a real message and compares its bytes with the query's.
func checkEcho(t *testing.T, o Option, received []byte, scope uint8) {
	t.Helper()
	m := new(dns.Msg)
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = []dns.EDNS0{o.Reply(scope)}
	wire, err := m.Pack()
	if err != nil {
		t.Fatalf("pack reply %+v: %v", o, err)
	}
	want := bytes.Clone(received)
	want[3] = 0
	if o.Usable() {
		want[3] = scope
	}
	if got := wire[len(wire)-len(want):]; !bytes.Equal(got, want) {
		t.Errorf("echo % x, want % x", got, want)
	}
}

func TestMalformedOptionsAreRefused(t *testing.T) {
	for name, options := range map[string][]rawOption{
		"scope in a query":             {subnet("0001 18 18 c63364")},
		"bits beyond the source":       {subnet("0001 14 00 c63364")},
		"one dirty IPv6 bit":           {subnet("0002 2f 00 20010db80001")},
		"address one octet short":      {subnet("0001 18 00 c633")},
		"no address":                   {subnet("0001 18 00")},
		"address one octet long":       {subnet("0001 18 00 c6336400")},
		"address far too long":         {subnet("0001 18 00 c6336400 00000000 00")},
		"source 0 with an address":     {subnet("0001 00 00 00")},
		"no family with an address":    {subnet("0000 00 00 00")},
		"IPv6 one octet short":         {subnet("0002 38 00 20010db80000")},
		"IPv6 one octet long":          {subnet("0002 38 00 20010db800000000")},
		"IPv4 source 33":               {subnet("0001 21 00 c633640100")},
		"IPv6 source 129":              {subnet("0002 81 00 20010db800000000000000000000000100")},
		"unknown family":               {subnet("0003 18 00 c63364")},
		"family 0 with a source":       {subnet("0000 18 00 c63364")},
		"scope without family":         {subnet("0000 00 08")},
		"option shorter than 4 octets": {subnet("0001 18")},
		"empty option":                 {subnet("")},
		"given twice":                  {subnet("0001 18 00 c63364"), subnet("0001 18 00 c63364")},
		"short address beside another": {cookie, subnet("0001 18 00 c633")},
	} {
		t.Run(name, func(t *testing.T) {
			o, present, err := read(t, query(options...))
			if !errors.Is(err, ErrMalformed) || !present {
				t.Errorf("got %+v, present %v, error %v; want ErrMalformed", o, present, err)
			}
		})
	}
}

func TestQueriesWithoutTheOptionHaveNone(t *testing.T) {
	plain := query()
	plain[11] = 0 // no additional record
	for name, wire := range map[string][]byte{"no OPT": plain[:len(plain)-11], "empty OPT": query(), "another option": query(cookie)} {
		o, present, err := read(t, wire)
		if present || err != nil || o != (Option{}) {
			t.Errorf("%s: %+v, present %v, %v", name, o, present, err)
		}
	}
}

func TestOptionsThatPackShorterDoNotCauseRefusal(t *testing.T) {
	good := subnet("0001 18 00 c63364")
	for name, other := range map[string]rawOption{
		"TCP keepalive of 0":      {dns.EDNS0TCPKEEPALIVE, []byte{0, 0}},
		"update lease, key 0":     {dns.EDNS0UL, make([]byte, 8)},
		"expire with more octets": {dns.EDNS0EXPIRE, make([]byte, 6)},
		"padding":                 {dns.EDNS0PADDING, make([]byte, 31)},
		"unassigned":              {65001, []byte{1, 2, 3}},
		"NSID":                    {dns.EDNS0NSID, nil},
	} {
		o, present, err := read(t, query(good, other))
		if err != nil || !present || o.Prefix().String() != "198.51.100.0/24" {
			t.Errorf("%s: %+v, present %v, %v", name, o, present, err)
		}
	}
}

func TestQueryBuiltInMemoryIsRead(t *testing.T) {
	m := new(dns.Msg)
	m.SetQuestion("example.org.", dns.TypeA)
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = []dns.EDNS0{Option{Family: FamilyIPv4, Source: 24, Addr: netip.MustParseAddr("192.0.2.0")}.Reply(0)}
	if o, present, err := FromMsg(m); err != nil || !present || o.Prefix().String() != "192.0.2.0/24" {
		t.Errorf("%+v, present %v, %v", o, present, err)
	}
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: FamilyIPv6, SourceNetmask: 24}}
	if o, _, err := FromMsg(m); !errors.Is(err, ErrMalformed) {
		t.Errorf("an option without address: %+v, %v; want ErrMalformed", o, err)
	}
}

func TestReplyNeverExceedsTheFamily(t *testing.T) {
	four := Option{Family: FamilyIPv4, Source: 24, Addr: netip.MustParseAddr("192.0.2.0")}
	if got := four.Reply(96).SourceScope; got != 32 {
		t.Errorf("IPv4 scope %d, want 32", got)
	}
	six := Option{Family: FamilyIPv6, Source: 48, Addr: netip.MustParseAddr("2001:db8::")}
	if got := six.Reply(200).SourceScope; got != 128 {
		t.Errorf("IPv6 scope %d, want 128", got)
	}
}

func TestAddToKeepsTheRestOfTheOPTRecordAndSharesNothing(t *testing.T) {
	o := Option{Family: FamilyIPv4, Source: 24, Addr: netip.MustParseAddr("192.0.2.0")}
	bare := new(dns.Msg)
	o.AddTo(bare, 20)
	if opt := bare.IsEdns0(); opt == nil || opt.UDPSize() != 1232 || len(opt.Option) != 1 {
		t.Fatalf("without OPT: %v", opt)
	}
	nsid := &dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: "aa"}
	shared := []dns.RR{&dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT, Class: 4096}, Option: []dns.EDNS0{o.Reply(1), nsid}}}
	m := &dns.Msg{Extra: shared}
	m.IsEdns0().SetDo()
	o.AddTo(m, 20)
	opt := m.IsEdns0()
	if opt.UDPSize() != 4096 || !opt.Do() || len(opt.Option) != 2 || opt.Option[0] != dns.EDNS0(nsid) || opt.Option[1].(*dns.EDNS0_SUBNET).SourceScope != 20 {
		t.Errorf("with OPT: %v", opt)
	}
	if o.AddTo(m, 7); m.IsEdns0().Option[1].(*dns.EDNS0_SUBNET).SourceScope != 20 {
		t.Errorf("a part of the answer has scope 20, the whole got %v", m.IsEdns0())
	}
	if first := shared[0].(*dns.OPT).Option[0].(*dns.EDNS0_SUBNET); first.SourceScope != 1 || len(shared[0].(*dns.OPT).Option) != 2 {
		t.Errorf("the shared record changed: %v", shared[0])
	}
}

// TestEveryOptionAgreesWithAReadingOfTheRFC compares with a reader of the raw bytes that knows nothing of the library.
func TestEveryOptionAgreesWithAReadingOfTheRFC(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	good := 0
	for range 200_000 {
		data := append(make([]byte, 0, 32), 0, byte(r.IntN(4)), byte(r.IntN(140)), 0)
		if r.IntN(2) == 0 {
			data[2] = byte(r.IntN(34))
		}
		if r.IntN(8) == 0 {
			data[3] = byte(r.IntN(3))
		}
		n := (int(data[2])+7)/8 + max(0, r.IntN(8)-5) - max(0, r.IntN(8)-6)
		for range max(0, n) {
			data = append(data, byte(r.Uint32()))
		}
		if spare := (8 - int(data[2])%8) % 8; len(data) > 4 && r.IntN(4) > 0 {
			data[len(data)-1] &= 0xff << spare
		}
		want := wellFormed(data)
		o, present, err := read(t, query(rawOption{dns.EDNS0SUBNET, data}))
		if !present || (err == nil) != want {
			t.Fatalf("seed %d: % x: present %v, error %v, want well-formed %v", seed, data, present, err, want)
		}
		if want {
			good++
			checkEcho(t, o, data, 24)
		}
	}
	if good < 1000 {
		t.Fatalf("seed %d: only %d well-formed cases", seed, good)
	}
}

func wellFormed(data []byte) bool {
	width := map[byte]int{0: 0, 1: 32, 2: 128}
	bits, known := width[data[1]]
	source := int(data[2])
	if data[0] != 0 || !known || source > bits || data[3] != 0 || len(data) != 4+(source+7)/8 {
		return false
	}
	for i := source; i < (len(data)-4)*8; i++ {
		if data[4+i/8]>>(7-i%8)&1 != 0 {
			return false
		}
	}
	return true
}

func FuzzFromMsg(f *testing.F) {
	f.Add(query(subnet("0001 18 00 c63364")))
	f.Add(query(subnet("0002 38 00 20010db8000001"), cookie))
	f.Add(query(subnet("0001 18 00 c633")))
	f.Fuzz(func(t *testing.T, wire []byte) {
		var m dns.Msg
		if m.Unpack(wire) != nil {
			return
		}
		o, present, err := FromMsg(&m)
		if err != nil || !present {
			return
		}
		if o.Usable() && (!o.Prefix().IsValid() || o.Prefix().Masked() != o.Prefix()) {
			t.Fatalf("%+v is not a masked prefix", o)
		}
		// What was accepted packs, and reads back to the same option.
		reply := new(dns.Msg)
		reply.SetEdns0(1232, false)
		reply.IsEdns0().Option = []dns.EDNS0{o.Reply(0)}
		packed, err := reply.Pack()
		if err != nil {
			t.Fatalf("pack %+v: %v", o, err)
		}
		var again dns.Msg
		if err := again.Unpack(packed); err != nil {
			t.Fatal(err)
		}
		if o2, _, err := FromMsg(&again); err != nil || o2 != o {
			t.Fatalf("%+v reads back as %+v, %v", o, o2, err)
		}
	})
}

func TestAnEchoIsOneAllocation(t *testing.T) {
	for _, data := range []string{"0001 18 00 c63364", "0002 38 00 20010db8000001"} {
		o, _, err := read(t, query(subnet(data)))
		if err != nil {
			t.Fatal(err)
		}
		var m dns.Msg
		if n := testing.AllocsPerRun(100, func() {
			m.Extra = nil
			o.AddTo(&m, 24)
		}); n != 1 {
			t.Errorf("%s: %v allocations, want 1", data, n)
		}
		if cap(m.Extra) != 1 || cap(m.IsEdns0().Option) != 1 {
			t.Error("who appends to the reply's slices would write into what others share")
		}
	}
}
