package test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// startTold is startSteered's zone and map behind metadata, log, prometheus and explain.
func startTold(t *testing.T) (d *daemon, url, addr, metrics string) {
	t.Helper()
	url = "dir://" + t.TempDir()
	popctl(t, url, 0, "init")
	popctl(t, url, 0, "pop", "apply", writeFile(t, "pops.yaml", "ams1: {}\niad2: {state: down}\nsin1: {}\n"))
	popctl(t, url, 0, "map", "publish", "edge", writeFile(t, "edge.yaml", ecsMap))
	popctl(t, url, 0, "zone", "publish", "example.org", writeFile(t, "example.org.zone", fmt.Sprintf(ecsZone, `"x"`)))
	port, metricsPort := freePort(t), freePort(t)
	addr, metrics = loopback(port), "http://"+loopback(metricsPort)+"/metrics"
	d = startCoreDNS(t, fmt.Sprintf(`example.org:%d {
    bind 127.0.0.1
    metadata
    prometheus %s
    log . "TOLD {name} {/popmap/pop} {/popmap/map} {/popmap/block} {/popmap/reason} END"
    popmap {
        map edge
        explain _explain 127.0.0.1
    }
    zkzone {
        source %s
        startup_timeout 20s
    }
    errors
}
example.org:%d {
    bind 127.0.0.3
    metadata
    view steered {
        expr metadata('popmap/pop') == 'ams1' && metadata('popmap/reason') == 'ecs'
    }
    popmap
    zkzone {
        source %s
    }
}
example.org:%d {
    bind 127.0.0.3
    template ANY ANY {
        rcode REFUSED
    }
}
`, port, loopback(metricsPort), url, port, url, port), addr)
	return d, url, addr, metrics
}

func TestEdgeSaysWhyInLogViewsMetricsAndTXT(t *testing.T) {
	d, url, addr, metrics := startTold(t)
	t.Run("log", func(t *testing.T) {
		for _, tc := range []struct{ name, subnet, want string }{
			{"www.example.org.", "44.2.3.0/24", "TOLD www.example.org. ams1 edge 44.2.0.0/15 ecs END"},
			{"www.example.org.", "44.1.2.0/24", "TOLD www.example.org. ams1 edge 44.1.0.0/16 ecs END"}, // the next of the list: iad2 is down
			{"alias.example.org.", "2a0f:db8:7::/48", "TOLD alias.example.org. ams1 edge 2a0f:db8:4::/46 ecs END"},
			{"www.example.org.", "", "TOLD www.example.org. iad2 edge 127.0.0.0/8 resolver END"},
			{"plain.example.org.", "44.2.3.0/24", "TOLD plain.example.org. - - - - END"},
			{"missing.example.org.", "", "TOLD missing.example.org. - - - - END"},
		} {
			before := strings.Count(d.log.String(), tc.want)
			q := question(tc.name, dns.TypeA)
			if tc.subnet != "" {
				withECS(q, tc.subnet)
			}
			ask(t, addr, q)
			eventually(t, "the log has "+tc.want, func() error {
				if text := d.log.String(); strings.Count(text, tc.want) == before {
					return fmt.Errorf("the last line is %s", text[max(0, strings.LastIndex(text, "TOLD")):])
				}
				return nil
			})
		}
	})
	t.Run("view", func(t *testing.T) {
		other := strings.Replace(addr, "127.0.0.1", "127.0.0.3", 1)
		if r := ask(t, other, withECS(question("www.example.org", dns.TypeA), "44.2.3.0/24")); values(r) != "192.0.2.1" {
			t.Errorf("a client of ams1 does not come into its view: %s", r)
		}
		if r := ask(t, other, withECS(question("www.example.org", dns.TypeA), "8.8.8.0/24")); r.Rcode != dns.RcodeRefused {
			t.Errorf("another client does: %s", r)
		}
	})
	t.Run("metrics", func(t *testing.T) { checkSteeringMetrics(t, metrics) })
	t.Run("explain", func(t *testing.T) { checkExplain(t, url, addr) })
}

func checkSteeringMetrics(t *testing.T, url string) {
	t.Helper()
	res, err := (&http.Client{Timeout: 5 * time.Second}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`coredns_popmap_choices_total\{pop="ams1",reason="ecs",server="dns://127\.0\.0\.1:\d+"\} 3`,
		`coredns_popmap_choices_total\{pop="iad2",reason="resolver",server="dns://127\.0\.0\.1:\d+"\} 1`,
		`coredns_popmap_ecs_scope_length_sum\{family="ipv4",server="dns://127\.0\.0\.1:\d+"\} 31`,
		`coredns_zkzone_published_timestamp_seconds\{dataset="maps/edge"\} \d`,
		`coredns_zkzone_serial\{dataset="maps/edge"\} 1`,
	} {
		if !regexp.MustCompile("(?m)^" + want).Match(b) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// checkExplain compares the TXT with what popctl says of the same client.
func checkExplain(t *testing.T, url, addr string) {
	t.Helper()
	out, _ := popctl(t, url, 0, "map", "explain", "edge", "127.0.0.1", "--ecs", "44.1.2.0/24", "--name", "www.example.org")
	r := ask(t, addr, withECS(question("www.example.org._explain.example.org", dns.TypeTXT), "44.1.2.0/24"))
	if len(r.Answer) != 1 || r.Answer[0].Header().Ttl != 0 || ecsScope(r) != 16 {
		t.Fatalf("want one TXT record with TTL 0 and scope 16, got\n%s", r)
	}
	said := r.Answer[0].(*dns.TXT).Txt
	for key, want := range map[string]string{
		"block=": "for all of 44.1.0.0/16,", "row=": "row       44.1.0.0/16", "pops=": "pops      iad2, ams1", "passed=": "passed    iad2: down", "chosen=": "chosen    ams1",
		"record=": "www.example.org. 60 IN A 192.0.2.1",
	} {
		i := slices.IndexFunc(said, func(s string) bool { return strings.HasPrefix(s, key) })
		if i < 0 || !strings.Contains(out, want) || !strings.HasSuffix(strings.ReplaceAll(strings.TrimSuffix(want, ","), ", ", ","), strings.TrimPrefix(said[i], key)) {
			t.Errorf("the TXT says %q, popctl\n%s", said, out)
		}
	}
	c := &dns.Client{Timeout: 2 * time.Second, Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}}}
	r, _, err := c.Exchange(withECS(question("www.example.org._explain.example.org", dns.TypeTXT), "44.1.2.0/24"), addr)
	if err != nil || r.Rcode != dns.RcodeRefused || len(r.Answer) > 0 || ecsScope(r) != 0 {
		t.Errorf("a client that is not allowed: %v\n%s", err, r)
	}
}
