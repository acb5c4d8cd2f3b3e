package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/spf13/cobra"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/storeurl"
)

const testZone = "@ 60 SOA ns hostmaster 1 3600 600 86400 60\n@ 60 NS ns.example.net.\nwww 60 A 192.0.2.1\n"

// setup is a fresh store and the environment to use it, with one zone published.
func setup(t *testing.T) (url string, env map[string]string) {
	t.Helper()
	url = "dir://" + filepath.Join(t.TempDir(), "store")
	env = map[string]string{"POPDNS_STORE": url, "POPDNS_BY": "tester"}
	for _, args := range [][]string{{"init"}, {"zone", "publish", "example.org", "-"}} {
		if status, _, stderr := popctl(t.Context(), env, testZone, args...); status != exitOK {
			t.Fatalf("%v: status %d: %s", args, status, stderr)
		}
	}
	return url, env
}

func popctl(ctx context.Context, env map[string]string, stdin string, args ...string) (status int, stdout, stderr string) {
	var out, talk bytes.Buffer
	status = run(ctx, args, strings.NewReader(stdin), &out, &talk, func(key string) string { return env[key] })
	return status, out.String(), talk.String()
}

func TestEveryCommandTeaches(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Long == "" || cmd.Example == "" || cmd.Short == "" {
			t.Errorf("%s lacks a Long, Short or Example", cmd.CommandPath())
		}
		for line := range strings.SplitSeq(cmd.Long+"\n"+cmd.Example, "\n") {
			if len([]rune(line)) > 110 {
				t.Errorf("%s: line of %d characters in the help: %s", cmd.CommandPath(), len([]rune(line)), line)
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk((&app{getenv: os.Getenv}).root())
}

func TestHelpAndCompletionGoToStandardOutput(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"zone", "set", "--help"}, {"completion", "bash"}, {"zone"}} {
		status, stdout, stderr := popctl(t.Context(), nil, "", args...)
		if status != exitOK || stdout == "" || stderr != "" {
			t.Errorf("%v: status %d, %d bytes out, stderr %q", args, status, len(stdout), stderr)
		}
	}
}

func TestWriterNamesTheHolderOfTheLockAndWaitsForIt(t *testing.T) {
	url, env := setup(t)
	other, err := storeurl.Open(url, storeurl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	lock, err := store.Acquire(t.Context(), other, dataset.ZonePath("example.org")+"/lock", "somebody@else")
	if err != nil {
		t.Fatal(err)
	}
	set := []string{"zone", "set", "example.org", "a", "60", "A", "192.0.2.1"}
	status, _, stderr := popctl(t.Context(), env, "", append(set, "--timeout", "200ms")...)
	if status != exitConflict || !strings.Contains(stderr, "held by somebody@else") || !strings.Contains(stderr, "waited 200ms; wait longer with --timeout") {
		t.Errorf("status %d, stderr %q", status, stderr)
	}

	type outcome struct {
		status         int
		stdout, stderr string
	}
	done := make(chan outcome)
	go func() {
		var o outcome
		o.status, o.stdout, o.stderr = popctl(t.Context(), env, "", set...)
		done <- o
	}()
	if err := lock.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if o := <-done; o.status != exitOK || !strings.Contains(o.stdout, "serial 1 → 2") {
		t.Errorf("after the release: %+v", o)
	}
}

func TestAuthFileIsCheckedAndNeverShown(t *testing.T) {
	_, env := setup(t)
	file := filepath.Join(t.TempDir(), "auth")
	for _, tt := range []struct {
		text   string
		mode   os.FileMode
		status int
		stderr string
	}{
		{"writer:s3cret\n", 0o600, exitOK, ""},
		{"writer:s3cret\n", 0o644, exitOK, "popctl: warning: --auth-file FILE can be read by others: chmod 600 FILE\n"},
		{"s3cret", 0o600, exitError, "popctl: --auth-file FILE: is not of the form user:password\n"},
		{"", 0o600, exitError, "popctl: --auth-file FILE: has 0 bytes, want user:password\n"},
		{strings.Repeat("s3cret", 1000), 0o600, exitError, "popctl: --auth-file FILE: has more than 4096 bytes, want user:password\n"},
	} {
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, tt.mode); err != nil {
			t.Fatal(err)
		}
		status, _, stderr := popctl(t.Context(), env, "", "zone", "list", "--auth-file", file)
		if stderr = strings.ReplaceAll(stderr, file, "FILE"); status != tt.status || stderr != tt.stderr {
			t.Errorf("%.20q mode %o: status %d, stderr %q, want %d, %q", tt.text, tt.mode, status, stderr, tt.status, tt.stderr)
		}
	}
}

func TestPulseStampsUntilItIsStopped(t *testing.T) {
	url, env := setup(t)
	s, err := storeurl.Open(url, storeurl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, stop := context.WithCancel(t.Context())
	started := time.Now()
	ended := make(chan int)
	go func() {
		status, _, _ := popctl(ctx, env, "", "pulse")
		ended <- status
	}()
	wctx, done := context.WithTimeout(t.Context(), 30*time.Second)
	defer done()
	err = s.Watch(wctx, dataset.HeartbeatPath, func(n store.Node, err error) {
		if err != nil {
			return
		}
		if at, err := dataset.ParseHeartbeat(n.Data); err != nil || at.Before(started.Add(-time.Second)) {
			t.Errorf("heartbeat %v, %v, started %v", at, err, started)
		}
		done()
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("no stamp: %v", err)
	}
	stop()
	if status := <-ended; status != exitOK {
		t.Errorf("status %d after the signal", status)
	}
}

func TestCheckFreshnessAsksTheServer(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var age atomic.Int64
	srv := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET},
			Txt: []string{fmt.Sprint(time.Now().Unix() - age.Load()), "serial=7", "state=live"},
		}}
		_ = w.WriteMsg(m)
	})}
	ready, ended := make(chan struct{}), make(chan struct{})
	srv.NotifyStartedFunc = func() { close(ready) }
	go func() {
		defer close(ended)
		_ = srv.ActivateAndServe()
	}()
	<-ready
	defer func() {
		_ = srv.Shutdown()
		<-ended
	}()
	for _, tt := range []struct {
		age    time.Duration
		status int
		want   string
	}{{time.Second, 0, "FRESHNESS OK - "}, {45 * time.Second, 1, "FRESHNESS WARNING - "}, {time.Hour, 2, "FRESHNESS CRITICAL - "}} {
		age.Store(int64(tt.age / time.Second))
		status, stdout, stderr := popctl(t.Context(), nil, "", "check", "freshness", "_freshness.example.org", "--server", pc.LocalAddr().String())
		if status != tt.status || !strings.HasPrefix(stdout, tt.want) || !strings.Contains(stdout, " | age=") || stderr != "" {
			t.Errorf("age %s: status %d, %q, %q", tt.age, status, stdout, stderr)
		}
	}
	_, stdout, _ := popctl(t.Context(), nil, "", "check", "freshness", "_freshness.example.org", "--server", pc.LocalAddr().String(), "-o", "json")
	var got struct{ Status, Serial string }
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || got.Status != "CRITICAL" || got.Serial != "7" {
		t.Errorf("json %s: %+v, %v", stdout, got, err)
	}
}

func TestProgressIsDrawnForLongWorkOnly(t *testing.T) {
	var out bytes.Buffer
	clock := time.Unix(0, 0)
	p := newProgress(&out, "publishing", func() time.Time { return clock })
	p.update(1, 10)
	p.clear()
	if out.Len() != 0 {
		t.Errorf("drawn at once: %q", out.String())
	}
	clock = clock.Add(time.Second)
	p.update(5, 10)
	clock = clock.Add(10 * time.Millisecond)
	p.update(6, 10) // too soon after the last one
	p.update(12, 10)
	p.clear()
	half := "\rpublishing [" + strings.Repeat("=", 15) + strings.Repeat(" ", 15) + "]  50 %"
	full := "\rpublishing [" + strings.Repeat("=", 30) + "] 100 %"
	if want := half + full + "\r\x1b[K"; out.String() != want {
		t.Errorf("got %q\nwant %q", out.String(), want)
	}
	(&progress{}).update(1, 2) // nobody looks
}

func TestHistoryTextCannotPlayWithTheTerminal(t *testing.T) {
	_, env := setup(t)
	status, _, stderr := popctl(t.Context(), env, "", "zone", "set", "example.org", "a", "60", "A", "192.0.2.1", "-m", "a\x1b[2Jb\nc")
	if status != exitOK {
		t.Fatal(stderr)
	}
	_, stdout, _ := popctl(t.Context(), env, "", "zone", "history", "example.org")
	if strings.Contains(stdout, "\x1b") || strings.Count(stdout, "\n") != 3 || !strings.Contains(stdout, "a [2Jb c") {
		t.Errorf("got %q", stdout)
	}
}
