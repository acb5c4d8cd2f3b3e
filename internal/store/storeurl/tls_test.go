package storeurl_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/popdns/popdns/internal/store/storeurl"
)

func TestTLSIsOffWithoutFilesAndRefusesThoseOfNoUse(t *testing.T) {
	if option, err := (storeurl.TLSFiles{}).Option(); option != nil || err != nil {
		t.Errorf("no files: got an option (%t), %v", option != nil, err)
	}
	if option, err := (storeurl.TLSFiles{ServerName: "zk.example.org"}).Option(); option == nil || err != nil {
		t.Errorf("a name and the system's authorities: got an option (%t), %v", option != nil, err)
	}
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, files := range map[string]storeurl.TLSFiles{
		"no such file":             {CA: garbage + "x"},
		"holds no PEM certificate": {CA: garbage},
		"give both":                {Cert: garbage},
		"TLS certificate":          {Cert: garbage, Key: garbage},
	} {
		if _, err := files.Option(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got error %v, want one with %q", files, err, want)
		}
	}
}
