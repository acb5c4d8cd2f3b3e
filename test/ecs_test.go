package test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const ecsZone = `$ORIGIN example.org.
@        60 IN SOA ns h 1 2 3 4 5
@        60 IN NS ns
ns       60 IN A 192.0.2.53
plain    60 IN A 192.0.2.80
child    60 IN NS ns.child
ns.child 60 IN A 192.0.2.54
www      60 IN A 192.0.2.1 ;@ pop=ams1 map=edge
www      60 IN A 192.0.2.2 ;@ pop=iad2
www      60 IN A 192.0.2.3 ;@ pop=sin1
*.wild   60 IN A 192.0.2.1 ;@ pop=ams1 map=edge
*.wild   60 IN A 192.0.2.2 ;@ pop=iad2
*.wild   60 IN A 192.0.2.3
alias    60 IN CNAME www
many     60 IN TXT %s
`

const ecsMap = `default: [sin1]
resolver:
  127.0.0.0/8: [iad2]
ecs:
  44.0.0.0/8: [ams1, iad2]
  44.1.0.0/16: [iad2, ams1]
  2a0f:db8::/32: [ams1]
  2a0f:db8:1::/48: [iad2]
`

const ecsFile = `$ORIGIN stock.example.
@     60 IN SOA ns h 1 2 3 4 5
@     60 IN NS ns
ns    60 IN A 192.0.2.53
www   60 IN A 192.0.2.90
child 60 IN NS ns.child
`

// startSteered serves ecsZone, steered by ecsMap, and a zone of the stock file
// plugin in the same server block.
func startSteered(t *testing.T) (addr string) {
	t.Helper()
	dir := t.TempDir()
	url := "dir://" + dir
	popctl(t, url, 0, "init")
	popctl(t, url, 0, "pop", "apply", writeFile(t, "pops.yaml", "ams1: {lat: 52, lon: 4}\niad2: {lat: 39, lon: -77}\nsin1: {lat: 1, lon: 103}\n"))
	popctl(t, url, 0, "map", "publish", "edge", writeFile(t, "edge.yaml", ecsMap))
	long := strings.Repeat(` "`+strings.Repeat("x", 250)+`"`, 8)
	popctl(t, url, 0, "zone", "publish", "example.org", writeFile(t, "example.org.zone", fmt.Sprintf(ecsZone, long)))
	port := freePort(t)
	addr = loopback(port)
	startCoreDNS(t, fmt.Sprintf(`example.org:%d stock.example:%d {
    bind 127.0.0.1
    popmap
    zkzone example.org {
        source %s
    }
    file %s stock.example
    errors
}
`, port, port, url, writeFile(t, "stock.example.zone", ecsFile)), addr)
	eventually(t, "www.example.org is answered", func() error {
		r, err := exchange(addr, question("www.example.org", dns.TypeA))
		if err == nil && len(r.Answer) == 0 {
			err = fmt.Errorf("rcode %s", dns.RcodeToString[r.Rcode])
		}
		return err
	})
	return addr
}

// rawQuery is a query in wire form whose OPT record holds Client Subnet options
// with exactly these octets.
func rawQuery(name string, options ...string) []byte {
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	wire, err := m.Pack()
	if err != nil {
		panic(err)
	}
	wire[11] = 1 // additional records
	var rdata []byte
	for _, o := range options {
		data, err := hex.DecodeString(strings.ReplaceAll(o, " ", ""))
		if err != nil {
			panic(err)
		}
		rdata = binary.BigEndian.AppendUint16(rdata, dns.EDNS0SUBNET)
		rdata = binary.BigEndian.AppendUint16(rdata, uint16(len(data)))
		rdata = append(rdata, data...)
	}
	wire = append(wire, 0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0)
	wire = binary.BigEndian.AppendUint16(wire, uint16(len(rdata)))
	return append(wire, rdata...)
}

// sendRaw sends a message as it is and returns the reply as it came.
func sendRaw(t *testing.T, network, addr string, wire []byte) []byte {
	t.Helper()
	conn, err := net.DialTimeout(network, addr, deadline)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(deadline))
	if network == "udp" {
		reply := make([]byte, 65535)
		_, err := conn.Write(wire)
		if err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(reply)
		if err != nil {
			t.Fatalf("% x over %s: %v", wire, network, err)
		}
		return reply[:n]
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...)); err != nil {
		t.Fatal(err)
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		t.Fatalf("% x over %s: %v", wire, network, err)
	}
	reply := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, reply); err != nil {
		t.Fatal(err)
	}
	return reply
}

// malformedSubnets are the forms that RFC 7871 6 and 7.1 rule out.
var malformedSubnets = map[string][]string{
	"scope in a query":             {"0001 18 18 2c0102"},
	"bits beyond the source":       {"0001 14 00 2c01ff"},
	"one dirty IPv6 bit":           {"0002 2f 00 2a0f0db80001"},
	"address one octet short":      {"0001 18 00 2c01"},
	"no address":                   {"0001 18 00"},
	"address one octet long":       {"0001 18 00 2c010200"},
	"address far too long":         {"0001 18 00 2c010200 00000000 00"},
	"source 0 with an address":     {"0001 00 00 00"},
	"no family with an address":    {"0000 00 00 00"},
	"IPv6 one octet short":         {"0002 38 00 2a0f0db80000"},
	"IPv6 one octet long":          {"0002 38 00 2a0f0db800000000"},
	"IPv4 source 33":               {"0001 21 00 2c01020300"},
	"IPv6 source 129":              {"0002 81 00 2a0f0db800000000000000000000000100"},
	"unknown family":               {"0003 18 00 2c0102"},
	"family 0 with a source":       {"0000 18 00 2c0102"},
	"scope without family":         {"0000 00 08"},
	"option shorter than 4 octets": {"0001 18"},
	"empty option":                 {""},
	"given twice":                  {"0001 18 00 2c0102", "0001 18 00 2c0102"},
	"two different clients":        {"0001 18 00 2c0102", "0002 38 00 2a0f0db8000000"},
}

func TestMalformedClientSubnetsGetFormErrOverUDPAndTCP(t *testing.T) {
	addr := startSteered(t)
	for _, network := range []string{"udp", "tcp"} {
		for name, options := range malformedSubnets {
			for _, qname := range []string{"www.example.org.", "plain.example.org.", "www.stock.example."} {
				query := rawQuery(qname, options...)
				reply := sendRaw(t, network, addr, query)
				if len(reply) < 12 || !bytes.Equal(reply[:2], query[:2]) || int(reply[3]&0xf) != dns.RcodeFormatError {
					t.Errorf("%s over %s for %s: reply % x, want FORMERR", name, network, qname, reply)
				}
			}
		}
	}
}

func TestEveryReplyToAClientSubnetCarriesItAsSent(t *testing.T) {
	addr := startSteered(t)
	const here, far = "0001 18 00 2c0102", "0001 18 00 580071"
	for _, tc := range []struct {
		what, name, option string
		rcode              int
		scope              byte
		answer             string
	}{
		{"client in a nested prefix", "www.example.org.", here, dns.RcodeSuccess, 16, "192.0.2.2"},
		{"client around the nested prefix", "www.example.org.", "0001 18 00 2c0203", dns.RcodeSuccess, 15, "192.0.2.1"},
		{"client in a hole: the resolver decides, the hole's scope", "www.example.org.", far, dns.RcodeSuccess, 2, "192.0.2.2"},
		{"client in IPv6", "www.example.org.", "0002 38 00 2a0f0db8000200", dns.RcodeSuccess, 47, "192.0.2.1"},
		{"client that tells one bit: the scope keeps out of the v4-mapped block", "www.example.org.", "0002 01 00 00", dns.RcodeSuccess, 81, "192.0.2.2"},
		{"6to4 client", "www.example.org.", "0002 38 00 20022c01020300", dns.RcodeSuccess, 32, "192.0.2.2"},
		{"v4-mapped client", "www.example.org.", "0002 78 00 00000000000000000000ffff2c0102", dns.RcodeSuccess, 112, "192.0.2.2"},
		{"private client", "www.example.org.", "0001 18 00 0a0102", dns.RcodeSuccess, 8, "192.0.2.2"},
		{"source 0", "www.example.org.", "0001 00 00", dns.RcodeSuccess, 0, "192.0.2.2"},
		{"no family", "www.example.org.", "0000 00 00", dns.RcodeSuccess, 0, "192.0.2.2"},
		{"steered wildcard", "any.wild.example.org.", here, dns.RcodeSuccess, 16, "192.0.2.2"},
		{"alias of a steered name", "alias.example.org.", here, dns.RcodeSuccess, 16, "192.0.2.2"},
		{"unsteered name", "plain.example.org.", here, dns.RcodeSuccess, 0, "192.0.2.80"},
		{"missing name", "missing.example.org.", here, dns.RcodeNameError, 0, ""},
		{"missing type", "child.wild.example.org.", here, dns.RcodeSuccess, 16, "192.0.2.2"},
		{"delegation", "x.child.example.org.", here, dns.RcodeSuccess, 0, ""},
		{"stock file's answer", "www.stock.example.", here, dns.RcodeSuccess, 0, "192.0.2.90"},
		{"stock file's missing name", "missing.stock.example.", here, dns.RcodeNameError, 0, ""},
		{"stock file's delegation", "x.child.stock.example.", here, dns.RcodeSuccess, 0, ""},
	} {
		for _, network := range []string{"udp", "tcp"} {
			reply := sendRaw(t, network, addr, rawQuery(tc.name, tc.option))
			var m dns.Msg
			if err := m.Unpack(reply); err != nil {
				t.Fatalf("%s over %s: %v", tc.what, network, err)
			}
			m.Question[0].Qtype = dns.TypeA
			if m.Rcode != tc.rcode || values(&m) != tc.answer {
				t.Errorf("%s over %s: %s %q, want %s %q", tc.what, network, dns.RcodeToString[m.Rcode], values(&m), dns.RcodeToString[tc.rcode], tc.answer)
			}
			checkEchoedOctets(t, tc.what+" over "+network, reply, tc.option, tc.scope)
		}
	}
}

// checkEchoedOctets looks for the option's very octets in the reply, all but the scope.
func checkEchoedOctets(t *testing.T, what string, reply []byte, option string, scope byte) {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(option, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	data[3] = scope
	want := binary.BigEndian.AppendUint16([]byte{0, dns.EDNS0SUBNET}, uint16(len(data)))
	if want = append(want, data...); !bytes.Contains(reply, want) {
		t.Errorf("%s: reply % x lacks the option % x", what, reply, want)
	}
}

func TestTruncatedAnswerKeepsTheClientSubnetAndIsWholeOverTCP(t *testing.T) {
	addr := startSteered(t)
	const here = "0001 18 00 2c0102"
	query := rawQuery("many.example.org.", here)
	query[len("many.example.org.")+12+2] = byte(dns.TypeTXT)
	for network, truncated := range map[string]bool{"udp": true, "tcp": false} {
		reply := sendRaw(t, network, addr, query)
		var m dns.Msg
		if err := m.Unpack(reply); err != nil {
			t.Fatal(err)
		}
		if m.Truncated != truncated || (len(m.Answer) == 0) != truncated {
			t.Errorf("%s: TC is %v with %d records, want TC %v", network, m.Truncated, len(m.Answer), truncated)
		}
		checkEchoedOctets(t, network, reply, here, 0)
	}
}

func TestNobodyGetsAClientSubnetUnasked(t *testing.T) {
	addr := startSteered(t)
	for _, name := range []string{"www.example.org.", "plain.example.org.", "missing.example.org.", "www.stock.example."} {
		if r := ask(t, addr, question(name, dns.TypeA)); ecsScope(r) >= 0 {
			t.Errorf("%s: the reply has the option with scope %d", name, ecsScope(r))
		}
	}
}
