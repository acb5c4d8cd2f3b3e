package directives

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/coredns/coredns/core/dnsserver"
)

func TestStockDirectivesAreOursMinusOurs(t *testing.T) {
	stock := slices.Clone(dnsserver.Directives)
	all, err := Insert(stock)
	if err != nil {
		t.Fatal(err)
	}
	without := slices.DeleteFunc(slices.Clone(all), func(d string) bool { return slices.Contains(Ours, d) })
	if !slices.Equal(without, stock) {
		t.Errorf("without ours the order is\n%v\nwant the stock order\n%v", without, stock)
	}
	if len(all) != len(stock)+len(Ours) {
		t.Errorf("got %d directives, want %d stock + %d ours", len(all), len(stock), len(Ours))
	}
}

func TestOursStandBetweenKubernetesAndFile(t *testing.T) {
	all, err := Insert(dnsserver.Directives)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.Index(all, "kubernetes")
	want := slices.Concat([]string{"kubernetes"}, Ours, []string{"file"})
	if at < 0 || !slices.Equal(all[at:at+len(want)], want) {
		t.Errorf("order is %v, want %v in it", all, want)
	}
}

func TestMissingAnchorIsAnError(t *testing.T) {
	_, err := Insert([]string{"cache", "forward"})
	if err == nil || !strings.Contains(err.Error(), `no "file" directive`) {
		t.Errorf("Insert without an anchor: got error %v, want one that names the anchor", err)
	}
	if _, err := Insert([]string{"zkzone", "file"}); err == nil {
		t.Error("Insert where zkzone exists already: got no error")
	}
}

// The fragment is for people who build CoreDNS themselves; it must say the
// same order as the code.
func TestPluginCfgFragmentMatchesTheOrder(t *testing.T) {
	text, err := os.ReadFile("../plugin.cfg")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, path, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("plugin.cfg: line %q has no colon", line)
		}
		names = append(names, name)
		if name != Anchor && path != "github.com/popdns/popdns/plugin/"+name {
			t.Errorf("plugin.cfg: %s has path %q", name, path)
		}
	}
	if want := slices.Concat(Ours, []string{Anchor}); !slices.Equal(names, want) {
		t.Errorf("plugin.cfg lists %v, want %v", names, want)
	}
}
