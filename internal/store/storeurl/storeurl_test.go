package storeurl_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/store"
	"github.com/popdns/popdns/internal/store/storeurl"
)

func TestURLsAreParsed(t *testing.T) {
	for _, tc := range []struct {
		url     string
		servers []string
		path    string
	}{
		{"zk://10.0.0.1:2181,10.0.0.2:2182/popdns", []string{"10.0.0.1:2181", "10.0.0.2:2182"}, "/popdns"},
		{"zk://zk1", []string{"zk1:2181"}, "/popdns"},
		{"zk://zk1/", []string{"zk1:2181"}, "/popdns"},
		{"zk://zk1/a/b/", []string{"zk1:2181"}, "/a/b"},
		{"zk://[2001:db8::1]:2281,[2001:db8::2],2001:db8::3/x", []string{"[2001:db8::1]:2281", "[2001:db8::2]:2181", "[2001:db8::3]:2181"}, "/x"},
		{"dir:///var/lib/popdns", nil, "/var/lib/popdns"},
		{"dir:/var/lib/popdns", nil, "/var/lib/popdns"},
		{"dir:var/popdns", nil, "var/popdns"},
		{"dir:./a b", nil, "./a b"},
	} {
		l, err := storeurl.Parse(tc.url)
		if err != nil || !slices.Equal(l.Servers, tc.servers) || l.Path != tc.path {
			t.Errorf("Parse(%q) = %+v, %v, want %q %q", tc.url, l, err, tc.servers, tc.path)
		}
	}
}

func TestWrongURLsAreRefusedWithARemedy(t *testing.T) {
	for url, want := range map[string]string{
		"":                                       "use zk://",
		"/var/lib/popdns":                        "use zk://",
		"etcd://x":                               "use zk://",
		"zk:10.0.0.1":                            "zk://HOST",
		"zk://":                                  "empty server name",
		"zk://a,,b":                              "empty server name",
		"zk://a:0":                               "not HOST:PORT",
		"zk://a:99999":                           "not HOST:PORT",
		"zk://:2181":                             "not HOST:PORT",
		"zk://a:b:c":                             "too many colons",
		"zk://a/b//c":                            "is empty",
		"zk://a/../b":                            "begins with a dot",
		"dir:":                                   "no directory",
		"dir://relative":                         "dir:///ABSOLUTE",
		"zk://" + strings.Repeat("a,", 64) + "a": "at most 64",
	} {
		if _, err := storeurl.Parse(url); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): %v, want %q", url, err, want)
		}
	}
}

func TestCredentialsInAURLAreRefusedAndNotRepeated(t *testing.T) {
	_, err := storeurl.Parse("zk://user:secret@10.0.0.1:2181/popdns")
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "POPDNS_AUTH") {
		t.Errorf("Parse: %v", err)
	}
}

func TestOpenGivesAWorkingStore(t *testing.T) {
	s, err := storeurl.Open("dir://"+filepath.Join(t.TempDir(), "new", "store"), storeurl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), store.Create("a", nil)); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	// No server listens there, and none is needed to open.
	s, err = storeurl.Open("zk://127.0.0.1:1/popdns", storeurl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Status().Connected {
		t.Error("connected to nothing")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if s, err := storeurl.Open("dir:/dev/null/x", storeurl.Options{}); err == nil || s != nil {
		t.Errorf("opened %v, %v", s, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("zk://10.0.0.1:2181,[::1]:2182/popdns")
	f.Add("dir:///x")
	f.Fuzz(func(t *testing.T, url string) {
		l, err := storeurl.Parse(url)
		if err != nil {
			return
		}
		if l.Path == "" || len(l.Servers) > 64 {
			t.Errorf("Parse(%q) = %+v", url, l)
		}
		if len(l.Servers) == 0 {
			return
		}
		again, err := storeurl.Parse("zk://" + strings.Join(l.Servers, ",") + l.Path)
		if err != nil || !slices.Equal(again.Servers, l.Servers) || again.Path != l.Path {
			t.Errorf("Parse(%q) = %+v, parsed again %+v, %v", url, l, again, err)
		}
	})
}
