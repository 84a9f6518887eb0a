package secret_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/secret"
)

var (
	key   = bytes.Repeat([]byte{1}, secret.KeySize)
	other = bytes.Repeat([]byte{2}, secret.KeySize)
)

// kept is "secret" for "x", sealed with key by the first release. It must open
// for ever.
const kept = "v1:72cd6e84:B4VPg3XjlxL1E2qKRdZ/1km3qyU6kRCXajucFlsT88349A"

func TestKept(t *testing.T) {
	if got, err := keyring(t, key).Open(kept, "x"); err != nil || got != "secret" {
		t.Errorf("opened %q, %v", string(got), err)
	}
}

func keyring(t interface {
	Helper()
	Fatal(...any)
}, key []byte, older ...[]byte,
) *secret.Keyring {
	t.Helper()
	k, err := secret.NewKeyring(key, older...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealOpen(t *testing.T) {
	k := keyring(t, key)
	rapid.Check(t, func(t *rapid.T) {
		plain := causeway.Secret(rapid.String().Draw(t, "plain"))
		bind := rapid.String().Draw(t, "bind")
		sealed, err := k.Seal(plain, bind)
		if err != nil {
			t.Fatal(err)
		}
		if plain != "" && (!strings.HasPrefix(string(sealed), "v1:") || len(plain) > 4 && strings.Contains(string(sealed), string(plain))) {
			t.Fatalf("sealed %q", string(sealed))
		}
		if got, err := k.Open(sealed, bind); err != nil || got != plain {
			t.Fatalf("opened %q, %v", string(got), err)
		}
		if plain == "" {
			return
		}
		if again, err := k.Seal(plain, bind); err != nil || again == sealed {
			t.Fatalf("the same text twice tells that the secrets are equal (%v)", err)
		}
		if got, err := k.Open(sealed, bind+"x"); !errors.Is(err, secret.ErrSealed) || got != "" {
			t.Fatalf("opened for another place: %q, %v", string(got), err)
		}
	})
}

// Each bit counts.
func TestOpenRefusesChanges(t *testing.T) {
	k := keyring(t, key)
	sealed, err := k.Seal("the secret", "hub/dev1/primary")
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(sealed) {
		for _, changed := range []string{
			string(sealed[:i]) + string(sealed[i]^1) + string(sealed[i+1:]), // a bit
			string(sealed[:i]),                                          // an end
			string(sealed[:i]) + string(sealed[i+1:]),                   // a hole
			string(sealed[:i]) + "\n" + string(sealed[i:]),              // more
			string(sealed[:i]) + string(sealed[i]) + string(sealed[i:]), // twice
		} {
			if changed == "" || changed == string(sealed) {
				continue
			}
			got, err := k.Open(causeway.Secret(changed), "hub/dev1/primary")
			if err == nil || got != "" {
				t.Errorf("%q: opened", changed)
			} else if !errors.Is(err, secret.ErrSealed) && !errors.Is(err, secret.ErrKey) || strings.Contains(err.Error(), "the secret") {
				t.Errorf("%q: error %v", changed, err)
			}
		}
	}
	for _, text := range []causeway.Secret{"plain", "v1", "v1:", "v1::", "v2" + sealed[2:], causeway.Secret(strings.Repeat("v1:", secret.MaxSealed))} {
		if _, err := k.Open(text, "x"); err == nil {
			t.Errorf("%.40q: opened", string(text))
		}
	}
}

func TestKeysChange(t *testing.T) {
	before := keyring(t, key)
	sealed, err := before.Seal("secret", "x")
	if err != nil {
		t.Fatal(err)
	}
	after := keyring(t, other, key)
	if got, err := after.Open(sealed, "x"); err != nil || got != "secret" {
		t.Errorf("with the old key second: %q, %v", string(got), err)
	}
	anew, err := after.Seal("secret", "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.Open(anew, "x"); !errors.Is(err, secret.ErrKey) {
		t.Errorf("with the old key alone: error %v, want ErrKey", err)
	}
	if _, err := keyring(t, other).Open(sealed, "x"); !errors.Is(err, secret.ErrKey) {
		t.Errorf("with the new key alone: error %v, want ErrKey", err)
	}
	if _, err := secret.NewKeyring(key[1:]); err == nil {
		t.Error("a short key is accepted")
	}
}

func TestTooLong(t *testing.T) {
	if _, err := keyring(t, key).Seal(causeway.Secret(strings.Repeat("x", secret.MaxSealed)), "x"); err == nil {
		t.Error("sealed what could not be opened")
	}
}

func TestLoadOrCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "data", "secret.key")
	// Several at once, as when a service is started twice: all must have one key.
	var rings [8]*secret.Keyring
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() {
			k, err := secret.LoadOrCreate(path)
			if err != nil {
				t.Error(err)
			}
			rings[i] = k
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	sealed, err := rings[0].Seal("secret", "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range rings {
		if got, err := k.Open(sealed, "x"); err != nil || got != "secret" {
			t.Errorf("%q, %v", string(got), err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("files left over: %v, %v", left, err)
	}
}

func TestKeyFileOfTwo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret.key")
	write(t, path, "# new\n"+base64.StdEncoding.EncodeToString(other)+"\n\n# old\n  "+base64.StdEncoding.EncodeToString(key)+"\r\n", 0o600)
	k, err := secret.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := keyring(t, key).Seal("secret", "x")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Open(sealed, "x"); err != nil || got != "secret" {
		t.Errorf("sealed with the old key: %q, %v", string(got), err)
	}
	if sealed, err = k.Seal("secret", "x"); err != nil {
		t.Fatal(err)
	}
	if got, err := keyring(t, other).Open(sealed, "x"); err != nil || got != "secret" {
		t.Errorf("not sealed with the first key: %q, %v", string(got), err)
	}
}

func TestLoadRefuses(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(key)
	for name, tt := range map[string]struct {
		text, mention string
		mode          os.FileMode
	}{
		"empty":       {"", "no key", 0o600},
		"comments":    {"# nothing\n", "no key", 0o600},
		"not base64":  {good + "\n*" + good[1:] + "\n", "line 2", 0o600},
		"short":       {good[:40] + "\n", "line 1", 0o600},
		"long":        {strings.Repeat("#\n", 40_000), "longer", 0o600},
		"many":        {strings.Repeat(good+"\n", 101), "more than", 0o600},
		"group reads": {good, "chmod 600", 0o640},
		"all read":    {good, "chmod 600", 0o604},
		"all write":   {good, "chmod 600", 0o602},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && tt.mode != 0o600 {
				t.Skip("Windows has no modes")
			}
			path := filepath.Join(t.TempDir(), "secret.key")
			write(t, path, tt.text, tt.mode)
			_, err := secret.LoadOrCreate(path)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.mention) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), good) {
				t.Errorf("error %q should mention %q and the file, and no key", err, tt.mention)
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != tt.text {
				t.Errorf("the file was changed (%v)", err)
			}
		})
	}
	if _, err := secret.LoadOrCreate(t.TempDir()); err == nil {
		t.Error("a directory is accepted as a key file")
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // the umask does not matter here
		t.Fatal(err)
	}
}

func FuzzOpen(f *testing.F) {
	k := keyring(f, key)
	f.Add(kept, "x")
	f.Add("v1:00000000:AAAA", "")
	f.Fuzz(func(t *testing.T, text, bind string) {
		got, err := k.Open(causeway.Secret(text), bind)
		if err != nil && got != "" {
			t.Errorf("%q: both %q and %v", text, string(got), err)
		}
		if err == nil && text != "" && (text != kept || bind != "x") {
			t.Errorf("%q for %q was never sealed, and opened", text, bind)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	b.ReportAllocs()
	k := keyring(b, key)
	sealed, err := k.Seal("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "hub/dev1/primary")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := k.Open(sealed, "hub/dev1/primary"); err != nil {
			b.Fatal(err)
		}
	}
}
