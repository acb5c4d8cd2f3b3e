package test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestQueriesThatAreNoPlainQuestions sends what an authority answers without looking
// into its zone, or is not to answer, by UDP and TCP.
func TestQueriesThatAreNoPlainQuestions(t *testing.T) {
	const origin = "p.test."
	path := writeFile(t, "zone", "$ORIGIN p.test.\n$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n")
	port := freePort(t)
	startCaptured(t, publishedBlock(t, port, []zoneFile{{origin, path}}))
	query := func(change func(*dns.Msg)) *dns.Msg {
		m := question("ns."+origin, dns.TypeA)
		change(m)
		return m
	}
	cases := []struct {
		what  string
		query *dns.Msg
		rcode int // -1: no reply
	}{
		{"a plain question", query(func(*dns.Msg) {}), dns.RcodeSuccess},
		{"class CH", query(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused},
		{"class NONE", query(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassNONE }), dns.RcodeRefused},
		{"class ANY", query(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }), dns.RcodeRefused},
		{"NOTIFY", query(func(m *dns.Msg) { m.Opcode, m.Question[0].Qtype = dns.OpcodeNotify, dns.TypeSOA }), dns.RcodeNotImplemented},
		{"UPDATE", query(func(m *dns.Msg) { m.Opcode, m.Question[0].Qtype = dns.OpcodeUpdate, dns.TypeSOA }), dns.RcodeNotImplemented},
		{"STATUS", query(func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus }), dns.RcodeNotImplemented},
		{"EDNS version 1 (RFC 6891 6.1.3)", query(func(m *dns.Msg) { m.IsEdns0().SetVersion(1) }), dns.RcodeBadVers},
		{"no question", query(func(m *dns.Msg) { m.Question = nil }), dns.RcodeFormatError},
		{"two questions (RFC 9619)", query(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		{"a reply", query(func(m *dns.Msg) { m.Response = true }), -1},
		{"a name of no zone", query(func(m *dns.Msg) { m.Question[0].Name = "www.example." }), dns.RcodeRefused},
		{"AXFR", query(func(m *dns.Msg) {
			m.Question[0] = dns.Question{Name: origin, Qtype: dns.TypeAXFR, Qclass: dns.ClassINET}
		}), dns.RcodeRefused},
		{"IXFR", query(func(m *dns.Msg) {
			m.Question[0] = dns.Question{Name: origin, Qtype: dns.TypeIXFR, Qclass: dns.ClassINET}
		}), dns.RcodeRefused},
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, c := range cases {
			m, err := sendMessage(network, loopback(port), c.query)
			switch {
			case c.rcode < 0 && err == nil:
				t.Errorf("%s by %s: got a reply\n%s", c.what, network, m)
			case c.rcode < 0:
			case err != nil:
				t.Errorf("%s by %s: %v", c.what, network, err)
			case m.Rcode != c.rcode || !m.Response || m.Id != c.query.Id || m.Opcode != c.query.Opcode || m.Authoritative != (c.rcode == dns.RcodeSuccess):
				t.Errorf("%s by %s: want %s, got\n%s", c.what, network, dns.RcodeToString[c.rcode], m)
			case c.rcode == dns.RcodeBadVers && m.IsEdns0().Version() != 0:
				t.Errorf("%s by %s: the reply's version is %d", c.what, network, m.IsEdns0().Version())
			}
		}
	}
	// Types that nothing can have in a zone are as any other that is not there.
	for typ := uint16(128); typ <= 256; typ++ {
		if typ >= dns.TypeIXFR && typ <= dns.TypeAXFR || typ == dns.TypeANY {
			continue
		}
		for name, rcode := range map[string]int{"ns." + origin: dns.RcodeSuccess, "none." + origin: dns.RcodeNameError} {
			m, err := sendMessage("udp", loopback(port), question(name, typ))
			if err != nil || m.Rcode != rcode || !m.Authoritative || len(m.Answer) > 0 || len(m.Ns) != 1 {
				t.Fatalf("%s %s: %v\n%s", name, dns.Type(typ), err, m)
			}
		}
	}
}

// sendMessage gives the reply to one message, which need not be a query.
func sendMessage(network, addr string, m *dns.Msg) (*dns.Msg, error) {
	conn, err := dns.DialTimeout(network, addr, time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	timeout := deadline
	if m.Response {
		timeout = 200 * time.Millisecond // none is to come
	}
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if err := conn.WriteMsg(m); err != nil {
		return nil, err
	}
	r, err := conn.ReadMsg()
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		return nil, fmt.Errorf("no reply within %s", timeout)
	}
	return r, err
}
