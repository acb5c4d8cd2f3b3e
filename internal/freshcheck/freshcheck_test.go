package freshcheck

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var now = time.Unix(1795466000, 0)

const name = "_freshness.example.org"

// serve starts a name server on UDP and TCP of one free port and returns its address.
func serve(t *testing.T, h dns.HandlerFunc) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: h}, {Listener: l, Handler: h}} {
		started := make(chan struct{})
		stopped := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() {
			defer close(stopped)
			_ = s.ActivateAndServe()
		}()
		<-started
		t.Cleanup(func() {
			_ = s.Shutdown()
			<-stopped
		})
	}
	return pc.LocalAddr().String()
}

func reply(q *dns.Msg, rcode int, txts ...[]string) *dns.Msg {
	m := new(dns.Msg).SetRcode(q, rcode)
	for _, t := range txts {
		hdr := dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}
		m.Answer = append(m.Answer, &dns.TXT{Hdr: hdr, Txt: t})
	}
	return m
}

func source(age int) string { return fmt.Sprint(now.Unix() - int64(age)) }

func check(server string) Check {
	return Check{
		Name: name, Server: server, Warn: 30 * time.Second, Crit: time.Minute,
		Timeout: 300 * time.Millisecond, Tries: 2, Now: func() time.Time { return now },
	}
}

func TestRunJudgesWhatTheServerSays(t *testing.T) {
	tests := []struct {
		what  string
		rcode int
		txts  [][]string
		want  string
	}{
		{"fresh", 0, [][]string{{source(4), "age=4", "serial=2026112301", "state=live"}},
			"FRESHNESS OK - source 4s ago, serial 2026112301, state live | age=4s;30;60;0 serial=2026112301c"},
		{"at the warning threshold", 0, [][]string{{source(30), "state=live"}}, "FRESHNESS OK - source 30s ago, state live | age=30s;30;60;0"},
		{"above it", 0, [][]string{{source(31), "state=live"}}, "FRESHNESS WARNING - source 31s ago, state live | age=31s;30;60;0"},
		{"at the critical threshold", 0, [][]string{{source(60)}}, "FRESHNESS WARNING - source 1m0s ago | age=60s;30;60;0"},
		{"above it", 0, [][]string{{source(61)}}, "FRESHNESS CRITICAL - source 1m1s ago | age=61s;30;60;0"},
		{"fresh from the disk cache", 0, [][]string{{source(1), "state=disk"}}, "FRESHNESS WARNING - source 1s ago, state disk | age=1s;30;60;0"},
		{"clock a little ahead", 0, [][]string{{source(-2)}}, "FRESHNESS OK - source 0s ago | age=0s;30;60;0"},
		{"clock far ahead", 0, [][]string{{source(-90)}}, "FRESHNESS UNKNOWN - source time is 1m30s in the future: compare the clocks | age=0s;30;60;0"},
		{"the oldest of two", 0, [][]string{{source(5)}, {source(70)}}, "FRESHNESS CRITICAL - source 1m10s ago | age=70s;30;60;0"},
		{"other text beside it", 0, [][]string{{"v=spf1 -all"}, {source(5)}}, "FRESHNESS OK - source 5s ago | age=5s;30;60;0"},
		{"no freshness text", 0, [][]string{{"hello"}}, `FRESHNESS UNKNOWN - SERVER: the TXT record begins with "hello", not with a time in Unix seconds`},
		{"a time beyond all clocks", 0, [][]string{{"253402300800"}}, `FRESHNESS UNKNOWN - SERVER: the TXT record begins with "253402300800", not with a time in Unix seconds`},
		{"bad serial", 0, [][]string{{source(1), "serial=4294967296"}}, `FRESHNESS UNKNOWN - SERVER: the TXT record has "serial=4294967296", whose value is no serial`},
		{"state that would break the line", 0, [][]string{{source(1), "state=li\nve | age=0"}}, "FRESHNESS WARNING - source 1s ago, state li\\010veage=0 | age=1s;30;60;0"},
		{"no such name", dns.RcodeNameError, nil, "FRESHNESS UNKNOWN - SERVER: the name does not exist; is the freshness plugin on for this zone?"},
		{"no TXT", 0, nil, "FRESHNESS UNKNOWN - SERVER: the name has no TXT record; is the freshness plugin on for this zone?"},
		{"not ready", dns.RcodeServerFailure, nil, "FRESHNESS CRITICAL - SERVER answers SERVFAIL for _freshness.example.org."},
		{"not its zone", dns.RcodeRefused, nil, "FRESHNESS CRITICAL - SERVER answers REFUSED for _freshness.example.org."},
	}
	for _, tt := range tests {
		addr := serve(t, func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(reply(q, tt.rcode, tt.txts...)) })
		got := strings.ReplaceAll(check(addr).Run(t.Context()).Line(), addr, "SERVER")
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.what, got, tt.want)
		}
	}
}

func TestRunAsksAgainWhenTheFirstDatagramIsLost(t *testing.T) {
	var seen atomic.Int32
	addr := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if seen.Add(1) > 1 {
			_ = w.WriteMsg(reply(q, 0, []string{source(3)}))
		}
	})
	if r := check(addr).Run(t.Context()); r.Status != OK || seen.Load() != 2 {
		t.Errorf("%s after %d questions, want OK after 2", r.Line(), seen.Load())
	}
}

func TestRunTakesATruncatedAnswerOverTCP(t *testing.T) {
	addr := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if w.RemoteAddr().Network() == "udp" {
			m := reply(q, 0)
			m.Truncated = true
			_ = w.WriteMsg(m)
			return
		}
		_ = w.WriteMsg(reply(q, 0, []string{source(3)}))
	})
	if r := check(addr).Run(t.Context()); r.Status != OK {
		t.Errorf("got %s, want OK", r.Line())
	}
}

func TestRunIsCriticalWhenNobodyAnswers(t *testing.T) {
	addr := serve(t, func(dns.ResponseWriter, *dns.Msg) {})
	r := check(addr).Run(t.Context())
	if want := "FRESHNESS CRITICAL - no answer from " + addr + " in 2 tries of 300ms: "; !strings.HasPrefix(r.Line(), want) {
		t.Errorf("got %s, want it to begin with %s", r.Line(), want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := check(addr).Run(ctx); r.Status != Critical || !strings.Contains(r.Message, "context canceled") {
		t.Errorf("cancelled: got %s", r.Line())
	}
}

func TestRunRefusesAnAnswerToAnotherQuestion(t *testing.T) {
	addr := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		q.Question[0].Name = "other.example."
		_ = w.WriteMsg(reply(q, 0, []string{source(1)}))
	})
	if r := check(addr).Run(t.Context()); r.Status != Critical || !strings.Contains(r.Message, "another question") {
		t.Errorf("got %s", r.Line())
	}
}

func TestRunRefusesWrongArguments(t *testing.T) {
	for _, tt := range []struct {
		c    Check
		want string
	}{
		{Check{Name: "a..b", Warn: 1, Crit: 1}, `"a..b" is no domain name`},
		{Check{Name: name, Warn: time.Minute, Crit: time.Second}, "need 0 < warn <= crit, have warn 1m0s and crit 1s"},
		{Check{Name: name, Crit: time.Second}, "need 0 < warn <= crit, have warn 0s and crit 1s"},
	} {
		if r := tt.c.Run(t.Context()); r.Status != Unknown || r.Message != tt.want {
			t.Errorf("%+v: got %s, want %s", tt.c, r.Line(), tt.want)
		}
	}
}

func TestReportAsJSONHasAgeOnlyWithASource(t *testing.T) {
	r := Report{Status: Critical, Message: "no answer", Name: "a.", Server: "s:53", Warn: 30 * time.Second, Crit: time.Minute}
	for _, tt := range []struct {
		r    Report
		want string
	}{
		{r, `{"status":"CRITICAL","message":"no answer","name":"a.","server":"s:53","warn_seconds":30,"crit_seconds":60}`},
		{r.judge(record{source: now.Add(-4 * time.Second), serial: "7", state: "live"}, now),
			`{"status":"OK","message":"source 4s ago, serial 7, state live","name":"a.","server":"s:53","warn_seconds":30,"crit_seconds":60,` +
				`"source":"2026-11-23T20:33:16Z","age_seconds":4,"serial":"7","state":"live"}`},
	} {
		got, err := json.Marshal(tt.r)
		if err != nil || string(got) != tt.want {
			t.Errorf("got  %s, %v\nwant %s", got, err, tt.want)
		}
	}
}

// FuzzParseStrings holds that no record makes a line that is not one line with one bar.
func FuzzParseStrings(f *testing.F) {
	f.Add("1795466000", "serial=1", "state=live")
	f.Add("-1", "serial=", "state=|\n")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		rec, err := parseStrings([]string{a, b, c})
		if err != nil {
			return
		}
		line := Report{Warn: time.Second, Crit: time.Second}.judge(rec, now).Line()
		if strings.Count(line, "|") != 1 || strings.ContainsAny(line, "\n\r") {
			t.Errorf("%q %q %q: line %q", a, b, c, line)
		}
	})
}
