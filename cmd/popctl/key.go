package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/popdns/popdns/internal/dataset"
)

// keyFlags name the files of signing and verifying keys.
type keyFlags struct {
	sign, verify string
}

func (k *keyFlags) registerSign(f *pflag.FlagSet) {
	f.StringVar(&k.sign, "sign-key", "", "`file` with the private key to sign with (default $POPDNS_SIGN_KEY)")
}

func (k *keyFlags) register(f *pflag.FlagSet) {
	k.registerSign(f)
	f.StringVar(&k.verify, "verify", "", "`file` with the public keys of other writers whose versions may be built on (default $POPDNS_VERIFY)")
}

// keys reads the files that the flags or the environment name.
func (a *app) keys(k *keyFlags) (keys dataset.Keys, err error) {
	if path := cmp.Or(k.sign, a.getenv("POPDNS_SIGN_KEY")); path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return keys, fmt.Errorf("--sign-key: %w", err)
		}
		if keys.Sign, err = dataset.ParsePrivateKey(data); err != nil {
			return keys, fmt.Errorf("--sign-key: %s: %w", path, err)
		}
		if st, err := os.Stat(path); err == nil && st.Mode().Perm()&0o077 != 0 {
			a.warn(fmt.Sprintf("--sign-key %s can be read by others: chmod 600 %s", path, path))
		}
	}
	if path := cmp.Or(k.verify, a.getenv("POPDNS_VERIFY")); path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return keys, fmt.Errorf("--verify: %w", err)
		}
		if keys.Sign == nil {
			return keys, usagef("--verify %s: only with --sign-key, what is written would be refused by the next writer", path)
		}
		if keys.Verify, err = dataset.ParsePublicKeys(data); err != nil {
			return keys, fmt.Errorf("--verify: %s: %w", path, err)
		}
	}
	return keys, nil
}

func (a *app) keyCmd() *cobra.Command {
	return group("key", "Make keys that sign what is published", `Make the ed25519 key pairs with which publishers sign and edges verify. Whoever can write to the store,
but has no key, can then stop changes from arriving, and change nothing that an edge serves.`,
		"  popctl key generate /etc/popdns/sign.key", a.keyGenerateCmd())
}

func (a *app) keyGenerateCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "generate FILE",
		Short: "Make a key pair: FILE, and FILE.pub for the edges",
		Long: `Make an ed25519 key pair. FILE is the private key (PKCS #8 PEM, readable by its owner alone) for
--sign-key or POPDNS_SIGN_KEY of every command that publishes, and of "pulse". FILE.pub is the public
key for the edges' "verify". A file that exists is never replaced.

To change keys, append the new .pub to the edges' file and reload them; publish a change of every
zone and map with the new key, with --verify naming the old one's .pub; then take the old key out of
the edges' file.`,
		Example: `  popctl key generate /etc/popdns/sign.key
  POPDNS_SIGN_KEY=/etc/popdns/sign.key popctl zone publish example.org example.org.zone`,
		Args: wants("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			private, public, err := dataset.GenerateKey()
			if err != nil {
				return fmt.Errorf("make a key: %w", err)
			}
			files := struct {
				Private string `json:"private"`
				Public  string `json:"public"`
			}{args[0], args[0] + ".pub"}
			if err := writeNew(files.Public, public, 0o644); err != nil {
				return err
			}
			if err := writeNew(files.Private, private, 0o600); err != nil {
				return errors.Join(err, os.Remove(files.Public))
			}
			return a.print(files, fmt.Sprintf("keep %s secret; give %s to the edges (verify %s)", files.Private, files.Public, files.Public))
		},
	}
}

// writeNew writes a file that must not exist yet.
func writeNew(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
