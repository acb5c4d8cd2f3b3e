package test

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/store/storeurl"
	"github.com/popdns/popdns/internal/store/zktest"

	"github.com/miekg/dns"
)

// TestWikimediaMapAnswersAsTheOracleSays takes 783 real prefixes the whole way:
// popctl publishes them to ZooKeeper, the server follows, and every row of the
// oracle is asked with ECS: the scope must be the oracle's, the answer that of
// the first PoP in its order. The order itself is compared on the published map.
func TestWikimediaMapAnswersAsTheOracleSays(t *testing.T) {
	nets, oracle := sharedData(t, "wikimedia_nets.json"), sharedData(t, "wikimedia_nets_oracle.csv")
	zk := zktest.Start(t)
	url := zk.URL("/popdns")
	popctl(t, url, 0, "init")
	popctl(t, url, 0, "map", "publish", "wikimedia", nets)
	zone := "$ORIGIN example.org.\n@ 60 IN SOA ns h 1 2 3 4 5\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53\n" +
		"site 60 IN TXT \"none\"\n"
	for i, pop := range []string{"eqiad", "codfw", "ulsfo", "esams", "eqsin", "drmrs", "magru", "bh", "ref"} {
		zone += fmt.Sprintf("site 60 IN TXT \"%s\" ;@ pop=%s", pop, pop)
		if i == 0 {
			zone += " map=wikimedia"
		}
		zone += "\n"
	}
	popctl(t, url, 0, "zone", "publish", "example.org", writeFile(t, "example.org.zone", zone))
	port := freePort(t)
	addr := loopback(port)
	startCoreDNS(t, fmt.Sprintf("example.org:%d {\n bind 127.0.0.1\n popmap\n zkzone {\n source %s\n }\n errors\n}\n", port, url), addr)
	published := loadMap(t, url, "wikimedia")

	f, err := os.Open(oracle)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, special := 0, 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		cols := strings.Split(line, ",")
		ip := netip.MustParseAddr(cols[0])
		scope, _ := strconv.Atoi(cols[1])
		order := strings.Split(cols[2], ">")
		rows++
		host := netip.PrefixFrom(ip, ip.BitLen())
		if ip.Is4() && (ip.As4()[0] == 0 || ip.As4()[0] == 127) {
			// RFC 7871 10, which gdnsd does not do: for an address that isn't
			// routed, the resolver decides for the whole special-purpose block.
			scope = 8
			special++
		}
		r := ask(t, addr, withECS(question("site.example.org", dns.TypeTXT), host.String()))
		if got := strings.Trim(values(r), `"`); got != order[0] || ecsScope(r) != scope {
			t.Errorf("%s: got %s scope %d, want %s scope %d", ip, got, ecsScope(r), order[0], scope)
		}
		d := published.Decide(steer.Client{Resolver: netip.MustParseAddr("127.0.0.1"), ECS: host, HasECS: true})
		if got := strings.Join(d.List, ">"); got != cols[2] {
			t.Errorf("%s: order is %s, want %s", ip, got, cols[2])
		}
	}
	if rows < 5000 || special > 10 {
		t.Errorf("compared %d rows, %d of them special cases; want at least 5000, at most 10", rows, special)
	}
	t.Logf("%d rows compared, among them %d not routed", rows, special)
}

func loadMap(t *testing.T, url, name string) *steer.Map {
	t.Helper()
	st, err := storeurl.Open(url, storeurl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	v, err := dataset.Load(t.Context(), st, dataset.Ref[*steer.Map]{Path: dataset.MapPath(name), Codec: steer.MapCodec{Name: name}})
	if err != nil {
		t.Fatal(err)
	}
	return v.Value
}
