package zktest

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

// Proxy is a TCP proxy in front of a server that makes the network fail. Its methods may be called concurrently.
//
// It is Shopify's toxiproxy. A fault that loses bytes, or connections, ends with a new proxy on the same port: toxiproxy 2.5.0 can
// block for ever when such a toxic is taken from a connection that carries data.
type Proxy struct {
	tb   testing.TB
	addr string

	mu       sync.Mutex
	upstream string
	proxy    *toxiproxy.Proxy
	sessions *sessions
	patient  []string // names of the toxics that lose nothing
	lossy    bool     // bytes were swallowed, or connections are to be reset
}

// Some toxics write to zerolog's own log whatever logger the proxy has.
func init() { zerolog.SetGlobalLevel(zerolog.Disabled) }

// NewProxy starts a proxy to upstream, forwarding, on a free port. It ends with the test.
func NewProxy(tb testing.TB, upstream string) *Proxy {
	tb.Helper()
	p := &Proxy{tb: tb, addr: "127.0.0.1:0", upstream: upstream}
	p.renew()
	p.addr = p.proxy.Listen
	tb.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stop()
	})
	return p
}

// Addr returns the address to connect to.
func (p *Proxy) Addr() string { return p.addr }

// Cut closes all connections, and refuses new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop()
}

// Freeze lets no byte pass any more; connections stay and new ones are accepted. What was sent meanwhile passes after Heal.
func (p *Proxy) Freeze() { p.Slow(frozen, 0) }

// frozen is longer than any test.
const frozen = 24 * time.Hour

// Mute lets requests pass and swallows the replies: after it, a client can't know what the server did.
func (p *Proxy) Mute() { p.swallow("downstream") }

// Deafen lets replies pass and swallows the requests: watches go on firing for a while, nothing is answered.
func (p *Proxy) Deafen() { p.swallow("upstream") }

func (p *Proxy) swallow(stream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add("timeout", stream, 1, map[string]any{"timeout": 0}) // 0: drop, and never close
	p.lossy = true
}

// Slow delays what is sent, each way, by delay, and lets no more than rate bytes a second pass each way; zero values don't. A rate is rounded up
// to whole kilobytes. It takes the place of an earlier Slow.
func (p *Proxy) Slow(delay time.Duration, rate int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ease()
	for _, stream := range []string{"upstream", "downstream"} {
		if delay > 0 {
			p.add("latency", stream, 1, map[string]any{"latency": delay.Milliseconds()})
		}
		if rate > 0 {
			p.add("bandwidth", stream, 1, map[string]any{"rate": (rate + 999) / 1000})
		}
	}
}

// Slice cuts what is sent, each way, into pieces of a few bytes that come one after the other: no packet arrives in one piece.
func (p *Proxy) Slice() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, stream := range []string{"upstream", "downstream"} {
		p.add("slicer", stream, 1, map[string]any{"average_size": 48, "size_variation": 40, "delay": 50})
	}
}

// ResetSome lets share of the connections, by chance, end with a TCP reset after they have carried data for a time. Those that stand end now.
func (p *Proxy) ResetSome(share float32, after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop()
	p.renew(func() { p.add("reset_peer", "downstream", share, map[string]any{"timeout": after.Milliseconds()}) })
	p.lossy = true
}

// Redirect closes all connections and sends new ones to another server.
func (p *Proxy) Redirect(upstream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.upstream = upstream
	p.stop()
	p.renew()
}

// Heal ends all faults; connections that lost bytes are closed.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lossy {
		p.stop()
	}
	if !p.proxy.Enabled {
		p.renew()
		return
	}
	p.ease()
}

// ease takes away the toxics that lose nothing, with all that they hold back.
func (p *Proxy) ease() {
	for _, name := range p.patient {
		if err := p.proxy.Toxics.RemoveToxic(context.Background(), name); err != nil {
			p.tb.Errorf("proxy: %s: %v", name, err)
		}
	}
	p.patient = nil
}

// stop closes the connections and the port.
func (p *Proxy) stop() {
	p.ease() // or what it holds back would wait on
	p.proxy.Stop()
}

// renew starts another proxy on the same port, with the toxics that configure adds.
func (p *Proxy) renew(configure ...func()) {
	quiet := zerolog.Nop()
	p.proxy = toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), quiet), "zktest", p.addr, p.upstream)
	p.patient, p.lossy = nil, false
	p.sessions = p.add(sessionsToxic, "downstream", 1, nil).(*sessions)
	for _, do := range configure {
		do()
	}
	var err error
	for range portTries { // on a busy machine the port may be another's for a while, as the near end of a connection
		if err = p.proxy.Start(); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.tb.Errorf("proxy: %v", err)
}

const portTries = 100

// add makes the connections worse, those that stand too, each with the probability share.
func (p *Proxy) add(kind, stream string, share float32, attributes map[string]any) any {
	b, err := json.Marshal(map[string]any{"type": kind, "stream": stream, "toxicity": share, "attributes": attributes})
	if err != nil {
		p.tb.Fatal(err)
	}
	t, err := p.proxy.Toxics.AddToxicJson(bytes.NewReader(b))
	if err != nil {
		p.tb.Fatalf("proxy: %s: %v", b, err)
	}
	if kind != sessionsToxic && kind != "timeout" && kind != "reset_peer" {
		p.patient = append(p.patient, t.Name)
	}
	return t.Toxic
}

// Leaks are the goroutines that a Proxy may leave behind, for goleak: toxiproxy 2.5.0 forgets one that holds a piece for a connection which broke.
func Leaks() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*NoopToxic).Pipe"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/stream.(*ChanWriter).Write"),
		goleak.IgnoreAnyFunction("github.com/popdns/popdns/internal/store/zktest.(*sessions).Pipe"),
	}
}
