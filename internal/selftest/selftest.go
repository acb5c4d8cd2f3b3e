// Package selftest asks a running server for one name from every block of a map, and compares what comes with what the map says.
//
// A block of the ecs plane is asked from by a Client Subnet option. The resolver plane goes by the source address, so of that only the block of this very
// host can be tested; [Report] says how many can't.
package selftest

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"
)

// Test is what to ask, and by what to judge the answers.
type Test struct {
	Map    *steer.Map
	Canary *steer.Canary // staged beside Map, nil for none
	Edge   string        // the server's name, for a canary that goes by edges
	PoPs   *steer.PoPs   // nil: every PoP counts as up
	Zone   *zone.Snapshot
	Name   zone.Name // must be steered by Map, for Type
	Type   uint16

	Server   string        // host:port
	Rate     float64       // queries a second at most, above 0
	Parallel int           // queries under way at most, above 0
	Timeout  time.Duration // for each try
	Tries    int           // above 0
	Progress func(done, total int)
}

// decide is what the server is to decide.
func (t *Test) decide(c steer.Client) steer.Decision { return t.Canary.Decide(t.Map, t.Edge, c) }

// Report is the outcome.
type Report struct {
	Blocks   int       `json:"blocks"`   // of the ecs plane, each asked from once
	Wrong    int       `json:"wrong"`    // of all that was asked
	Findings []Finding `json:"findings"` // the first MaxFindings of what is wrong
	// Of the resolver plane:
	Resolver       string `json:"resolver"`        // our address, as the server is thought to see it
	ResolverBlock  string `json:"resolver_block"`  // the one that was tested
	ResolverBlocks int    `json:"resolver_blocks"` // all, of which the others can't be tested from here
}

// MaxFindings is how many findings are told apart.
const MaxFindings = 100

// A Finding is a block that is answered wrong.
type Finding struct {
	Plane string `json:"plane"`
	Block string `json:"block"`
	What  string `json:"what"`

	at int // for their order
}

// Run asks. An error is about the test itself: a name that is not steered, a server that does not answer at all, the end of ctx.
func (t *Test) Run(ctx context.Context) (*Report, error) {
	j, err := newJudge(t)
	if err != nil {
		return nil, err
	}
	first, err := t.dial()
	if err != nil {
		return nil, err
	}
	defer first.close()
	r := &Report{Findings: []Finding{}, Resolver: first.local.String()}
	for range t.Map.Leaves(steer.Resolver) {
		r.ResolverBlocks++
	}
	d := t.decide(steer.Client{Resolver: first.local})
	r.ResolverBlock = d.Block.String()
	reply, err := first.ask(ctx, j.query(netip.Prefix{}))
	if err != nil {
		return nil, fmt.Errorf("%s does not answer: %w", t.Server, err)
	}
	if what := j.judge(&d, netip.Prefix{}, reply); what != "" {
		r.Wrong++
		r.Findings = append(r.Findings, Finding{Plane: steer.Resolver.String(), Block: r.ResolverBlock, What: what, at: -1})
	}
	if !t.Map.HasPlane(steer.ECS) {
		return r, nil
	}
	for range t.Map.Leaves(steer.ECS) {
		r.Blocks++
	}
	return r, t.askAll(ctx, r)
}

// job is a block to ask from.
type job struct {
	at    int
	block netip.Prefix
}

// askAll asks from every block of the ecs plane, Parallel at a time and no faster than Rate.
func (t *Test) askAll(ctx context.Context, r *Report) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	jobs := make(chan job)
	var wg sync.WaitGroup
	var mu sync.Mutex // of r, done and failed
	done := 0
	var failed error
	for range t.Parallel {
		wg.Go(func() {
			err := t.work(ctx, jobs, func(jb job, what string) {
				mu.Lock()
				defer mu.Unlock()
				if done++; t.Progress != nil {
					t.Progress(done, r.Blocks)
				}
				if what == "" {
					return
				}
				r.Wrong++
				r.Findings = append(r.Findings, Finding{Plane: steer.ECS.String(), Block: jb.block.String(), What: what, at: jb.at})
				if len(r.Findings) >= 2*MaxFindings {
					r.cut()
				}
			})
			if err != nil {
				mu.Lock()
				failed = cmp.Or(failed, err)
				mu.Unlock()
				stop()
			}
		})
	}
	at, began := 0, time.Now()
	for block := range t.Map.Leaves(steer.ECS) {
		wait := time.Until(began.Add(time.Duration(float64(at) / t.Rate * float64(time.Second))))
		if !send(ctx, jobs, job{at, block}, wait) {
			break
		}
		at++
	}
	close(jobs)
	wg.Wait()
	r.cut()
	if failed == nil && ctx.Err() != nil {
		failed = ctx.Err()
	}
	return failed
}

// send hands a job over after a pause; false if ctx ends before that.
func send(ctx context.Context, jobs chan<- job, j job, wait time.Duration) bool {
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false
		}
	}
	select {
	case jobs <- j:
		return true
	case <-ctx.Done():
		return false
	}
}

// cut keeps the first findings.
func (r *Report) cut() {
	slices.SortFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(a.at, b.at) })
	r.Findings = r.Findings[:min(len(r.Findings), MaxFindings)]
}

// work asks for one job after the other from a socket of its own.
func (t *Test) work(ctx context.Context, jobs <-chan job, tell func(job, string)) error {
	c, err := t.dial()
	if err != nil {
		return err
	}
	defer c.close()
	j, err := newJudge(t)
	if err != nil {
		return err
	}
	for jb := range jobs {
		subnet := askFrom(jb.block)
		d := t.decide(steer.Client{Resolver: c.local, ECS: subnet, HasECS: true})
		reply, err := c.ask(ctx, j.query(subnet))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			tell(jb, fmt.Sprintf("no answer: %v", err))
			continue
		}
		tell(jb, j.judge(&d, subnet, reply))
	}
	return nil
}

// askFrom is the client subnet that stands for a block. A source length of 0 would ask for the resolver's own answer.
func askFrom(block netip.Prefix) netip.Prefix {
	if block.Bits() > 0 {
		return block
	}
	if block.Addr().Is4() {
		return netip.MustParsePrefix("8.0.0.0/8")
	}
	return netip.MustParsePrefix("2400::/8")
}

// client is a socket to the server.
type client struct {
	test  *Test
	udp   *dns.Client
	conn  *dns.Conn
	local netip.Addr
}

func (t *Test) dial() (*client, error) {
	udp := &dns.Client{Timeout: t.Timeout, UDPSize: 4096}
	conn, err := udp.Dial(t.Server)
	if err != nil {
		return nil, fmt.Errorf("server %s: %w", t.Server, err)
	}
	c := &client{test: t, udp: udp, conn: conn}
	if a, ok := conn.LocalAddr().(*net.UDPAddr); ok {
		c.local = a.AddrPort().Addr().Unmap().WithZone("")
	}
	return c, nil
}

func (c *client) close() { _ = c.conn.Close() }

// ask tries again while nothing comes, and over TCP what was truncated.
func (c *client) ask(ctx context.Context, q *dns.Msg) (reply *dns.Msg, err error) {
	for range c.test.Tries {
		if reply, _, err = c.udp.ExchangeWithConnContext(ctx, q, c.conn); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err == nil && reply.Truncated {
		tcp := &dns.Client{Net: "tcp", Timeout: c.test.Timeout}
		reply, _, err = tcp.ExchangeContext(ctx, q, c.test.Server)
	}
	return reply, err
}
