// Package freshcheck asks a name server for its freshness TXT record and judges how old the data that it serves is.
//
// The judgement follows the monitoring-plugin rules: a [Status] is an exit status, and [Report.Line] is the one line of output with performance
// data. The source time travels from the writing end of the pipeline to the record, so an old one means that some part of the pipeline stands still,
// whatever part that is.
package freshcheck

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Status is a monitoring-plugin result; its value is the exit status.
type Status int

// The results, in the order of the monitoring-plugin guidelines.
const (
	OK       Status = 0
	Warning  Status = 1
	Critical Status = 2
	Unknown  Status = 3 // the check itself could not be made: wrong arguments, a name without a freshness record, clocks apart
)

// String returns the status as it stands in the line of output.
func (s Status) String() string {
	switch s {
	case OK:
		return "OK"
	case Warning:
		return "WARNING"
	case Critical:
		return "CRITICAL"
	}
	return "UNKNOWN"
}

// maxSkew is how far a source time may lie in the future before the clocks of source and checker are called apart. NTP keeps hosts within
// milliseconds, and the source time is in whole seconds.
const maxSkew = 2 * time.Second

// A Check is one question to one server. The zero values of Timeout, Tries and Now mean 2 s, three and time.Now.
type Check struct {
	Name    string        // owner of the TXT record, "_freshness.example.org"
	Server  string        // host:port
	Warn    time.Duration // a source time older than this is a Warning
	Crit    time.Duration // a source time older than this is Critical; at least Warn
	Timeout time.Duration // for one try
	Tries   int
	Now     func() time.Time
}

// Run asks and judges. It never fails: what goes wrong is in the Report. A server that does not answer, or answers SERVFAIL or REFUSED, is Critical,
// because its users get no fresh answer either; an answer that is no freshness record is Unknown.
func (c Check) Run(ctx context.Context) Report {
	r := Report{Name: dns.Fqdn(c.Name), Server: c.Server, Warn: c.Warn, Crit: c.Crit}
	if err := c.validate(); err != nil {
		return r.with(Unknown, err.Error())
	}
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second
	}
	if c.Tries == 0 {
		c.Tries = 3
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	m, err := c.ask(ctx)
	if err != nil {
		return r.with(Critical, err.Error())
	}
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
	default:
		return r.with(Critical, fmt.Sprintf("%s answers %s for %s", c.Server, dns.RcodeToString[m.Rcode], r.Name))
	}
	rec, err := parse(m)
	if err != nil {
		return r.with(Unknown, fmt.Sprintf("%s: %v", c.Server, err))
	}
	return r.judge(rec, c.Now())
}

func (c Check) validate() error {
	if _, ok := dns.IsDomainName(c.Name); !ok || c.Name == "" {
		return fmt.Errorf("%q is no domain name", c.Name)
	}
	if c.Warn <= 0 || c.Crit < c.Warn {
		return fmt.Errorf("need 0 < warn <= crit, have warn %s and crit %s", c.Warn, c.Crit)
	}
	if c.Timeout < 0 || c.Tries < 0 {
		return errors.New("timeout and tries can't be negative")
	}
	return nil
}

// ask sends the question until an answer comes: Tries times over UDP, and over TCP when the answer was truncated.
func (c Check) ask(ctx context.Context) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(c.Name), dns.TypeTXT)
	q.SetEdns0(1232, false)
	client := &dns.Client{Timeout: c.Timeout}
	var err error
	for range c.Tries {
		var m *dns.Msg
		m, _, err = client.ExchangeContext(ctx, q, c.Server)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("no answer from %s: %w", c.Server, ctx.Err())
		case err != nil:
		case m.Truncated && client.Net == "":
			client.Net, err = "tcp", errors.New("the truncated answer could not be had over TCP")
		case len(m.Question) != 1 || !strings.EqualFold(m.Question[0].Name, q.Question[0].Name) || m.Question[0].Qtype != dns.TypeTXT:
			err = errors.New("the answer is to another question")
		default:
			return m, nil
		}
	}
	return nil, fmt.Errorf("no answer from %s in %d tries of %s: %w", c.Server, c.Tries, c.Timeout, err)
}
